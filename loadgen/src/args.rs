//! The command line. A scenario's parts are the same commands with the same options, so there is one list of them.

mod cluster;
mod invocation;
mod output;
mod parse;
mod profile;
mod read;
mod security;
mod transaction;
mod write;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use cluster::{ClusterArgs, TargetArgs};
pub(crate) use invocation::{Invocation, commands_and_options};
pub(crate) use output::OutputArgs;
pub(crate) use profile::ProfileArgs;
pub(crate) use read::{Isolation, ReadArgs};
pub(crate) use transaction::TransactionArgs;
pub(crate) use write::WriteArgs;

use crate::client::{Access, ClientError};

/// Load, latency and verification of any broker that speaks the Kafka protocol.
///
/// Exit status: 0 when all went well, also when it was interrupted (SIGINT, SIGTERM: what was done until then is
/// reported; a second signal ends it at once); 1 when verification found a fault or a stated check was not met; 2 when
/// the run could not be made or broke off.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it for each part of a run")]
pub(crate) enum Command {
    /// Write records, flat out or at a rate.
    Produce(ProduceArgs),
    /// Read records.
    Consume(ConsumeArgs),
    /// Write and read, and measure from the intended time of a record until it is read.
    Latency(LatencyArgs),
    /// Write and read numbered records; count lost, duplicate, reordered and altered ones.
    Verify(VerifyArgs),
    /// Write, read and verify for a long time, and check what is stated: latency, rate, errors, memory.
    Soak(SoakArgs),
    /// Open connections and keep them idle, or open and close them again and again.
    Connections(ConnectionsArgs),
    /// Create many topics, look at them, delete them.
    Topics(TopicsArgs),
    /// Consumer groups whose members come and go: times to join and to rebalance.
    Groups(GroupsArgs),
    /// Several of these at once or one after the other, as a file says.
    Scenario(ScenarioArgs),
    /// Measure what this machine and a broker on it can do, for capacity plans (`perf-reports plan`).
    Profile(ProfileArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Write with a producer id and sequences.
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Make each record anew. Without it a closed loop without keys makes a few full batches and sends them again and
    /// again, which costs this program least.
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) transaction: TransactionArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Stop after this many records; without it at the ends that the partitions have at the start.
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Stop after this time, even if records are left.
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub(crate) seconds: Option<f64>,
    /// Where to begin.
    #[arg(long, default_value = "earliest")]
    pub(crate) from: From,
    /// Read no faster than this many records per second: a slow consumer. 0: as fast as the broker gives.
    #[arg(long, default_value_t = 0.0, value_parser = parse::rate)]
    pub(crate) rate: f64,
    /// Check the CRC of every batch.
    #[arg(long)]
    pub(crate) check_crcs: bool,
    /// Take every record out of its batch, as a program that uses them must; without it only the headers of batches are
    /// looked at.
    #[arg(long)]
    pub(crate) walk: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    Earliest,
    Latest,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Write with a producer id and sequences.
    #[arg(long)]
    pub(crate) idempotent: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Write without producer id and sequences: retries may then show as duplicates.
    #[arg(long)]
    pub(crate) not_idempotent: bool,
    #[command(flatten)]
    pub(crate) transaction: TransactionArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SoakArgs {
    #[command(flatten)]
    pub(crate) verify: VerifyArgs,
    /// Fails when the p99 from intended time to acknowledgement is above this.
    #[arg(long, value_name = "MS", value_parser = parse::seconds)]
    pub(crate) p99_ms_max: Option<f64>,
    /// Fails when a record takes longer than this.
    #[arg(long, value_name = "MS", value_parser = parse::seconds)]
    pub(crate) latency_ms_max: Option<f64>,
    /// Fails when less than this part of the records that were due is acknowledged, from 0.0 to 1.0.
    #[arg(long, value_name = "PART", value_parser = parse::part)]
    pub(crate) done_part_min: Option<f64>,
    /// Fails when more requests than this fail, even if they work when they are made again.
    #[arg(long, value_name = "N")]
    pub(crate) errors_max: Option<u64>,
    /// Fails when the broker's resident memory ever is above this; needs --pid or --metrics.
    #[arg(long, value_name = "MB", value_parser = parse::seconds)]
    pub(crate) resident_mb_max: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Connections to hold.
    #[arg(long, default_value_t = 100, value_parser = parse::count)]
    pub(crate) count: usize,
    /// How long to hold them, once they are open.
    #[arg(long, default_value_t = 10.0, value_name = "S", value_parser = parse::seconds)]
    pub(crate) seconds: f64,
    /// Connections to open per second at first; 0: as fast as it goes.
    #[arg(long, default_value_t = 0.0, value_parser = parse::rate)]
    pub(crate) rate: f64,
    /// Connections to close and open anew per second, in all; 0: they stay idle.
    #[arg(long, default_value_t = 0.0, value_parser = parse::rate)]
    pub(crate) churn: f64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TopicsArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Topics to create.
    #[arg(long, default_value_t = 100, value_parser = parse::count)]
    pub(crate) count: usize,
    /// Partitions of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
    /// Replication factor; -1 is the broker's default.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) replication_factor: i16,
    /// Topics in one request.
    #[arg(long, default_value_t = 10, value_parser = parse::topics_per_request)]
    pub(crate) batch: usize,
    /// How their names begin; a number follows.
    #[arg(long, default_value = "loadgen-topics-")]
    pub(crate) prefix: String,
    /// Do not delete them.
    #[arg(long, conflicts_with = "only_delete")]
    pub(crate) keep: bool,
    /// Create none: delete what a run with --keep has left.
    #[arg(long)]
    pub(crate) only_delete: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct GroupsArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Groups.
    #[arg(long, default_value_t = 1, value_parser = parse::count)]
    pub(crate) groups: usize,
    /// Members of each.
    #[arg(long, default_value_t = 3, value_parser = parse::count)]
    pub(crate) members: usize,
    /// How long members come and go, once all groups are whole.
    #[arg(long, default_value_t = 10.0, value_name = "S", value_parser = parse::seconds)]
    pub(crate) seconds: f64,
    /// In each group, this many times a second a member leaves and another joins; 0: none does.
    #[arg(long, default_value_t = 0.5, value_parser = parse::rate)]
    pub(crate) churn: f64,
    /// Time between heartbeats.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) heartbeat_ms: u64,
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(i32).range(1000..))]
    pub(crate) session_timeout_ms: i32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ScenarioArgs {
    /// The scenario. docs/benchmarking.md says how they are written; scenarios/ has ten.
    pub(crate) file: PathBuf,
    /// For all parts that do not say otherwise.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Another value for a key: of one part, or of all that have it.
    #[arg(long, value_name = "[PART.]KEY=VALUE", value_parser = parse::name_and_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Only read the file and say whether it is right.
    #[arg(long)]
    pub(crate) check: bool,
}

