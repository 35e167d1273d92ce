//! The four commands. Each finds the topic, shares its partitions out to threads, and makes one report of theirs.

mod consume;
mod latency;
mod produce;
mod verify;

use crate::args::{Command, TargetArgs};
use crate::client::ClientError;
use crate::process::Usage;
use crate::report::{Report, Work};

/// Runs a command to its report, and writes that where it is wanted.
pub(crate) fn run(command: &Command) -> Result<Report, ClientError> {
    let (report, json) = match command {
        Command::Produce(args) => (produce::run(args)?, &args.target.json),
        Command::Consume(args) => (consume::run(args)?, &args.target.json),
        Command::Latency(args) => (latency::run(args)?, &args.target.json),
        Command::Verify(args) => (verify::run(args)?, &args.target.json),
    };
    if let Some(path) = json {
        report.write_json(path)?;
    }
    Ok(report)
}

/// What the broker and this program have used so far.
struct Meter {
    broker: Option<(String, Usage)>,
    own: Usage,
}

impl Meter {
    fn start(target: &TargetArgs) -> Result<Self, ClientError> {
        let look = |pid: u32| Usage::of(&pid.to_string()).map(|usage| (pid.to_string(), usage));
        Ok(Self { broker: target.pid.map(look).transpose()?, own: Usage::of("self")? })
    }

    /// Adds what was used since the start to the report.
    fn stop(self, report: &mut Report, work: Work) -> Result<(), ClientError> {
        if let Some((pid, before)) = self.broker {
            report.put_usage("broker", before, Usage::of(&pid)?, work);
        }
        report.put_usage("client", self.own, Usage::of("self")?, work);
        Ok(())
    }
}

/// Megabytes (10⁶) per second.
fn mb_per_second(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 / 1e6 / seconds } else { 0.0 }
}

/// Things per second.
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
