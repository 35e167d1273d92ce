//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Pages, comparisons and checks from the run files of loadgen (`--json`).
///
/// Exit status: 0 when all went well, 1 when check found a regression, 2 when the command could not be done.
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
}