impl Command {
    /// As it is called on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Produce(_) => "produce",
            Self::Consume(_) => "consume",
            Self::Latency(_) => "latency",
            Self::Verify(_) => "verify",
            Self::Soak(_) => "soak",
            Self::Connections(_) => "connections",
            Self::Topics(_) => "topics",
            Self::Groups(_) => "groups",
            Self::Scenario(_) => "scenario",
            Self::Profile(_) => "profile",
        }
    }

    /// Whom it talks to.
    pub(crate) fn bootstrap(&self) -> &str {
        self.way().map_or_else(|args| &args.bootstrap, |cluster| &cluster.bootstrap)
    }

    /// The way there.
    pub(crate) fn access(&self) -> Result<Access, ClientError> {
        match self.way() {
            Ok(cluster) => cluster.access(),
            Err(args) => args.access(),
        }
    }

    /// Options of the cluster; a profile, which is of one broker on this machine, has its own.
    fn way(&self) -> Result<&ClusterArgs, &ProfileArgs> {
        match self {
            Self::Produce(args) => Ok(&args.target.cluster),
            Self::Consume(args) => Ok(&args.target.cluster),
            Self::Latency(args) => Ok(&args.target.cluster),
            Self::Verify(args) => Ok(&args.target.cluster),
            Self::Soak(args) => Ok(&args.verify.target.cluster),
            Self::Connections(args) => Ok(&args.cluster),
            Self::Topics(args) => Ok(&args.cluster),
            Self::Groups(args) => Ok(&args.target.cluster),
            Self::Scenario(args) => Ok(&args.cluster),
            Self::Profile(args) => Err(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;
    use wire::kafka::compression::Codec;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_produce_run_is_read() {
        let line = "loadgen produce --bootstrap b:1 --topic t --partitions 6 --acks 1 --codec lz4 --linger-ms 2.5 \
                    --topic-config durability=fsync --replication-factor -1 --size uniform:10-20 --keys zipf:9,1";
        let Command::Produce(args) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command
        else {
            panic!("another command");
        };
        let settings = args.write.send_settings(args.target.timeout(), Duration::ZERO);
        assert_eq!((settings.acks, settings.batches.codec), (1, Codec::Lz4));
        assert_eq!(settings.batches.linger, Duration::from_micros(2500));
        assert_eq!(args.target.topic_spec().configs, [("durability".to_owned(), "fsync".to_owned())]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "--threads 0",
            "--pin 99999",
            "--pin 0;1",
            "--acks 2",
            "--codec rar",
            "--rate -1",
            "--in-flight 65",
            "--topic-config x",
            "--size 0",
            "--keys many",
            "--headers 3",
            "--compressibility 1.5",
            "--arrivals often",
            "--seconds -1",
            "--interval 0.01",
            "--metrics nowhere",
        ] {
            let line = format!("loadgen produce {bad}");
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_command_says_what_it_is_called() {
        for name in ["produce", "consume", "latency", "verify", "soak", "connections", "topics", "groups"] {
            let arguments = Arguments::try_parse_from(["loadgen", name]).unwrap();
            assert_eq!(arguments.command.name(), name);
        }
    }
}
