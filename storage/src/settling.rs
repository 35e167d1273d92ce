//! Bringing logs so far that a checkpoint can free ring files: writing back, carrying forward.
//!
//! A checkpoint frees the older half of the full ring files. What they hold is written back; a partial block is
//! carried forward as a new entry, once. If it would be carried again with nothing added, its partition is quiet:
//! the block is written padded instead and leaves memory. So carrying costs what is active, not what exists.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use reactor::{Pace, Task};

use crate::checkpointer::Goal;
use crate::commit_log::format::{ENTRY_BYTES, Entry, EntryKind};
use crate::commit_log::ring;
use crate::error::StorageError;
use crate::limits::{BLOCK, CARRIED_AGAIN_ONE_IN, COMMIT_BYTES_MAX, LOGS_STEP, QUIET_WRITTEN_MAX};
use crate::log::core::{Health, LogCell, LogCore};
use crate::maintenance::for_each;
use crate::store::StoreInner;
use crate::tail::Chunk;
use crate::together::Together;
use crate::types::{LeaderEpoch, Offset, Position};
use crate::writeback::{Extent, Sync, has_work, write_back};

/// Brings one log so far that commits up to `freed` are not needed for it.
pub(crate) async fn settle(
    inner: &Rc<StoreInner>,
    cell: &Rc<LogCell>,
    freed: u64,
    goal: Goal,
    again: &Again,
) -> Result<(), StorageError> {
    if !is_due(cell, goal, again) {
        return Ok(());
    }
    write_back(inner, cell, goal.extent(), Sync::Yes).await?;
    match next(inner, cell, freed, again) {
        Next::Done => {}
        Next::WriteQuiet => {
            write_back(inner, cell, Extent::Everything, Sync::Yes).await?;
            forget_safe(cell);
        }
        Next::WriteAgain => {
            write_back(inner, cell, goal.extent(), Sync::Yes).await?;
            carry(inner, cell, freed);
        }
    }
    Ok(())
}

/// The same for many logs, step by step: what they wrote becomes durable together.
pub(crate) async fn settle_together(
    inner: &Rc<StoreInner>,
    cells: &[Rc<LogCell>],
    freed: u64,
    goal: Goal,
    again: &Again,
) -> Result<(), StorageError> {
    let mut pace = Pace::every(LOGS_STEP);
    let mut due = Vec::with_capacity(cells.len());
    for cell in cells {
        pace.step().await;
        if is_due(cell, goal, again) {
            due.push(Rc::clone(cell));
        }
    }
    let (written, mut result) = write_all(inner, due, goal.extent()).await;
    let (mut quiet, mut unfinished) = (Vec::new(), Vec::new());
    for cell in written {
        pace.step().await;
        match next(inner, &cell, freed, again) {
            Next::Done => {}
            Next::WriteQuiet => quiet.push(cell),
            Next::WriteAgain => unfinished.push(cell),
        }
    }
    let (quiet, written) = write_all(inner, quiet, Extent::Everything).await;
    result = result.and(written);
    for cell in quiet {
        pace.step().await;
        forget_safe(&cell);
    }
    let (unfinished, written) = write_all(inner, unfinished, goal.extent()).await;
    for cell in unfinished {
        pace.step().await;
        carry(inner, &cell, freed);
    }
    result.and(written)
}

/// Writes logs back, durably: together if they are many. Answers those of which all is as it should be.
async fn write_all(
    inner: &Rc<StoreInner>,
    cells: Vec<Rc<LogCell>>,
    extent: Extent,
) -> (Vec<Rc<LogCell>>, Result<(), StorageError>) {
    if !are_many(inner, &cells, extent).await {
        return write_some(inner, cells, extent, None).await;
    }
    let together = Rc::new(Together::default());
    let mut done = Vec::with_capacity(cells.len());
    let mut result = Ok(());
    let mut ahead = Some(prepare(inner, &together, cells.into_iter(), extent));
    while let Some(preparing) = ahead.take() {
        let (some, rest) = preparing.await;
        // While these are written, the files of the next are made.
        ahead = (rest.len() > 0).then(|| prepare(inner, &together, rest, extent));
        let (written, outcome) = write_some(inner, some, extent, Some(&together)).await;
        done.extend(written);
        result = result.and(outcome);
    }
    match together.sync(inner).await {
        Ok(()) => (done, result),
        Err(error) => (Vec::new(), result.and(Err(error))),
    }
}

