//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wire::kafka::compression::Codec;

use crate::accumulator::BatchSettings;
use crate::client::TopicSpec;
use crate::fetcher::FetchSettings;
use crate::limits::{OUTBOX_REQUESTS_MAX, PRODUCE_REQUEST_BYTES_MAX, THREADS_MAX};
use crate::sender::SendSettings;

/// Load, latency and verification of any broker that speaks the Kafka protocol.
///
/// Exit status: 0 when all went well, 1 when verify found a fault, 2 when the run could not be made or broke off.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write records, flat out or at a rate.
    Produce(ProduceArgs),
    /// Read records.
    Consume(ConsumeArgs),
    /// Write and read, and measure from the intended time of a record until it is read.
    Latency(LatencyArgs),
    /// Write and read numbered records; count lost, duplicate, reordered and altered ones.
    Verify(VerifyArgs),
}

/// The broker, the topic, and where results go.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// A broker to ask for the others.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) bootstrap: String,
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: String,
    /// Create the topic with as many partitions if it does not exist; refuse it if it has another number.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replication factor of a topic that is created; -1 is the broker's default.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    replication_factor: i16,
    /// Configuration of a topic that is created.
    #[arg(long = "topic-config", value_name = "NAME=VALUE", value_parser = parse_config)]
    topic_configs: Vec<(String, String)>,
    /// Threads, each with its own partitions and connections.
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub(crate) threads: usize,
    /// Longest wait for an answer.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000_000))]
    timeout_ms: u64,
    /// How long to go on trying when the broker is away in the middle of a run, or refuses for a reason that passes;
    /// 0: the run ends at the first failure.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(..=2_000_000_000))]
    retry_ms: u64,
    /// Write the results to this file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Process id of a broker on this machine: report the CPU time and memory it used.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// How much to write, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct WriteArgs {
    /// Records in all.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// Stop writing after this time, even if records are left.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024, value_parser = value_bytes)]
    pub(crate) size: usize,
    /// Records per second in all, each counted from its intended time (open loop); 0: flat out.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Largest batch, before compression.
    #[arg(long, default_value_t = 131_072, value_parser = value_bytes)]
    batch_bytes: usize,
    /// How long an incomplete batch waits for more records.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    linger_ms: f64,
    #[arg(long, default_value = "all")]
    acks: Acks,
    #[arg(long, default_value = "none", value_parser = codec)]
    codec: Codec,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 5, value_parser = in_flight)]
    in_flight: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all", alias = "-1")]
    All,
}

/// How to read.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadArgs {
    /// How long the broker may wait for `--fetch-min-bytes`.
    #[arg(long, default_value_t = 500)]
    fetch_wait_ms: u64,
    #[arg(long, default_value_t = 1)]
    fetch_min_bytes: i32,
    #[arg(long, default_value_t = 52_428_800)]
    fetch_max_bytes: i32,
    #[arg(long, default_value_t = 1_048_576)]
    partition_max_bytes: i32,
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Write with a producer id and sequences.
    #[arg(long)]
    pub(crate) idempotent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Stop after this many records; without it at the ends that the partitions have at the start.
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Stop after this time, even if records are left.
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// Where to begin.
    #[arg(long, default_value = "earliest")]
    pub(crate) from: From,
    /// Check the CRC of every batch.
    #[arg(long)]
    pub(crate) check_crcs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    Earliest,
    Latest,
}

#[derive(Debug, Args)]
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

#[derive(Debug, Args)]
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
}

impl TargetArgs {
    pub(crate) fn topic_spec(&self) -> TopicSpec {
        TopicSpec {
            name: self.topic.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: self.topic_configs.clone(),
        }
    }

    pub(crate) fn retry_for(&self) -> Duration {
        Duration::from_millis(self.retry_ms)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl WriteArgs {
    /// Settings of the sending side.
    pub(crate) fn send_settings(&self, timeout: Duration, retry_for: Duration) -> SendSettings {
        SendSettings {
            batches: BatchSettings {
                batch_bytes: self.batch_bytes,
                linger: Duration::from_secs_f64(self.linger_ms / 1000.0),
                codec: self.codec,
            },
            acks: match self.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            in_flight: self.in_flight,
            timeout,
            retry_for,
        }
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

impl ReadArgs {
    pub(crate) fn fetch_settings(&self, timeout: Duration, retry_for: Duration) -> FetchSettings {
        FetchSettings {
            max_wait: Duration::from_millis(self.fetch_wait_ms),
            min_bytes: self.fetch_min_bytes,
            max_bytes: self.fetch_max_bytes,
            partition_max_bytes: self.partition_max_bytes,
            timeout,
            retry_for,
        }
    }
}

fn parse_config(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn codec(name: &str) -> Result<Codec, String> {
    let known = || Codec::ALL.map(Codec::name).join(", ");
    Codec::from_name(name).ok_or_else(|| format!("expected one of {}", known()))
}

fn within(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from 1 to {max}")),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    within(text, THREADS_MAX)
}

fn in_flight(text: &str) -> Result<usize, String> {
    within(text, OUTBOX_REQUESTS_MAX)
}

fn value_bytes(text: &str) -> Result<usize, String> {
    within(text, 64 * PRODUCE_REQUEST_BYTES_MAX)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..1e9).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 1e9".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_produce_run_is_read() {
        let line = "loadgen produce --bootstrap b:1 --topic t --partitions 6 --acks 1 --codec lz4 --linger-ms 2.5 \
                    --topic-config durability=fsync --replication-factor -1";
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
        for bad in
            ["--threads 0", "--acks 2", "--codec rar", "--rate -1", "--in-flight 65", "--topic-config x"]
        {
            let line = format!("loadgen produce {bad}");
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{bad}");
        }
    }
}
