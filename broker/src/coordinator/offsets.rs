//! Positions of groups: what is durable, and where a newer one is on its way to the log.
//!
//! A position is visible once its record is durable. Until then it is only counted, so that nothing that runs meanwhile
//! (expiry, deletion of a topic or group) writes a tombstone behind it by mistake.

use std::collections::BTreeMap;

use wire::kafka::Str;
use wire::kafka::consumer_offsets::OffsetCommitValue;

use super::records::{OffsetKey, Record};

/// A partition of a group.
#[derive(Debug, Default)]
struct Entry {
    committed: Option<OffsetCommitValue>,
    /// Commits on their way to the log.
    pending: u32,
}

/// The partitions of one group.
#[derive(Debug, Default)]
pub(super) struct GroupOffsets {
    topics: BTreeMap<Str, BTreeMap<i32, Entry>>,
    count: usize,
}

/// Positions by group, topic and partition.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    groups: BTreeMap<Str, GroupOffsets>,
    committed: usize,
}

impl Offsets {
    /// The partitions of a group, if it has any.
    pub(super) fn group(&self, group: &str) -> Option<&GroupOffsets> {
        self.groups.get(group)
    }

    /// The groups that have partitions.
    pub(super) fn group_ids(&self) -> impl Iterator<Item = &Str> {
        self.groups.keys()
    }

    /// Durable positions.
    pub(super) fn committed_count(&self) -> usize {
        self.committed
    }

    /// A commit is on its way to the log.
    pub(super) fn begin(&mut self, key: &OffsetKey) {
        self.entry(key).pending += 1;
    }

    /// A commit that was begun is durable or has failed.
    pub(super) fn end(&mut self, key: &OffsetKey) {
        let entry = self.entry(key);
        entry.pending = entry.pending.saturating_sub(1);
        self.drop_if_void(key);
    }

    /// Makes a durable record visible; `None` forgets the position.
    pub(super) fn apply(&mut self, key: &OffsetKey, value: Option<OffsetCommitValue>) {
        let is_some = value.is_some();
        let before = std::mem::replace(&mut self.entry(key).committed, value);
        self.committed = self.committed + usize::from(is_some) - usize::from(before.is_some());
        self.drop_if_void(key);
    }

    fn entry(&mut self, key: &OffsetKey) -> &mut Entry {
        let group = self.groups.entry(key.group.clone()).or_default();
        let partitions = group.topics.entry(key.topic.clone()).or_default();
        partitions.entry(key.partition).or_insert_with(|| {
            group.count += 1;
            Entry::default()
        })
    }

    fn drop_if_void(&mut self, key: &OffsetKey) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        let Some(partitions) = group.topics.get_mut(&key.topic) else { return };
        let void = |entry: &Entry| entry.committed.is_none() && entry.pending == 0;
        if partitions.get(&key.partition).is_some_and(void) {
            partitions.remove(&key.partition);
            group.count -= 1;
            if partitions.is_empty() {
                group.topics.remove(&key.topic);
            }
            if group.topics.is_empty() {
                self.groups.remove(&key.group);
            }
        }
    }
}

impl GroupOffsets {
    /// Partitions with a position, or one on its way.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The durable position in a partition.
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&OffsetCommitValue> {
        self.topics.get(topic)?.get(&partition)?.committed.as_ref()
    }

    /// Whether the partition has a position or one on its way.
    pub(super) fn contains(&self, topic: &str, partition: i32) -> bool {
        self.topics.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
    }

    /// The durable positions by topic.
    pub(super) fn topics(
        &self,
    ) -> impl Iterator<Item = (&Str, impl Iterator<Item = (i32, &OffsetCommitValue)>)> {
        self.topics.iter().map(|(topic, partitions)| {
            (topic, partitions.iter().filter_map(|(index, entry)| Some((*index, entry.committed.as_ref()?))))
        })
    }

    /// Records that give the durable positions again.
    pub(super) fn records(&self, group: &Str) -> impl Iterator<Item = Record> {
        self.topics().flat_map(move |(topic, partitions)| {
            partitions.map(move |(partition, value)| {
                let key = OffsetKey { group: group.clone(), topic: topic.clone(), partition };
                Record::Offset(key, Some(value.clone()))
            })
        })
    }

    /// Tombstones for every partition, also for what is on its way.
    pub(super) fn tombstones(&self, group: &Str) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.count);
        for (topic, partitions) in &self.topics {
            for partition in partitions.keys() {
                let key = OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition };
                records.push(Record::Offset(key, None));
            }
        }
        records
    }

    /// Tombstones for the durable positions that `forget` picks, where no newer one is on its way.
    pub(super) fn tombstones_where(
        &self,
        group: &Str,
        forget: impl Fn(&str, &OffsetCommitValue) -> bool,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        for (topic, partitions) in &self.topics {
            for (partition, entry) in partitions {
                let settled = entry.committed.as_ref().filter(|_| entry.pending == 0);
                if settled.is_some_and(|value| forget(topic, value)) {
                    let key = OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition };
                    records.push(Record::Offset(key, None));
                }
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> OffsetKey {
        OffsetKey { group: "g".into(), topic: "t".into(), partition }
    }

    fn at(offset: i64) -> OffsetCommitValue {
        OffsetCommitValue { offset, ..OffsetCommitValue::default() }
    }

    #[test]
    fn a_pending_commit_is_counted_but_not_seen() {
        let mut offsets = Offsets::default();
        offsets.begin(&key(0));
        let group = offsets.group("g").unwrap();
        assert_eq!((group.count(), group.get("t", 0)), (1, None));
        assert_eq!(group.topics().map(|(_, partitions)| partitions.count()).sum::<usize>(), 0);
        offsets.apply(&key(0), Some(at(7)));
        offsets.end(&key(0));
        assert_eq!(offsets.group("g").unwrap().get("t", 0), Some(&at(7)));
        assert_eq!(offsets.committed_count(), 1);
    }

    #[test]
    fn nothing_is_left_of_a_commit_that_failed() {
        let mut offsets = Offsets::default();
        offsets.begin(&key(0));
        offsets.end(&key(0));
        assert!(offsets.group("g").is_none());
        assert_eq!(offsets.committed_count(), 0);
    }

    #[test]
    fn a_position_with_a_newer_one_on_its_way_is_not_picked_for_forgetting() {
        let mut offsets = Offsets::default();
        offsets.apply(&key(0), Some(at(7)));
        offsets.apply(&key(1), Some(at(8)));
        offsets.begin(&key(1));
        let group = offsets.group("g").unwrap();
        assert_eq!(group.tombstones_where(&"g".into(), |_, _| true), vec![Record::Offset(key(0), None)]);
        assert_eq!(group.tombstones(&"g".into()).len(), 2);
        offsets.apply(&key(0), None);
        assert!(!offsets.group("g").unwrap().contains("t", 0));
    }
}
