//! `loadgen soak`: verify for a long time, with checks that are stated beforehand.
//!
//! What is written is read alongside and compared as `verify` does; it is not read a second time at the end, since by
//! then the log may have dropped its oldest records.

use super::verify::{Afterwards, check};
use crate::args::SoakArgs;
use crate::client::ClientError;
use crate::part::Context;
use crate::report::Report;

pub(super) fn run(args: &SoakArgs, context: &Context) -> Result<Report, ClientError> {
    let write = &args.verify.write;
    if write.goal(write.pattern()?.as_ref()).seconds.is_none() {
        let what = "soak needs --seconds, or arrivals that come to an end";
        return Err(ClientError::Usage(what.to_owned()));
    }
    if args.resident_mb_max.is_some() && context.watched.is_none() {
        let what = "--resident-mb-max needs --pid or --metrics, and the broker for this part alone";
        return Err(ClientError::Usage(what.to_owned()));
    }
    let mut report = check(&args.verify, context, Afterwards::Skip)?;
    let checks = stated(args, &report);
    report.put("checks", checks.len());
    for stated in checks.iter().filter(|stated| !stated.is_met()) {
        report.fail(stated.to_string());
    }
    Ok(report)
}

/// A figure and its bound.
struct Stated {
    what: &'static str,
    found: Option<f64>,
    bound: Bound,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

fn stated(args: &SoakArgs, report: &Report) -> Vec<Stated> {
    let most = |what, max: Option<f64>| {
        max.map(|max| Stated { what, found: report.number(what), bound: Bound::AtMost(max) })
    };
    let done =
        report.number("records").zip(report.number("records_due")).map(|(done, due)| done / due.max(1.0));
    let least = |min| Stated {
        what: "part of the due records that is done",
        found: done,
        bound: Bound::AtLeast(min),
    };
    let checks = [
        most("produce_p99_ms", args.p99_ms_max),
        most("produce_max_ms", args.latency_ms_max),
        args.done_part_min.map(least),
        most("errors", args.errors_max.map(|max| max as f64)),
        most("broker_resident_mb_max", args.resident_mb_max),
    ];
    checks.into_iter().flatten().collect()
}

impl Stated {
    /// A figure that is missing meets nothing.
    fn is_met(&self) -> bool {
        match (self.found, &self.bound) {
            (None, _) => false,
            (Some(found), Bound::AtMost(max)) => found <= *max,
            (Some(found), Bound::AtLeast(min)) => found >= *min,
        }
    }
}

impl std::fmt::Display for Stated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is ", self.what)?;
        match self.found {
            Some(found) => write!(f, "{found:.3}")?,
            None => f.write_str("not known")?,
        }
        match self.bound {
            Bound::AtMost(max) => write!(f, ", stated was at most {max}"),
            Bound::AtLeast(min) => write!(f, ", stated was at least {min}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_or_said() {
        let stated = |found, bound| Stated { what: "errors", found, bound };
        assert!(
            stated(Some(2.0), Bound::AtMost(2.0)).is_met() && stated(Some(2.0), Bound::AtLeast(2.0)).is_met()
        );
        assert!(
            !stated(Some(3.0), Bound::AtMost(2.0)).is_met() && !stated(None, Bound::AtMost(2.0)).is_met()
        );
        let said = stated(Some(3.0), Bound::AtMost(2.0)).to_string();
        assert_eq!(said, "errors is 3.000, stated was at most 2");
    }
}
