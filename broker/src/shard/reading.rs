//! Reading many partitions at once, and waiting for them to grow: what a fetch asks of each owner.
//!
//! A wait costs what grows. The partitions tell a watch; those that have grown are read again, the others keep what they
//! gave.

use std::pin::pin;

use async_channel::Sender;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use reactor::{Instant, Pace};
use storage::{ReadPart, Watch};
use wire::kafka::error_code::ErrorCode;

use super::partition::{ReadOutcome, ReadSpec};
use super::shard::Shard;
use crate::limits;
use crate::metadata::ids::ShardId;

/// What a reader waits for, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Fewer bytes are waited for.
    pub bytes_min: usize,
    /// More are not given.
    pub bytes_max: usize,
    /// When what there is will do.
    pub deadline: Instant,
}

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub struct MayRead {
    /// Bytes, except that a whole batch is given when there is nothing else.
    pub bytes: usize,
    /// There are records already.
    pub some: bool,
}

/// What the partitions of a request have given so far.
#[derive(Debug)]
pub struct Gathered {
    /// In the order of the request.
    pub outcomes: Vec<ReadOutcome>,
    bytes: usize,
    failed: bool,
}

impl Gathered {
    /// The first reads.
    pub fn new(outcomes: Vec<ReadOutcome>) -> Gathered {
        let bytes = outcomes.iter().map(|outcome| outcome.bytes).sum();
        let failed = outcomes.iter().any(|outcome| outcome.error != ErrorCode::None);
        Gathered { outcomes, bytes, failed }
    }

    /// Whether the caller wants no more: there is enough, or something to be told.
    pub fn suffices(&self, wanted: &Wanted) -> bool {
        self.bytes >= wanted.bytes_min || self.failed
    }

    /// A partition was read again.
    pub fn put(&mut self, index: usize, outcome: ReadOutcome) {
        self.failed |= outcome.error != ErrorCode::None;
        self.bytes = self.bytes - self.outcomes[index].bytes + outcome.bytes;
        self.outcomes[index] = outcome;
    }

    /// What these may give when they are read again.
    pub fn left_for(&self, indexes: impl Iterator<Item = usize>, bytes_max: usize) -> MayRead {
        let own: usize = indexes.map(|index| self.outcomes[index].bytes).sum();
        let others = self.bytes - own;
        MayRead { bytes: bytes_max.saturating_sub(others), some: others > 0 }
    }
}

/// Partitions of one shard that have grown, by their places among those it was asked for, and what they give now.
pub type More = (ShardId, Vec<(u32, ReadOutcome)>);

impl Shard {
    /// Reads several partitions in order, sharing what may be read; the first that has records gives at least one batch,
    /// unless there are records already.
    pub async fn read_many(
        &self,
        specs: impl IntoIterator<Item = &ReadSpec>,
        may: MayRead,
    ) -> Vec<ReadOutcome> {
        let MayRead { bytes: mut left, some: mut any } = may;
        let specs = specs.into_iter();
        let mut outcomes = Vec::with_capacity(specs.size_hint().0);
        let mut pace = Pace::every(limits::PARTITIONS_STEP);
        for spec in specs {
            pace.step().await;
            let Some(partition) = self.partition(spec.id) else {
                outcomes.push(ReadOutcome::failed(ErrorCode::NotLeaderOrFollower));
                continue;
            };
            // A limit of 0 still gives one batch while nothing was found; afterwards it gives nothing.
            let limit = if any { spec.bytes_max.min(left) } else { spec.bytes_max.min(left).max(1) };
            let mut outcome = partition.read(spec, limit).await;
            if any && outcome.bytes > left {
                outcome.parts.clear();
                outcome.bytes = 0;
            }
            self.count_read(&outcome.parts);
            any |= outcome.bytes > 0;
            left = left.saturating_sub(outcome.bytes);
            outcomes.push(outcome);
        }
        outcomes
    }

    fn count_read(&self, parts: &[ReadPart]) {
        let (mut memory, mut file) = (0, 0);
        for part in parts {
            match part {
                ReadPart::Memory(bytes) => memory += bytes.len() as u64,
                ReadPart::File { len, .. } => file += *len as u64,
            }
        }
        if memory + file > 0 {
            let reads = if file == 0 { &self.metrics.reads_memory } else { &self.metrics.reads_file };
            reads.add(1);
            self.metrics.read_memory_bytes.add(memory);
            self.metrics.read_file_bytes.add(file);
        }
    }

    /// Reads several partitions as [`Self::read_many`] does, and while that gives too little waits for some of them to grow
    /// and reads those again. `None`: the caller has gone away.
    pub async fn read_when(
        &self,
        specs: Vec<ReadSpec>,
        wanted: Wanted,
        mut cancelled: oneshot::Receiver<()>,
    ) -> Option<Vec<ReadOutcome>> {
        let may = MayRead { bytes: wanted.bytes_max, some: false };
        let mut gathered = Gathered::new(self.read_many(&specs, may).await);
        if gathered.suffices(&wanted) || reactor::now() >= wanted.deadline {
            return Some(gathered.outcomes);
        }
        let watch = self.watch(
            specs.iter().zip(&gathered.outcomes).map(|(spec, outcome)| (spec, outcome.high_watermark)),
        );
        let watch = watch.await;
        while !gathered.suffices(&wanted) {
            let grown = pin!(watch.grown());
            let left = wanted.deadline.since(reactor::now());
            let grown = match reactor::timeout(left, select(grown, &mut cancelled)).await {
                Ok(Either::Left((grown, _))) => grown,
                Ok(Either::Right(_)) => return None,
                Err(_elapsed) => break,
            };
            let may = gathered.left_for(grown.iter().map(|token| *token as usize), wanted.bytes_max);
            for (token, outcome) in self.read_grown(&specs, grown, may).await {
                gathered.put(token as usize, outcome);
            }
        }
        Some(gathered.outcomes)
    }

    /// Tells what partitions give that leave the high watermark that was seen, or are gone; again and again, until nobody
    /// listens.
    pub async fn tell_more(&self, specs: Vec<ReadSpec>, seen: Vec<i64>, may: MayRead, news: Sender<More>) {
        let watch = self.watch(specs.iter().zip(seen)).await;
        loop {
            let grown = match select(pin!(watch.grown()), pin!(news.closed())).await {
                Either::Left((grown, _)) => grown,
                Either::Right(_) => return,
            };
            let more = self.read_grown(&specs, grown, may).await;
            if news.send((self.index, more)).await.is_err() {
                return;
            }
        }
    }

    async fn read_grown(&self, specs: &[ReadSpec], grown: Vec<u32>, may: MayRead) -> Vec<(u32, ReadOutcome)> {
        let read = self.read_many(grown.iter().map(|token| &specs[*token as usize]), may).await;
        grown.into_iter().zip(read).collect()
    }

    /// A watch of partitions, told at once of those that have another high watermark than was seen, or are gone.
    async fn watch(&self, seen: impl ExactSizeIterator<Item = (&ReadSpec, i64)>) -> Watch {
        let watch = Watch::new(seen.len());
        let mut pace = Pace::every(limits::PARTITIONS_STEP);
        for (token, (spec, high_watermark)) in (0..).zip(seen) {
            match self.partition(spec.id) {
                Some(partition) => {
                    partition.log.watch(&watch, token);
                    if partition.high_watermark() != high_watermark {
                        watch.mark(token);
                    }
                }
                // A partition that is gone must be reported, not waited for.
                None => watch.mark(token),
            }
            pace.step().await;
        }
        watch
    }
}