/// Logs whose files were made, and those still to come.
type Prepared = (Vec<Rc<LogCell>>, std::vec::IntoIter<Rc<LogCell>>);

/// Makes the files that the next logs need.
fn prepare(
    inner: &Rc<StoreInner>,
    together: &Rc<Together>,
    mut cells: std::vec::IntoIter<Rc<LogCell>>,
    extent: Extent,
) -> Task<Prepared> {
    let (inner, together) = (Rc::clone(inner), Rc::clone(together));
    reactor::spawn(reactor::Priority::Background, "new-segments", async move {
        let some = together.new.prepare(&inner, &mut cells, extent).await;
        (some, cells)
    })
}

/// Writes logs back, a few at a time.
async fn write_some(
    inner: &Rc<StoreInner>,
    cells: Vec<Rc<LogCell>>,
    extent: Extent,
    together: Option<&Rc<Together>>,
) -> (Vec<Rc<LogCell>>, Result<(), StorageError>) {
    let done = Rc::new(RefCell::new(Vec::with_capacity(cells.len())));
    let shared = (Rc::clone(inner), together.cloned(), Rc::clone(&done));
    let written = for_each(cells.into_iter(), move |cell| {
        let (inner, together, done) = shared.clone();
        async move {
            let sync = together.as_deref().map_or(Sync::Yes, Sync::With);
            write_back(&inner, &cell, extent, sync).await?;
            done.borrow_mut().push(cell);
            Ok(ControlFlow::Continue(()))
        }
    })
    .await;
    (done.take(), written)
}

/// Whether so many logs have something to write that it is made durable together.
pub(crate) async fn are_many(inner: &StoreInner, cells: &[Rc<LogCell>], extent: Extent) -> bool {
    if inner.file_system.is_none() {
        return false;
    }
    let mut left = inner.options.sync_together_from.max(1);
    let mut pace = Pace::every(LOGS_STEP);
    for cell in cells {
        pace.step().await;
        left -= usize::from(has_work(&cell.core.borrow(), extent));
        if left == 0 {
            return true;
        }
    }
    false
}

/// Whether a checkpoint writes a log back: all but those that a stop leaves in the ring.
fn is_due(cell: &LogCell, goal: Goal, again: &Again) -> bool {
    if goal != Goal::Stop {
        return true;
    }
    let needs_ring = {
        let core = cell.core.borrow();
        core.tail.needed(core.unsafe_from()).is_some()
    };
    !needs_ring || again.may_write()
}

/// What is still to be done for a log that was written back.
enum Next {
    Done,
    /// All of it, for it is quiet.
    WriteQuiet,
    /// Once more, and then it is carried.
    WriteAgain,
}

/// Carries what is left of a log that was written back, unless that is to be written.
fn next(inner: &Rc<StoreInner>, cell: &Rc<LogCell>, freed: u64, again: &Again) -> Next {
    let tight =
        inner.commit.with_ring(|ring| ring.free() < (4 * COMMIT_BYTES_MAX as u64).min(ring.total() / 8));
    let quiet = {
        let core = cell.core.borrow();
        let needed = core.tail.needed(core.unsafe_from());
        if core.health != Health::Serving || needed.is_none_or(|needed| needed > freed) {
            return Next::Done;
        }
        tight || (core.carried && !again.may_carry(needed_bytes(&core)))
    };
    if quiet {
        return Next::WriteQuiet;
    }
    match carry(inner, cell, freed) {
        Carried::Done => Next::Done,
        // The next time it is a partial block: only one append can lie on both sides of `freed`.
        Carried::TooMuch => Next::WriteAgain,
    }
}

