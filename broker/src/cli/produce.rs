//! `corelane produce`: the lines of standard input as records.
//!
//! What is typed is sent at once: a batch ends when no whole line is waiting, or at a size. Each batch is answered
//! before the next is sent. With acks=all, the default, records are numbered (idempotence, as in Java's client), so that a
//! refusal that passes and a broken connection are both tried again and store nothing twice. Without it only a refusal
//! is: after a broken connection the records may have been stored.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wire::kafka::batch_builder::{self, BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::init_producer_id::InitProducerIdRequest;
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
/// As long as Java's client by default (`delivery.timeout.ms`).
const RETRY_TIME: Duration = Duration::from_secs(120);
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
    let numbering = match args.acks {
        Acks::All => Numbering::begin(&mut cluster)?,
        Acks::Leader | Acks::None => None,
    };
    let open = BTreeMap::new();
    let mut producer = Producer { args, codec, cluster, topic, numbering, open, rotation: 0, sent: 0 };
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

/// How the broker tells a batch that is sent again.
struct Numbering {
    id: i64,
    epoch: i16,
    /// Number of the next record, by partition.
    next: BTreeMap<i32, i32>,
}

impl Numbering {
    /// Asks for a producer id; `None` when the broker knows none.
    fn begin(cluster: &mut Cluster) -> Result<Option<Self>, CliError> {
        let deadline = Instant::now() + RETRY_TIME;
        if !cluster.bootstrap().knows::<InitProducerIdRequest>() {
            return Ok(None);
        }
        loop {
            let answer = cluster.bootstrap().call(&InitProducerIdRequest::default())?;
            let code = answer.error_code;
            if !is_retriable(code) || Instant::now() >= deadline {
                CliError::check(|| "asking for a producer id".to_owned(), code, None)?;
                let (id, epoch) = (answer.producer_id, answer.producer_epoch);
                return Ok(Some(Self { id, epoch, next: BTreeMap::new() }));
            }
            thread::sleep(RETRY_PAUSE);
        }
    }

    /// What the next batch of a partition says of its producer.
    fn of(&self, partition: i32) -> batch_builder::Producer {
        let base_sequence = self.next.get(&partition).copied().unwrap_or(0);
        batch_builder::Producer { id: self.id, epoch: self.epoch, base_sequence }
    }

    /// So many records of a partition are sent. After the largest number comes 0.
    fn advance(&mut self, partition: i32, count: usize) {
        let next = self.next.entry(partition).or_insert(0);
        *next = ((i64::from(*next) + count as i64) & i64::from(i32::MAX)) as i32;
    }
}

fn is_retriable(code: i16) -> bool {
    ErrorCode::from_code(code).is_some_and(ErrorCode::is_retriable)
}

struct Producer<'a> {
    args: &'a ProduceArgs,
    codec: Codec,
    cluster: Cluster,
    topic: MetadataResponseTopic,
    /// `None`: records are not numbered.
    numbering: Option<Numbering>,
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
        let batch = self.open.entry(partition).or_insert_with(|| {
            let batch = BatchBuilder::new(self.codec);
            match &self.numbering {
                Some(numbering) => batch.producer(numbering.of(partition)),
                None => batch,
            }
        });
        batch.push(&NewRecord { timestamp, key, value: Some(value), headers: &[] });
        if batch.size() >= BATCH_BYTES { self.send_all() } else { Ok(()) }
    }

    fn send_all(&mut self) -> Result<(), CliError> {
        for (partition, batch) in std::mem::take(&mut self.open) {
            let count = batch.record_count() as usize;
            let records = batch.build().map_err(|error| CliError::Protocol(error.to_string()))?;
            self.send(partition, &records)?;
            if let Some(numbering) = &mut self.numbering {
                numbering.advance(partition, count);
            }
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
            let over = Instant::now() >= deadline;
            match self.send_once(leader, partition, records) {
                Ok((code, _)) if is_retriable(code) && !over => {}
                Ok((code, message)) => {
                    let what = || format!("partition {partition} of {} refuses records", self.args.topic);
                    return CliError::check(what, code, message.as_deref());
                }
                Err(CliError::Unreachable { .. }) if self.numbering.is_some() && !over => {
                    // When this fails asking for metadata does, which tries again.
                    let _ = self.cluster.reconnect();
                }
                Err(error) => return Err(error),
            }
            thread::sleep(RETRY_PAUSE);
            self.refresh(deadline)?;
        }
    }

    /// Learns anew where the partitions are, waiting for a broker that answers if records are numbered.
    fn refresh(&mut self, deadline: Instant) -> Result<(), CliError> {
        loop {
            match self.cluster.topic(&self.args.topic, Missing::Create) {
                Ok(topic) => {
                    self.topic = topic;
                    return Ok(());
                }
                Err(CliError::Unreachable { .. })
                    if self.numbering.is_some() && Instant::now() < deadline =>
                {
                    thread::sleep(RETRY_PAUSE);
                    let _ = self.cluster.reconnect();
                }
                Err(error) => return Err(error),
            }
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
    fn after_the_largest_number_comes_zero() {
        let mut numbering = Numbering { id: 1, epoch: 0, next: BTreeMap::from([(0, i32::MAX - 1)]) };
        numbering.advance(0, 2);
        numbering.advance(1, 5);
        assert_eq!((numbering.of(0).base_sequence, numbering.of(1).base_sequence), (0, 5));
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
