//! `check`: runs against a kept baseline of the same workload, each figure as a ratio within a tolerance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::error::ReportError;
use crate::figures::{self, Better};
use crate::number::{median, short, times};
use crate::ratio;
use crate::run::{Run, Workload};

/// Tolerances of figures by the ending of their names; what matches none is not checked unless it is named.
///
/// Single tail percentiles and maxima of short runs scatter by more than any tolerance that would find something.
const TOLERANCES: [(&str, f64); 8] = [
    ("_per_s", 0.10),
    ("_cpu_s_per_gb", 0.10),
    ("_cpu_s_per_million_records", 0.10),
    ("_cpu_us_per_request", 0.10),
    ("_resident_mb_max", 0.15),
    ("_written_gb_per_gb", 0.10),
    ("_p50_ms", 0.25),
    ("_p99_ms", 0.25),
];

/// What is tolerated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tolerances {
    /// In place of each default, if given.
    pub(crate) all: Option<f64>,
    /// Of single figures; they are checked although no default would.
    pub(crate) named: BTreeMap<String, f64>,
}

impl Tolerances {
    fn of(&self, figure: &str) -> Option<f64> {
        let name = figure.rsplit('/').next().unwrap_or(figure);
        if let Some(tolerance) = self.named.get(figure).or_else(|| self.named.get(name)) {
            return Some(*tolerance);
        }
        let (_, tolerance) = TOLERANCES.iter().find(|(ending, _)| name.ends_with(ending))?;
        Some(self.all.unwrap_or(*tolerance))
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// A line for each figure that was checked.
    pub(crate) lines: Vec<String>,
    /// Sentences for what is worse than is tolerated.
    pub(crate) regressions: Vec<String>,
    /// What a reader has to know before believing it.
    pub(crate) doubts: Vec<String>,
}

/// The baseline that `folder` keeps.
pub(crate) fn baseline(folder: &Path) -> Result<Vec<Run>, ReportError> {
    let paths = crate::paths::json_files(folder)?;
    if paths.is_empty() {
        return Err(ReportError::asked(format!("{} has no run file: it is no baseline", folder.display())));
    }
    let runs = Run::read_all(&paths)?;
    match runs.iter().find(|run| run.failed) {
        Some(run) => Err(ReportError::asked(format!(
            "{} of the baseline failed its own checks: it is nothing to measure by",
            run.path.display()
        ))),
        None => Ok(runs),
    }
}

/// Holds `runs` against `baseline`: runs of one workload together, by their medians.
pub(crate) fn check(runs: &[Run], baseline: &[Run], tolerances: &Tolerances) -> Result<Found, ReportError> {
    if runs.is_empty() {
        return Err(ReportError::asked("no runs were given to check"));
    }
    let mut workloads: BTreeMap<Workload, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        workloads.entry(run.workload()).or_default().push(run);
    }
    let mut found = Found::default();
    for (workload, runs) in &workloads {
        let kept: Vec<&Run> = baseline.iter().filter(|kept| kept.workload() == *workload).collect();
        if kept.is_empty() {
            return Err(ReportError::asked(format!(
                "the baseline has no run of the workload of {}: {}",
                runs[0].path.display(),
                workload.describe()
            )));
        }
        check_workload(runs, &kept, tolerances, &mut found)?;
    }
    for name in tolerances.named.keys() {
        if !found.lines.iter().any(|line| line.contains(name.as_str())) {
            return Err(ReportError::asked(format!(
                "no run has the figure {name}, for which a tolerance was given"
            )));
        }
    }
    Ok(found)
}

fn check_workload(
    runs: &[&Run],
    kept: &[&Run],
    tolerances: &Tolerances,
    found: &mut Found,
) -> Result<(), ReportError> {
    let label = runs.iter().map(|run| run.label.as_str()).collect::<Vec<_>>().join(", ");
    for run in runs {
        found.doubts.extend(run.doubts());
        if run.failed {
            found.regressions.push(format!("{} failed its own checks: {}", run.label, run.faults.join("; ")));
        }
    }
    let host = |run: &Run| (run.host.name.clone(), run.host.cores, run.host.cpu_model.clone());
    if runs.iter().any(|run| kept.iter().any(|kept| host(run) != host(kept))) {
        found.doubts.push(format!("{label}: the baseline is of another host."));
    }
    let figures: Vec<_> = runs.iter().map(|run| figures::of(run)).collect();
    let before: Vec<_> = kept.iter().map(|run| figures::of(run)).collect();
    for figure in &before[0] {
        let name = &figure.name;
        let Some(tolerance) = tolerances.of(name).filter(|_| figure.better != Better::Neither) else {
            continue;
        };
        let values = |of: &[Vec<figures::Figure>]| {
            median(&of.iter().filter_map(|figures| figures::find(figures, name)).collect::<Vec<_>>())
        };
        let Some(before) = values(&before) else { continue };
        let Some(now) = values(&figures) else {
            return Err(ReportError::asked(format!(
                "the baseline has {name}, and {label} has not: measure it the same way"
            )));
        };
        let ratio_now = ratio::of(before, now);
        let limit = 1.0 + tolerance;
        let (bad, allowed) = match figure.better {
            Better::Lower => (ratio_now > limit, format!("at most {}", times(limit))),
            _ => (ratio_now < 1.0 / limit, format!("at least {}", times(1.0 / limit))),
        };
        let values = format!(
            "{} before, {} now, ratio {}, {allowed} is tolerated",
            short(before),
            short(now),
            times(ratio_now)
        );
        found.lines.push(format!("{} {label}: {name}: {values}", if bad { "WORSE" } else { "ok   " }));
        if bad {
            found.regressions.push(format!("{label}: {name} got worse: {values}"));
        }
    }
    Ok(())
}