/// A quiet log's block leaves memory.
fn forget_safe(cell: &LogCell) {
    let mut core = cell.core.borrow_mut();
    let safe = core.unsafe_from();
    core.tail.forget_safe(safe);
}

/// What one checkpoint may carry forward once more. When very many logs fall quiet together, writing the block of each, in
/// a file and a folder of its own, would take so long that the ring fills up meanwhile; carrying them all for ever would
/// take the ring. So some are written at each checkpoint, and the rest is carried again, within a part of the ring.
pub(crate) struct Again {
    written_left: Cell<usize>,
    bytes_left: Cell<u64>,
}

impl Again {
    pub(crate) fn new(inner: &StoreInner) -> Again {
        let bytes = inner.commit.with_ring(ring::Ring::total) / CARRIED_AGAIN_ONE_IN;
        Again { written_left: Cell::new(QUIET_WRITTEN_MAX), bytes_left: Cell::new(bytes) }
    }

    /// Whether one more may be written.
    fn may_write(&self) -> bool {
        let left = self.written_left.get().checked_sub(1);
        self.written_left.set(left.unwrap_or_default());
        left.is_some()
    }

    /// Whether the block of a log that was carried already is carried again; else it is written.
    fn may_carry(&self, bytes: u64) -> bool {
        if self.may_write() {
            return false;
        }
        match self.bytes_left.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes_left.set(left);
                true
            }
            None => false,
        }
    }
}

/// Bytes of a carried block in the ring, about.
fn needed_bytes(core: &LogCore) -> u64 {
    let from = core.unsafe_from();
    ENTRY_BYTES as u64 + core.end_at().position.saturating_sub(from.position).min(BLOCK)
}

/// Whether there is no more than a partial block to carry.
#[derive(PartialEq, Eq)]
enum Carried {
    Done,
    /// An append became whole on disk while blocks were written: it has further ones.
    TooMuch,
}

/// Stages the partial block of a log again, as far as commits up to `freed` hold it.
fn carry(inner: &Rc<StoreInner>, cell: &Rc<LogCell>, freed: u64) -> Carried {
    let mut core = cell.core.borrow_mut();
    let from = core.unsafe_from();
    let first = core.tail.index_of(from);
    // Pieces of an append that is not yet complete on disk keep their ring files until it is.
    let flushed = core.segment(from.segment).map_or(0, |segment| core.flushed_bytes(segment));
    // Carried blocks are newer than what follows them, so sequences do not ascend.
    let whole = |chunk: &&Chunk| chunk.at.segment == from.segment && chunk.end() <= flushed;
    let old = core.tail.from(first).take_while(whole).filter(|chunk| chunk.sequence <= freed);
    let Some(end) = old.last().map(Chunk::end) else { return Carried::Done };
    if end - from.position >= BLOCK {
        return Carried::TooMuch;
    }
    let bytes = Bytes::from(core.memory(from.segment, from.position, end).concat());
    assert!(bytes.len() as u64 == end - from.position);
    let entry = Entry {
        kind: EntryKind::Carry,
        log: cell.id,
        segment: from.segment,
        position: Position(from.position),
        offset: Offset::ZERO,
        total: 0,
        fragment_at: 0,
        epoch: LeaderEpoch::NONE,
        length: bytes.len() as u32,
    };
    core.carried = true;
    core.changed = true;
    // Staging may seal the open commit, which gives this log its slices.
    drop(core);
    let sequence = inner.commit.note(cell, &entry, &bytes);
    inner.counters.carried.set(inner.counters.carried.get() + 1);
    cell.core.borrow_mut().tail.carried(from, end, bytes, sequence);
    Carried::Done
}
