//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Pages, comparisons, checks and capacity plans from the run files of loadgen (`--json`).
///
/// Exit status: 0 when all went well, 1 when check found a regression or a plan cannot be met, 2 when the command could
/// not be done.
#[derive(Debug, Parser)]
#[command(name = "perf-reports", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make one page of runs: figures, percentile spectrum, latency over time, load against latency, CPU, disk, memory.
    ///
    /// The HTML file needs nothing else: charts are part of it, and it fetches nothing. Runs that differ in their rate alone
    /// become one curve of load against latency; --note broker=NAME at the run names its line.
    Render(RenderArgs),
    /// Compare two sides by runs that were made in turn (A B A B …), pair by pair.
    ///
    /// Of every figure: the median of both sides, the median, least and most of the pairs' ratios, and whether that allows
    /// to call one side better. Runs that failed are refused, pairs of different workloads are named.
    Compare(CompareArgs),
    /// Hold runs against a kept baseline of the same workload; exit with 1 if a figure got worse than is tolerated.
    ///
    /// Without tolerances of its own it checks rates, CPU and bytes written to 10 %, peak memory to 15 %, p50 and p99 to 25 %.
    /// Several runs of one workload, here and in the baseline, count by their median.
    Check(CheckArgs),
    /// Say what it takes to carry a load: nodes, cores, disks, memory, from a profile of a host and a broker.
    ///
    /// The profile holds measurements only (`perf-reports/PROFILE_FORMAT.md`, where the model is stated, too). Every figure says
    /// whether it was measured or extrapolated, and every plan how far the model is off on points that it was not fitted to.
    /// A plan that cannot be met is one sentence and exit status 1.
    Plan(Box<PlanArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Run files; a `*` in a file name stands for anything.
    #[arg(required = true, value_name = "RUN.json")]
    pub(crate) runs: Vec<PathBuf>,
    /// Write the page to this file.
    #[arg(long, value_name = "FILE.html", required_unless_present = "markdown")]
    pub(crate) out: Option<PathBuf>,
    /// Write the figures as markdown to this file.
    #[arg(long, value_name = "FILE.md")]
    pub(crate) markdown: Option<PathBuf>,
    /// Title of the page.
    #[arg(long)]
    pub(crate) title: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Run files of both sides in turn: A1 B1 A2 B2 …
    #[arg(value_name = "RUN.json", required_unless_present_all = ["a", "b"], conflicts_with_all = ["a", "b"])]
    pub(crate) runs: Vec<PathBuf>,
    /// Run files of the first side; paired by the time of the runs.
    #[arg(long, num_args = 1.., value_name = "RUN.json", requires = "b")]
    pub(crate) a: Vec<PathBuf>,
    /// Run files of the second side.
    #[arg(long, num_args = 1.., value_name = "RUN.json", requires = "a")]
    pub(crate) b: Vec<PathBuf>,
    /// What the first side is called.
    #[arg(long, default_value = "A")]
    pub(crate) name_a: String,
    /// What the second side is called; ratios are of it to the first.
    #[arg(long, default_value = "B")]
    pub(crate) name_b: String,
    /// Ratios whose median is within this factor of 1 are no difference, whatever their spread.
    #[arg(long, default_value_t = 1.02, value_parser = factor)]
    pub(crate) noise: f64,
    /// Write every value and ratio to this file.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) json: Option<PathBuf>,
    /// Write the comparison as markdown to this file.
    #[arg(long, value_name = "FILE.md")]
    pub(crate) markdown: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Folder with the run files to measure by.
    #[arg(long, value_name = "DIR")]
    pub(crate) baseline: PathBuf,
    /// Run files to check.
    #[arg(required = true, value_name = "RUN.json")]
    pub(crate) runs: Vec<PathBuf>,
    /// Tolerate this share for every figure: 0.1 lets it be 1.1 times as bad.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) tolerance: Option<f64>,
    /// Tolerance of one figure, which is then checked whatever it is: `latency_p99.9_ms=0.5`
    #[arg(long = "figure", value_name = "NAME=SHARE", value_parser = figure)]
    pub(crate) figures: Vec<(String, f64)>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// What was measured.
    #[arg(long, value_name = "PROFILE.json")]
    pub(crate) profile: PathBuf,
    /// Show the costs of the model, and what it predicts of points that it was not fitted to beside what was measured.
    #[arg(long)]
    pub(crate) validate: bool,
    /// 10⁶ bytes a second from producers, as they lie in the log.
    #[arg(long, value_name = "MB/s", value_parser = positive, required_unless_present = "validate",
        requires_all = ["record", "partitions", "retention", "p99"])]
    pub(crate) ingress: Option<f64>,
    /// Bytes of a record.
    #[arg(long, value_name = "BYTES", value_parser = positive, required_unless_present = "validate")]
    pub(crate) record: Option<f64>,
    /// Partitions of all topics, without copies.
    #[arg(long, value_name = "COUNT", value_parser = count, required_unless_present = "validate")]
    pub(crate) partitions: Option<f64>,
    /// How long records are kept: 7d, 12h, 30m or 90s.
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "validate")]
    pub(crate) retention: Option<f64>,
    /// Longest time from the intended moment of a record to its acknowledgement, of 99 in 100.
    #[arg(long, value_name = "MS", value_parser = positive, required_unless_present = "validate")]
    pub(crate) p99: Option<f64>,
    /// How often each record is read.
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) fan_out: f64,
    /// Copies of each partition.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) replication: u32,
    /// How much more ingress each year, in percent.
    #[arg(long, value_name = "%", default_value_t = 0.0, value_parser = not_negative)]
    pub(crate) growth: f64,
    /// Plan for the ingress after so many years of growth.
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) years: f64,
    /// Bytes of a batch; as the profile's nearest point if not given.
    #[arg(long, value_name = "BYTES", value_parser = positive)]
    pub(crate) batch: Option<f64>,
    /// Percent of what is read that is no longer in memory.
    #[arg(long, value_name = "%", default_value_t = 0.0, value_parser = percent)]
    pub(crate) cold: f64,
    /// Cores of a node; as the profiled broker had if not given.
    #[arg(long, value_name = "COUNT", value_parser = count)]
    pub(crate) node_cores: Option<f64>,
    /// Size of a disk in GB; as the profile says if not given.
    #[arg(long, value_name = "GB", value_parser = positive)]
    pub(crate) disk: Option<f64>,
    /// Disks that a node can have.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) disks_max: u32,
    /// Network of a node, one way, in Gbit/s; as the profile measured if not given.
    #[arg(long, value_name = "Gbit/s", value_parser = positive)]
    pub(crate) nic: Option<f64>,
    /// Round trip between nodes, which copies add to the latency.
    #[arg(long, value_name = "MS", default_value_t = 0.5, value_parser = not_negative)]
    pub(crate) round_trip: f64,
    /// Plan to use this much of saturation, and of network and disks, in percent.
    #[arg(long, value_name = "%", default_value_t = 70.0, value_parser = percent)]
    pub(crate) load_max: f64,
    /// Nodes that may be gone; 1 if there are copies, else 0.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) spare_nodes: Option<u32>,
    /// Write the plan, or the validation, to this file.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) json: Option<PathBuf>,
    /// Write the plan as a page with its curve to this file.
    #[arg(long, value_name = "FILE.html", conflicts_with = "validate")]
    pub(crate) out: Option<PathBuf>,
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (1.0..=100.0).contains(&number) => Ok(number),
        _ => Err("expected a factor from 1 to 100".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
        _ => Err("expected a share, as 0.1 for ten percent".to_owned()),
    }
}