impl Found {
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let _ = writeln!(out, "{line}");
        }
        for doubt in &self.doubts {
            let _ = writeln!(out, "! {doubt}");
        }
        let _ = match self.regressions.len() {
            0 => writeln!(out, "{} figures, none worse than is tolerated", self.lines.len()),
            count => writeln!(out, "{count} of {} figures or runs worse than is tolerated", self.lines.len()),
        };
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::samples::{Made, named, run, value};

    fn now(made: Made, tolerances: &Tolerances) -> Found {
        check(&[run("now", made)], &[run("kept", Made::default())], tolerances).unwrap()
    }

    #[test]
    fn the_same_figures_pass_and_say_what_was_compared() {
        let found = now(Made::default(), &Tolerances::default());
        assert!(found.regressions.is_empty(), "{:?}", found.regressions);
        assert!(found.lines.len() >= 5);
        assert!(found.text().contains("none worse"));
    }

    #[test]
    fn more_cpu_than_is_tolerated_is_named_with_both_values_and_the_ratio() {
        let found = now(Made { cpu_s_per_gb: 0.6, ..Made::default() }, &Tolerances::default());
        assert_eq!(found.regressions.len(), 1, "{:?}", found.regressions);
        let said = &found.regressions[0];
        for part in ["broker_cpu_s_per_gb", "0.500 before", "0.600 now", "ratio 1.20", "at most 1.10"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    #[test]
    fn a_slower_rate_is_a_regression_and_a_faster_one_is_none() {
        let slower = now(Made { mb_per_s: 150.0, ..Made::default() }, &Tolerances::default());
        assert!(slower.regressions.iter().any(|said| said.contains("value_mb_per_s")), "{slower:?}");
        let faster = now(Made { mb_per_s: 400.0, ..Made::default() }, &Tolerances::default());
        assert!(faster.regressions.is_empty(), "{faster:?}");
    }

    #[test]
    fn tolerances_can_be_set_for_all_and_for_one() {
        let made = Made { cpu_s_per_gb: 0.6, ..Made::default() };
        assert!(now(made, &Tolerances { all: Some(0.3), ..Tolerances::default() }).regressions.is_empty());
        let one = Tolerances { all: Some(0.3), named: [("broker_cpu_s_per_gb".to_owned(), 0.05)].into() };
        assert_eq!(now(made, &one).regressions.len(), 1);
        let tail = Tolerances { all: None, named: [("latency_p99.9_ms".to_owned(), 0.5)].into() };
        let found = now(Made::default(), &tail);
        assert!(
            found.lines.iter().any(|line| line.contains("latency_p99.9_ms")),
            "checked because it was named"
        );
    }

    #[test]
    fn a_workload_that_is_not_in_the_baseline_is_refused() {
        let mut other = value(Made::default());
        other["parts"][0]["settings"]["acks"] = json!("1");
        let said = check(&[named("now", &other)], &[run("kept", Made::default())], &Tolerances::default());
        let said = said.unwrap_err().to_string();
        assert!(said.contains("no run of the workload") && said.contains("acks=1"), "{said}");
    }

    #[test]
    fn a_figure_that_is_no_longer_measured_does_not_pass_in_silence() {
        let mut blind = value(Made::default());
        blind["usage"]["broker"] = json!(null);
        blind["parts"][0]["results"].as_object_mut().unwrap().remove("broker_cpu_s_per_gb");
        let said = check(&[named("now", &blind)], &[run("kept", Made::default())], &Tolerances::default());
        assert!(said.unwrap_err().to_string().contains("broker_cpu_s_per_gb"));
        let unknown = Tolerances { all: None, named: [("no_such_figure".to_owned(), 0.5)].into() };
        assert!(check(&[run("now", Made::default())], &[run("kept", Made::default())], &unknown).is_err());
    }

    #[test]
    fn several_runs_count_by_their_median() {
        let runs = [1.0, 0.5, 0.51].map(|cpu_s_per_gb| run("now", Made { cpu_s_per_gb, ..Made::default() }));
        let found = check(&runs, &[run("kept", Made::default())], &Tolerances::default()).unwrap();
        assert!(found.regressions.is_empty(), "one stray run of three: {found:?}");
    }

    #[test]
    fn a_run_that_failed_fails_the_check() {
        let mut failed = value(Made::default());
        failed["failed"] = json!(true);
        failed["faults"] = json!(["1 lost"]);
        let found =
            check(&[named("now", &failed)], &[run("kept", Made::default())], &Tolerances::default()).unwrap();
        assert!(found.regressions[0].contains("1 lost"), "{found:?}");
    }
}
