//! What was sent and what was acknowledged, and the check of a log against both.
//!
//! A record's content follows from its stamp (writer, partition, sequence), so that nothing but stamps is remembered
//! and any record found in a log can be told from one that was never sent.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::records::{Random, client_config, is_passing};

/// How long the records of one topic are waited for.
const READ_WITHIN: Duration = Duration::from_secs(60);
const STAMP_BYTES: usize = 16;

/// Which record of which writer; sequences count from 0 for each writer and partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub writer: u32,
    pub partition: i32,
    pub sequence: u64,
}

impl Stamp {
    /// The whole value: the stamp, then bytes that follow from it; mostly small, now and then large.
    pub fn value(self) -> Vec<u8> {
        let mut random = Random::new(
            u64::from(self.writer) << 48 ^ (self.partition as u64) << 40 ^ self.sequence << 4 ^ 0x5bd1,
        );
        let length = match random.below(1000) {
            0..4 => 200_000 + random.below(300_000),
            4..40 => 4_000 + random.below(30_000),
            _ => random.below(300),
        } as usize;
        let mut value = Vec::with_capacity(STAMP_BYTES + length);
        value.extend(self.writer.to_be_bytes());
        value.extend(self.partition.to_be_bytes());
        value.extend(self.sequence.to_be_bytes());
        // Half of it compresses.
        value.resize(STAMP_BYTES + length / 2, self.sequence as u8);
        value.extend(random.bytes(length - length / 2));
        value
    }

    fn of_value(value: &[u8]) -> Option<Self> {
        Some(Self {
            writer: u32::from_be_bytes(value.get(0..4)?.try_into().ok()?),
            partition: i32::from_be_bytes(value.get(4..8)?.try_into().ok()?),
            sequence: u64::from_be_bytes(value.get(8..16)?.try_into().ok()?),
        })
    }
}

/// How strictly a writer's records are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Idempotent: each record once, in the order of sequences, none missing once all are acknowledged.
    ExactlyOnce,
    /// Offsets of acknowledged records grow with their sequences; one without an answer may be there, once or more.
    InOrder,
    /// Each acknowledged record at its offset, nothing more: the client may send a lost batch after its successor.
    Acknowledged,
}

#[derive(Default)]
struct Partition {
    sent: HashMap<u32, u64>,
    acked: BTreeMap<i64, Stamp>,
    last_ack: HashMap<u32, (u64, i64)>,
    ack_count: HashMap<u32, u64>,
    /// All below was checked in an earlier round, and these sequences come next.
    checked: i64,
    next_seen: HashMap<u32, u64>,
}

/// One topic's history over all crashes.
pub struct Ledger {
    topic: String,
    writers: HashMap<u32, Delivery>,
    partitions: Vec<Partition>,
    failures: Vec<String>,
}