fn figure(text: &str) -> Result<(String, f64), String> {
    let (name, tolerance) = text.split_once('=').ok_or("expected NAME=SHARE")?;
    Ok((name.to_owned(), share(tolerance)?))
}

fn number(text: &str, sound: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && sound(number) => Ok(number),
        _ => Err(format!("expected {expected}")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0, "a number above 0")
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 0.0, "a number from 0 on")
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, |number| (0.0..=100.0).contains(&number), "a percentage from 0 to 100")
}

fn count(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 1.0 && number.fract() == 0.0, "a whole number from 1 on")
}

/// Seconds.
fn time(text: &str) -> Result<f64, String> {
    let units = [('d', 86_400.0), ('h', 3600.0), ('m', 60.0), ('s', 1.0)];
    let expected = "a time with its unit, as 7d, 12h, 30m or 90s";
    let split = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (amount, seconds) = split.ok_or(format!("expected {expected}"))?;
    Ok(number(amount, |number| number >= 0.0, expected)? * seconds)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        let words = std::iter::once("perf-reports").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sides_are_given_in_turn_or_by_name() {
        assert!(matches!(read("compare a1 b1 a2 b2"), Ok(Command::Compare(args)) if args.runs.len() == 4));
        let Ok(Command::Compare(args)) = read("compare --a a1 a2 --b b1 b2 --name-a old") else {
            panic!("refused")
        };
        assert_eq!((args.a.len(), args.b.len(), args.name_a.as_str()), (2, 2, "old"));
        for bad in ["compare", "compare --a a1", "compare x --a a1 --b b1", "compare a b --noise 0.5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_goes_somewhere() {
        assert!(read("render run.json").is_err());
        assert!(read("render run.json --markdown x.md").is_ok());
        assert!(read("render --out x.html").is_err());
    }

    #[test]
    fn tolerances_are_shares() {
        let Ok(Command::Check(args)) = read("check --baseline d r --tolerance 0.2 --figure x=0.5") else {
            panic!("refused")
        };
        assert_eq!(args.figures, [("x".to_owned(), 0.5)]);
        for bad in ["--tolerance -1", "--tolerance ten", "--figure x", "--figure x=y"] {
            assert!(read(&format!("check --baseline d r {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plan_is_asked_in_units_of_people() {
        let line = "plan --profile p --ingress 50 --record 1024 --partitions 60 --retention 7d --p99 20";
        let Ok(Command::Plan(args)) = read(line) else { panic!("refused") };
        assert_eq!((args.retention, args.replication), (Some(7.0 * 86_400.0), 1));
        assert!(read("plan --profile p --validate").is_ok());
        assert!(read("plan --profile p --ingress 50").is_err(), "the rest of the question is missing");
        for bad in ["--retention 7", "--retention -1h", "--load-max 120", "--partitions 1.5", "--ingress 0"] {
            let name = bad.split(' ').next().unwrap();
            let words: Vec<&str> = line.split(' ').skip(1).collect();
            let kept: Vec<String> =
                words.chunks(2).filter(|pair| pair[0] != name).map(|pair| pair.join(" ")).collect();
            let line = format!("plan {} {bad}", kept.join(" "));
            assert!(read(&line).is_err(), "{line}");
        }
    }
}
