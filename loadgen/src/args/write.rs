//! How much to write, when, what, and how.

use std::time::Duration;

use clap::{Args, ValueEnum};
use wire::kafka::compression::Codec;

use super::parse;
use crate::accumulator::BatchSettings;
use crate::arrivals::{ArrivalsWish, Pattern};
use crate::client::ClientError;
use crate::distributions::{HeaderShape, Keys, Sizes};
use crate::records::RecordShape;
use crate::sender::SendSettings;
use crate::tally::Goal;

/// Records that are written when nothing says how many or how long.
const RECORDS_DEFAULT: u64 = 1_000_000;

/// How much to write, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct WriteArgs {
    /// Records in all; 1,000,000 unless a time is given or the arrivals come to an end.
    #[arg(long)]
    records: Option<u64>,
    /// Stop writing after this time, even if records are left.
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    seconds: Option<f64>,
    /// Records per second in all, each counted from its intended time (open loop); 0: flat out.
    #[arg(long, default_value_t = 0.0, value_parser = parse::rate)]
    rate: f64,
    /// When records are due. constant or poisson at --rate; steps:SECONDS:RATE,RATE,…; ramp:RATE-RATE:SECONDS;
    /// bursts:RATE,PEAK:EVERY,FOR; replay:FILE, a CSV of seconds,rate; poisson:SHAPE for one of these with the gaps of
    /// chance; closed, where the next record is written when there is room, and slowness of the broker hides itself.
    /// Without it constant at --rate, or closed if that is 0.
    #[arg(long, value_name = "SHAPE")]
    arrivals: Option<ArrivalsWish>,
    /// Bytes of a record's value: N, fixed:N, uniform:A-B or lognormal:MEDIAN,SIGMA[,MAX].
    #[arg(long, default_value = "fixed:1024", value_name = "SIZES")]
    pub(crate) size: Sizes,
    /// Keys of records: none, uniform:N or zipf:N,S. A key always goes to the same partition.
    #[arg(long, default_value = "none")]
    keys: Keys,
    /// Headers of each record: how many, and bytes of each value.
    #[arg(long, default_value = "0:0", value_name = "N:BYTES")]
    headers: HeaderShape,
    /// Part of the payload that a codec can take away, from 0.0 to 1.0; without it random capital letters, of which it
    /// is about 0.4.
    #[arg(long, value_name = "PART", value_parser = parse::part)]
    compressibility: Option<f64>,
    /// Largest batch, before compression.
    #[arg(long, default_value_t = 131_072, value_parser = parse::value_bytes)]
    batch_bytes: usize,
    /// How long an incomplete batch waits for more records.
    #[arg(long, default_value_t = 0.0, value_parser = parse::rate)]
    linger_ms: f64,
    #[arg(long, default_value = "all")]
    acks: Acks,
    #[arg(long, default_value = "none", value_parser = parse::codec)]
    codec: Codec,
    /// Requests in flight per connection.
    #[arg(long, default_value_t = 5, value_parser = parse::in_flight)]
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

    /// What records are like; with room for a stamp of so many bytes.
    pub(crate) fn shape(&self, stamp_bytes: usize) -> Result<RecordShape, ClientError> {
        if !self.size.has_room_for(stamp_bytes) {
            return Err(ClientError::Usage(format!("--size must be at least {stamp_bytes}")));
        }
        Ok(RecordShape {
            sizes: self.size,
            keys: self.keys,
            headers: self.headers,
            compressibility: self.compressibility,
        })
    }

    /// When records come; `None`: closed loop.
    pub(crate) fn pattern(&self) -> Result<Option<Pattern>, ClientError> {
        Pattern::new(self.arrivals.as_ref(), self.rate).map_err(ClientError::Usage)
    }

    /// How far to go.
    pub(crate) fn goal(&self, pattern: Option<&Pattern>) -> Goal {
        let ending = pattern.and_then(Pattern::seconds);
        let seconds = match (self.seconds, ending) {
            (Some(wanted), Some(ending)) => Some(wanted.min(ending)),
            (wanted, ending) => wanted.or(ending),
        };
        let records = self.records.or(seconds.is_none().then_some(RECORDS_DEFAULT));
        Goal { records, seconds }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        write: WriteArgs,
    }

    fn goal(line: &str) -> Goal {
        let write = Only::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap().write;
        write.goal(write.pattern().unwrap().as_ref())
    }

    #[test]
    fn a_run_ends_by_records_or_by_time_or_with_its_arrivals() {
        assert_eq!(goal(""), Goal { records: Some(RECORDS_DEFAULT), seconds: None });
        assert_eq!(goal("--seconds 5"), Goal { records: None, seconds: Some(5.0) });
        assert_eq!(goal("--seconds 5 --records 7"), Goal { records: Some(7), seconds: Some(5.0) });
        assert_eq!(goal("--arrivals ramp:1-9:20"), Goal { records: None, seconds: Some(20.0) });
        assert_eq!(goal("--arrivals ramp:1-9:20 --seconds 3").seconds, Some(3.0));
        assert_eq!(goal("--rate 100").records, Some(RECORDS_DEFAULT));
    }

    #[test]
    fn a_value_has_room_for_its_stamp_or_is_refused() {
        let write = Only::try_parse_from(["x", "--size", "20"]).unwrap().write;
        assert!(write.shape(16).is_ok() && write.shape(32).is_err());
    }
}