impl Ledger {
    pub fn new(topic: &str, partitions: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            writers: HashMap::new(),
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            failures: Vec::new(),
        }
    }

    pub fn add_writer(&mut self, writer: u32, delivery: Delivery) {
        self.writers.insert(writer, delivery);
    }

    /// The next record of this writer; it counts as sent from now on.
    pub fn next(&mut self, writer: u32, partition: i32) -> Stamp {
        let next = self.partitions[partition as usize].sent.entry(writer).or_default();
        let sequence = *next;
        *next += 1;
        Stamp { writer, partition, sequence }
    }

    pub fn acked(&mut self, stamp: Stamp, offset: i64) {
        let partition = &mut self.partitions[stamp.partition as usize];
        *partition.ack_count.entry(stamp.writer).or_default() += 1;
        if offset < 0 {
            return; // a duplicate whose offset the broker no longer knows
        }
        if let Some(before) = partition.last_ack.insert(stamp.writer, (stamp.sequence, offset))
            && self.writers[&stamp.writer] != Delivery::Acknowledged
            && (before.0 >= stamp.sequence || before.1 >= offset)
        {
            self.failures
                .push(format!("{stamp:?} acknowledged at {offset} after (sequence, offset) {before:?}"));
        }
        if let Some(other) = partition.acked.insert(offset, stamp) {
            self.failures.push(format!("{stamp:?} and {other:?} both acknowledged at {offset}"));
        }
    }

    pub fn failed(&mut self, stamp: Stamp, reason: &str) {
        if self.writers[&stamp.writer] == Delivery::ExactlyOnce {
            self.failures.push(format!("{stamp:?} was given up: {reason}"));
        }
    }

    pub fn acked_count(&self) -> u64 {
        self.partitions.iter().flat_map(|p| p.ack_count.values()).sum()
    }

    /// Reads what is in the log, from its beginning or from where the last check ended, and panics at the first
    /// record that is missing, doubled, out of place, changed or invented.
    pub fn check(&mut self, bootstrap: &str, whole: bool) {
        assert!(self.failures.is_empty(), "{}: {:#?}", self.topic, self.failures);
        if whole {
            for partition in &mut self.partitions {
                partition.checked = 0;
                partition.next_seen.clear();
            }
        }
        let settings = [("group.id", "unused"), ("fetch.wait.max.ms", "20"), ("check.crcs", "true")];
        let consumer: BaseConsumer = client_config(bootstrap, &settings).create().unwrap();
        let ends = self.assign(&consumer);
        self.read(&consumer, &ends);
        for (index, partition) in self.partitions.iter().enumerate() {
            partition.check_complete(&format!("{}-{index}", self.topic), &self.writers);
        }
    }

    /// Assigns all partitions from where they were checked; the offsets at which they end.
    fn assign(&self, consumer: &BaseConsumer) -> Vec<i64> {
        let mut ends = Vec::new();
        let mut list = TopicPartitionList::new();
        for (index, partition) in self.partitions.iter().enumerate() {
            let place = format!("{}-{index}", self.topic);
            let (low, high) = consumer.fetch_watermarks(&self.topic, index as i32, READ_WITHIN).unwrap();
            assert_eq!(low, 0, "{place}: log start");
            let last_acked = partition.acked.last_key_value().map_or(-1, |(offset, _)| *offset);
            assert!(high > last_acked, "{place}: ends at {high}, but {last_acked} was acknowledged");
            list.add_partition_offset(&self.topic, index as i32, Offset::Offset(partition.checked)).unwrap();
            ends.push(high);
        }
        consumer.assign(&list).unwrap();
        ends
    }

    fn read(&mut self, consumer: &BaseConsumer, ends: &[i64]) {
        let deadline = Instant::now() + READ_WITHIN;
        let mut left =
            self.partitions.iter().zip(ends).filter(|(partition, end)| partition.checked < **end).count();
        while left > 0 {
            assert!(
                Instant::now() < deadline,
                "{}: {left} partitions are not read to their ends",
                self.topic
            );
            let message = match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    assert!(is_passing(&error), "{}: {error}", self.topic);
                    continue;
                }
                None => continue,
            };
            let index = message.partition() as usize;
            let place = format!("{}-{index}", self.topic);
            let partition = &mut self.partitions[index];
            let value = message.payload().unwrap_or_default();
            partition.check_next(&place, &self.writers, message.offset(), value);
            left -= usize::from(partition.checked == ends[index]);
        }
    }
}

impl Partition {
    fn check_next(&mut self, place: &str, writers: &HashMap<u32, Delivery>, offset: i64, value: &[u8]) {
        assert_eq!(offset, self.checked, "{place}: next offset");
        self.checked += 1;
        let stamp =
            Stamp::of_value(value).unwrap_or_else(|| panic!("{place}: {offset} holds no record of ours"));
        let sent = self.sent.get(&stamp.writer).copied().unwrap_or(0);
        assert!(stamp.sequence < sent, "{place}: {offset} holds {stamp:?}, but only {sent} were sent");
        assert!(value == stamp.value(), "{place}: {offset} holds {stamp:?} with other bytes");
        if let Some(acked) = self.acked.get(&offset) {
            assert_eq!(stamp, *acked, "{place}: {offset} holds another record than was acknowledged there");
        }
        if writers[&stamp.writer] == Delivery::ExactlyOnce {
            let next = self.next_seen.entry(stamp.writer).or_default();
            assert_eq!(stamp.sequence, *next, "{place}: {offset}, next sequence of writer {}", stamp.writer);
            *next += 1;
        }
    }

    /// All that an idempotent writer got an answer for was seen.
    fn check_complete(&self, place: &str, writers: &HashMap<u32, Delivery>) {
        for (writer, sent) in &self.sent {
            if writers[writer] == Delivery::ExactlyOnce {
                assert_eq!(
                    self.ack_count.get(writer),
                    Some(sent),
                    "{place}: records acknowledged to {writer}"
                );
                assert_eq!(
                    self.next_seen.get(writer),
                    Some(sent),
                    "{place}: records of writer {writer} found"
                );
            }
        }
    }
}
