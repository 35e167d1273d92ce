//! `corelane produce`: the lines of standard input as records.
//!
//! What is typed is sent at once: a batch ends when no whole line is waiting, or at a size. Each batch is answered
//! before the next is sent. A refusal that clients may retry is retried after new metadata; a connection that breaks is
//! not, because the records may have been stored, and sending them again might store them twice.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::metadata::MetadataResponseTopic;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::kafka::{ErrorCode, Str};

use super::cluster::{Cluster, Missing};
use super::error::CliError;
use super::partitioner::partition_of;
use super::topic::counted;
use crate::args::{Acks, ProduceArgs};

/// Bytes of a batch at which it is sent. Below what brokers allow by default.
const BATCH_BYTES: usize = 512 << 10;
/// Bytes of standard input that are read ahead.
const INPUT_BYTES: usize = 1 << 20;
/// The longest line.
const LINE_BYTES_MAX: usize = 64 << 20;
const RETRY_TIME: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const TIMEOUT_MS: i32 = 30_000;
/// The last version that names topics; later ones have ids.
const VERSION_WITH_NAMES: i16 = 12;

/// Runs the command.
pub(super) fn run(args: &ProduceArgs) -> Result<(), CliError> {
    let codec = Codec::from_name(&args.compression).ok_or_else(|| {
        CliError::Usage(format!("--compression {}: one of none, gzip, snappy, lz4, zstd", args.compression))
    })?;
    if args.key_separator.as_deref() == Some("") {
        return Err(CliError::Usage("--key-separator: it cannot be empty".to_owned()));
    }
    let mut cluster = Cluster::connect(&args.server.server)?;
    let topic = cluster.topic(&args.topic, Missing::Create)?;
    let mut producer = Producer { args, codec, cluster, topic, open: BTreeMap::new(), rotation: 0, sent: 0 };
    producer.check_partition()?;
    let mut input = BufReader::with_capacity(INPUT_BYTES, std::io::stdin().lock());
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        producer.add(&line)?;
        if !input.buffer().contains(&b'\n') {
            producer.send_all()?;
        }
    }
    producer.send_all()?;
    // On standard error, so that a script that reads standard output sees nothing.
    let _ = writeln!(std::io::stderr(), "sent {} to {}", counted(producer.sent, "record"), args.topic);
    Ok(())
}

/// One line without its end; false when there are no more.
fn read_line(input: &mut BufReader<impl Read>, line: &mut Vec<u8>) -> Result<bool, CliError> {
    line.clear();
    let read = input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    if line.len() > LINE_BYTES_MAX {
        return Err(CliError::Usage(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(read > 0)
}

struct Producer<'a> {
    args: &'a ProduceArgs,
    codec: Codec,
    cluster: Cluster,
    topic: MetadataResponseTopic,
    /// Batches that are being filled, by partition.
    open: BTreeMap<i32, BatchBuilder>,
    /// Which partition records without a key go to; moves on with each round of batches.
    rotation: usize,
    sent: usize,
}

impl Producer<'_> {
    fn check_partition(&self) -> Result<(), CliError> {
        let count = self.topic.partitions.len();
        match self.args.partition {
            Some(partition) if usize::try_from(partition).map_or(true, |partition| partition >= count) => {
                let last = count - 1;
                Err(CliError::Usage(format!(
                    "--partition {partition}: {} has partitions 0 to {last}",
                    self.args.topic
                )))
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, line: &[u8]) -> Result<(), CliError> {
        let separator = self.args.key_separator.as_deref().map(str::as_bytes);
        let (key, value) = match separator.and_then(|separator| split(line, separator)) {
            Some((key, value)) => (Some(key), value),
            None => (None, line),
        };
        let count = self.topic.partitions.len();
        let partition = self
            .args
            .partition
            .unwrap_or_else(|| key.map_or(self.rotation % count, |key| partition_of(key, count)) as i32);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = since_epoch.as_millis() as i64;
        let codec = self.codec;
        let batch = self.open.entry(partition).or_insert_with(|| BatchBuilder::new(codec));
        batch.push(&NewRecord { timestamp, key, value: Some(value), headers: &[] });
        if batch.size() >= BATCH_BYTES { self.send_all() } else { Ok(()) }
    }

    fn send_all(&mut self) -> Result<(), CliError> {
        for (partition, batch) in std::mem::take(&mut self.open) {
            let count = batch.record_count() as usize;
            let records = batch.build().map_err(|error| CliError::Protocol(error.to_string()))?;
            self.send(partition, &records)?;
            self.sent += count;
            self.rotation = self.rotation.wrapping_add(1);
        }
        Ok(())
    }

    fn send(&mut self, partition: i32, records: &Bytes) -> Result<(), CliError> {
        let deadline = Instant::now() + RETRY_TIME;
        loop {
            let leader = self.topic.partitions.iter().find(|each| each.partition_index == partition);
            let leader = leader.map_or(-1, |partition| partition.leader_id);
            let (code, message) = self.send_once(leader, partition, records)?;
            let retriable = ErrorCode::from_code(code).is_some_and(ErrorCode::is_retriable);
            if code == 0 || !retriable || Instant::now() >= deadline {
                let what = || format!("partition {partition} of {} refuses records", self.args.topic);
                return CliError::check(what, code, message.as_deref());
            }
            thread::sleep(RETRY_PAUSE);
            self.topic = self.cluster.topic(&self.args.topic, Missing::Create)?;
        }
    }

    fn send_once(
        &mut self,
        leader: i32,
        partition: i32,
        records: &Bytes,
    ) -> Result<(i16, Option<String>), CliError> {
        let acks = match self.args.acks {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::None => 0,
        };
        let data = PartitionProduceData { index: partition, records: Some(records.clone()) };
        let topic = TopicProduceData {
            name: Str::from(self.args.topic.as_str()),
            partition_data: vec![data],
            ..Default::default()
        };
        let request =
            ProduceRequest { acks, timeout_ms: TIMEOUT_MS, topic_data: vec![topic], ..Default::default() };
        let connection = self.cluster.node(leader)?;
        if acks == 0 {
            let version = connection.version::<ProduceRequest>(VERSION_WITH_NAMES)?;
            connection.send(&request, version)?;
            return Ok((0, None));
        }
        let response = connection.call_at_most(&request, VERSION_WITH_NAMES)?;
        let outcome = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let outcome = outcome.ok_or_else(|| CliError::Protocol("no outcome of a batch".to_owned()))?;
        Ok((outcome.error_code, outcome.error_message.as_deref().map(str::to_owned)))
    }
}

/// What is before and after the first separator.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_splits_at_its_first_separator() {
        assert_eq!(split(b"a::b::c", b"::"), Some((&b"a"[..], &b"b::c"[..])));
        assert_eq!(split(b"abc", b":"), None);
        assert_eq!(split(b"", b":"), None);
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return_and_the_last_may_have_no_end() {
        let mut input = BufReader::new(&b"a\r\n\nb"[..]);
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while read_line(&mut input, &mut line).unwrap() {
            lines.push(line.clone());
        }
        assert_eq!(lines, [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
    }
}
