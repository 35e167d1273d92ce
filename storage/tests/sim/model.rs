//! What the store should have: every batch in the order in which it was staged, and what was promised of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use storage::types::LogId;
use storage::{Catalog, LogConfig, LogSpec};

/// A batch that was staged.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) next: i64,
    /// The batch's own checksum, which covers its content and not its place.
    pub(crate) crc: u32,
    pub(crate) acknowledged: bool,
    pub(crate) producer: Option<(i64, i32)>,
}

/// The one batch that an idempotent producer has not been answered for.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub(crate) bytes: Bytes,
    pub(crate) sequence: i32,
}

/// An idempotent producer of one log. It lives on when the broker does not.
#[derive(Clone, Debug)]
pub(crate) struct Idempotent {
    pub(crate) id: i64,
    pub(crate) next_sequence: i32,
    pub(crate) outstanding: Option<Outstanding>,
    /// A task sends for it now.
    pub(crate) busy: bool,
}

/// One log.
#[derive(Clone, Debug)]
pub(crate) struct ModelLog {
    pub(crate) spec: LogSpec,
    pub(crate) batches: Vec<Batch>,
    /// Offsets below were dropped, durably; and offsets below this may have been.
    pub(crate) start: i64,
    pub(crate) start_max: i64,
    /// A reader was shown everything below.
    pub(crate) shown: i64,
    /// Truncations that have begun, ever: a reader who was on his way meanwhile may have seen either side.
    pub(crate) truncations: u64,
    /// A truncation to here has begun and was not answered.
    pub(crate) truncating: Option<i64>,
    pub(crate) idempotent: Option<Idempotent>,
    /// Its files have failed in this life.
    pub(crate) offline: bool,
}

impl ModelLog {
    /// The end when everything staged is there.
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    /// The end that was promised to producers and readers.
    pub(crate) fn promised_end(&self) -> i64 {
        let acknowledged = self.batches.iter().rev().find(|batch| batch.acknowledged);
        acknowledged.map_or(0, |batch| batch.next).max(self.shown)
    }

    pub(crate) fn batch_at(&self, base: i64) -> Option<&Batch> {
        let index = self.batches.binary_search_by_key(&base, |batch| batch.base).ok()?;
        self.batches.get(index)
    }

    pub(crate) fn acknowledge(&mut self, base: i64, crc: u32) {
        let found = self.batches.iter_mut().rev().find(|batch| batch.base == base && batch.crc == crc);
        if let Some(batch) = found {
            batch.acknowledged = true;
        }
    }

    /// Whether truncation is tried on it. Such a log has no idempotent producer: what truncation takes may come again.
    pub(crate) fn may_be_truncated(&self) -> bool {
        self.spec.id.0.is_multiple_of(5)
    }
}

/// All logs, of all shards.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) live: BTreeMap<u64, ModelLog>,
    pub(crate) issued: u64,
    pub(crate) next_crc_salt: u64,
    pub(crate) next_producer: i64,
}

impl Model {
    /// A new log of a name, as if the metadata log had it.
    pub(crate) fn create(&mut self, name: &str, config: LogConfig, idempotent: bool) -> LogSpec {
        self.issued += 1;
        let spec = LogSpec { id: LogId(self.issued), name: name.to_owned(), config };
        self.next_producer += 1;
        let producer =
            Idempotent { id: self.next_producer, next_sequence: 0, outstanding: None, busy: false };
        let mut log = ModelLog {
            spec: spec.clone(),
            batches: Vec::new(),
            start: 0,
            start_max: 0,
            shown: 0,
            truncations: 0,
            truncating: None,
            idempotent: None,
            offline: false,
        };
        if idempotent && !log.may_be_truncated() {
            log.idempotent = Some(producer);
        }
        self.live.insert(self.issued, log);
        spec
    }

    pub(crate) fn catalog(&self) -> Catalog {
        let live = self.live.values().map(|log| (log.spec.id, log.spec.clone())).collect();
        Catalog { live, issued_max: LogId(self.issued) }
    }

    pub(crate) fn on_shard(&self, shard: u32, shards: u32) -> Vec<u64> {
        self.live.keys().copied().filter(|id| shard_of(*id, shards) == shard).collect()
    }
}

/// Where a log lies.
pub(crate) fn shard_of(id: u64, shards: u32) -> u32 {
    (id % u64::from(shards)) as u32
}
