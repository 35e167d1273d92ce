//! Writing checkpoints, and what must be durable before and may be freed after.
//!
//! **Crash order of a checkpoint**: data → sync of each file, or of all together → sync of folders with new names → (carried blocks and
//! everything the records speak of are durable in the ring) → checkpoint → its sync → ring files reused → unlink.
//!
//! A checkpoint frees the older half of the full ring files. What they hold is written back; a partial block is
//! carried forward as a new entry, once. If it would be carried again with nothing added, its partition is quiet:
//! the block is written padded instead and leaves memory. So carrying costs what is active, not what exists.

use std::cell::{Cell, RefCell};
use std::ops::{Bound, ControlFlow};
use std::rc::Rc;

use bytes::Bytes;
use reactor::planted::{Planted, planted};
use reactor::{Pace, Task};

use crate::checkpoint::{Frame, Kind, Summary, empty_slot};
use crate::cold_segments::segment_path;
use crate::commit_log::format::{ENTRY_BYTES, Entry, EntryKind};
use crate::commit_log::ring;
use crate::error::StorageError;
use crate::limits::{
    BLOCK, CARRIED_AGAIN_ONE_IN, CHECKPOINT_FAILURES_MAX, CHECKPOINT_FRAME_BYTES, COMMIT_BYTES_MAX,
    LOGS_STEP, QUIET_WRITTEN_MAX,
};
use crate::log::core::{Health, LogCell, LogCore, Salvage};
use crate::log_record::{self, LogRecord};
use crate::maintenance::{for_each, listed};
use crate::recovery::replay::SALVAGED_SEQUENCE;
use crate::store::StoreInner;
use crate::tail::Chunk;
use crate::together::Together;
use crate::types::{LeaderEpoch, LogId, Offset, Position, SegmentBase};
use crate::writeback::{Extent, Sync, has_work, write_back};

/// What a checkpoint is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// Free ring files.
    Reclaim,
    /// Everything durable into segments; nothing is left to replay.
    Everything,
    /// The same, but of so many logs that a stop does not take long: writing the few bytes of a quiet log costs a file and a folder
    /// of its own. The others stay in the ring, where the next start finds them.
    Stop,
}

impl Goal {
    fn extent(self) -> Extent {
        match self {
            Goal::Everything | Goal::Stop => Extent::Everything,
            Goal::Reclaim => Extent::Blocks,
        }
    }
}

/// Writes a checkpoint. Holds the store's maintenance turn.
pub(crate) async fn checkpoint(inner: &Rc<StoreInner>, goal: Goal) -> Result<(), StorageError> {
    let durable = inner.commit.durable_sequence();
    let freed = match goal {
        Goal::Everything | Goal::Stop => durable,
        Goal::Reclaim => {
            let closed = inner.commit.with_ring(ring::Ring::closed);
            match closed.get(closed.len().saturating_sub(1) / 2) {
                Some(oldest_half) => (*oldest_half).min(durable),
                None => return Ok(()),
            }
        }
    };
    let cells = Rc::new(listed(inner).await);
    let shared = Rc::clone(inner);
    // Logs that could not be written back keep their commits in the ring: what the others have done counts, and what
    // was deleted makes room.
    let again = Rc::new(Again::new(inner));
    let settled = if are_many(inner, &cells, goal.extent()).await {
        settle_together(inner, &cells, freed, goal, &again).await
    } else {
        let each = Rc::clone(&cells);
        let each = (0..cells.len()).map(move |index| Rc::clone(&each[index]));
        let settle_one = move |cell| {
            let (inner, again) = (Rc::clone(&shared), Rc::clone(&again));
            async move { settle(&inner, &cell, freed, goal, &again).await.map(ControlFlow::Continue) }
        };
        for_each(each, settle_one).await
    };
    if settled.is_err() && inner.commit.poisoned().is_some() {
        return settled;
    }
    if let Err(error) = sync_dirs(inner).await {
        inner.commit.poison(&format!("names of segments are not durable: {error}"));
        return Err(error);
    }
    write_with_reserve(inner, &cells, freed).await?;
    inner.counters.checkpoints.set(inner.counters.checkpoints.get() + 1);
    let mut pace = Pace::every(LOGS_STEP);
    for cell in cells.iter() {
        pace.step().await;
        // A file that cannot be removed takes space and harms nobody; the next checkpoint tries again.
        if let Err(error) = unlink_doomed(inner, cell).await {
            tracing::warn!(%error, "an old segment stays");
        }
        forget_salvage(inner, cell).await?;
    }
    unlist(inner).await;
    let_go(Rc::unwrap_or_clone(cells)).await;
    settled
}

/// Lets go of very many logs.
async fn let_go(cells: Vec<Rc<LogCell>>) {
    let mut pace = Pace::every(LOGS_STEP);
    for cell in cells {
        drop(cell);
        pace.step().await;
    }
}

/// Writes the checkpoint; on a full disk in the room of the reserve. One that fails otherwise is tried again, whole
/// and in the other slot, a few times.
async fn write_with_reserve(
    inner: &Rc<StoreInner>,
    cells: &[Rc<LogCell>],
    freed: u64,
) -> Result<(), StorageError> {
    let removed = std::mem::take(&mut *inner.removed.borrow_mut());
    let mut result = write(inner, cells, &removed, freed).await;
    if result.as_ref().is_err_and(StorageError::is_no_space) {
        inner.note_full(true);
        if inner.give_up_reserve().await {
            let folder = inner.options.data_dir.display();
            tracing::warn!(%folder, "no space: the reserve of checkpoints is used");
            result = write(inner, cells, &removed, freed).await;
        }
    }
    let failures = &inner.counters.checkpoint_failures;
    match &result {
        Ok(()) => failures.set(0),
        Err(error) => {
            inner.removed.borrow_mut().extend(removed);
            if !error.is_no_space() && !error.is_shortage() {
                failures.set(failures.get() + 1);
            }
            if failures.get() == CHECKPOINT_FAILURES_MAX {
                inner.commit.poison(&format!("no checkpoint can be written: {error}"));
            }
        }
    }
    result
}

/// Removes the file of salvaged bytes when neither the checkpoint just written nor memory needs it any more.
async fn forget_salvage(inner: &Rc<StoreInner>, cell: &Rc<LogCell>) -> Result<(), StorageError> {
    let done = {
        let core = cell.core.borrow();
        let in_file = core.tail.needed(core.unsafe_from()) == Some(SALVAGED_SEQUENCE);
        core.salvage == Salvage::Restored && core.health == Health::Serving && !core.changed && !in_file
    };
    if done {
        crate::salvage::remove(&inner.options, cell.id).await?;
        cell.core.borrow_mut().salvage = Salvage::No;
        tracing::info!(log = &*cell.core.borrow().name, "salvaged records are in segments again");
    }
    Ok(())
}

/// Brings one log so far that commits up to `freed` are not needed for it.
async fn settle(
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
async fn settle_together(
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
async fn are_many(inner: &StoreInner, cells: &[Rc<LogCell>], extent: Extent) -> bool {
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
struct Again {
    written_left: Cell<usize>,
    bytes_left: Cell<u64>,
}

impl Again {
    fn new(inner: &StoreInner) -> Again {
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

/// Makes the names of new files and folders durable.
async fn sync_dirs(inner: &Rc<StoreInner>) -> Result<(), StorageError> {
    let dirs = std::mem::take(&mut *inner.unsynced_dirs.borrow_mut());
    for dir in dirs.iter().filter(|_| !planted(Planted::NoFolderSync)) {
        match reactor::fs::sync_dir(dir).await {
            // Deleted meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                inner.unsynced_dirs.borrow_mut().extend(dirs.iter().cloned());
                return Err(StorageError::io("sync", dir)(error));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Writes the records and frees the ring.
async fn write(
    inner: &Rc<StoreInner>,
    cells: &[Rc<LogCell>],
    removed: &[LogId],
    freed: u64,
) -> Result<(), StorageError> {
    let kind = inner.slots.borrow().next_kind();
    let (path, kind, writing) = inner.slots.borrow_mut().plan(kind);
    let mut writing = if let Some(writing) = writing {
        writing
    } else {
        let file = empty_slot(&path).await?;
        inner.slots.borrow().full_into(file)
    };
    let all: Vec<Rc<LogCell>> = match kind {
        Kind::Full => all_logs(inner).await,
        Kind::Delta => Vec::new(),
    };
    let extent = match kind {
        Kind::Full => log_record::Extent::Whole,
        Kind::Delta => log_record::Extent::SinceLast,
    };
    let mut frame = Frame { removed: removed.iter().map(|id| id.0).collect(), ..Frame::default() };
    let (mut bytes, mut needed_min) = (0, u64::MAX);
    let of_delta = if kind == Kind::Delta { cells } else { &[] };
    for cell in all.iter().chain(of_delta) {
        if bytes >= CHECKPOINT_FRAME_BYTES {
            let full = std::mem::take(&mut frame);
            writing.write(&full).await.map_err(StorageError::io("write", &path))?;
            bytes = 0;
        }
        if let Some(record) = record(inner, cell, kind, extent, &mut needed_min) {
            bytes += record.size_hint();
            frame.logs.push(record);
        }
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    if planted(Planted::EarlyReuse) {
        inner.commit.reclaim_early(freed);
    }
    // What the records say must be in the ring before they can be believed.
    inner.commit.durable(inner.commit.staged()).await?;
    let reclaimed = freed.min(needed_min.saturating_sub(1)).max(inner.summary.get().reclaimed);
    let summary = Summary { reclaimed, ..inner.summary.get() };
    frame.summary = Some(summary);
    writing.write(&frame).await.map_err(StorageError::io("write", &path))?;
    writing.sync().await.map_err(StorageError::io("sync", &path))?;
    let_go(all).await;
    let sequence = inner.slots.borrow_mut().finished(writing);
    inner.summary.set(summary);
    inner.commit.reclaim(sequence, reclaimed);
    Ok(())
}

/// Every log there is, by id.
async fn all_logs(inner: &StoreInner) -> Vec<Rc<LogCell>> {
    let mut all: Vec<Rc<LogCell>> = Vec::with_capacity(inner.logs.borrow().len());
    loop {
        let before = all.len();
        {
            let logs = inner.logs.borrow();
            let from = all.last().map_or(Bound::Unbounded, |last| Bound::Excluded(last.id));
            let next = logs.range((from, Bound::Unbounded)).take(LOGS_STEP as usize);
            all.extend(next.map(|(_, cell)| Rc::clone(cell)));
        }
        if all.len() == before {
            return all;
        }
        reactor::give_way().await;
    }
}

/// The record of a log that has changed, or of any for a full checkpoint.
fn record(
    inner: &StoreInner,
    cell: &LogCell,
    kind: Kind,
    extent: log_record::Extent,
    needed_min: &mut u64,
) -> Option<LogRecord> {
    let mut core = cell.core.borrow_mut();
    if core.health == Health::Gone {
        return None;
    }
    if core.salvage != Salvage::Written
        && let Some(needed) = core.tail.needed(core.unsafe_from())
    {
        *needed_min = needed.min(*needed_min);
    }
    if kind == Kind::Delta && !core.changed {
        return None;
    }
    core.changed = false;
    Some(LogRecord::of(cell.id, &mut core, inner.commit.lsn(), extent))
}

/// Unlinks the segments that the checkpoint just written no longer has.
async fn unlink_doomed(inner: &Rc<StoreInner>, cell: &Rc<LogCell>) -> Result<(), StorageError> {
    let (doomed, dir) = {
        let mut core = cell.core.borrow_mut();
        if core.doomed.is_empty() || core.changed || core.health == Health::Gone {
            return Ok(());
        }
        core.changed = true;
        // A truncated log may have come to the same base again.
        let doomed: Vec<SegmentBase> =
            core.doomed.iter().copied().filter(|base| core.segment(*base).is_none()).collect();
        (doomed, inner.log_dir(cell.id, &core.name))
    };
    for base in &doomed {
        inner.cold.forget(cell.id, *base);
        unlink_segment(&dir, *base).await?;
    }
    let mut core = cell.core.borrow_mut();
    let left: Vec<SegmentBase> = core
        .doomed
        .iter()
        .copied()
        .filter(|base| !doomed.contains(base) && core.segment(*base).is_none())
        .collect();
    core.doomed = left;
    Ok(())
}

async fn unlink_segment(dir: &std::path::Path, base: SegmentBase) -> Result<(), StorageError> {
    for extension in ["log", "index", "timeindex"] {
        let path = segment_path(dir, base, extension);
        match reactor::fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes the logs off the list that have nothing left for a checkpoint.
async fn unlist(inner: &StoreInner) {
    let is_settled = |core: &LogCore| {
        core.health == Health::Gone
            || (!core.changed && core.salvage == Salvage::Written)
            || (!core.changed && core.unsafe_from() == core.end_at() && core.unhandled == 0)
    };
    let mut pace = Pace::every(LOGS_STEP);
    let mut place = 0;
    loop {
        {
            let mut listed = inner.listed.borrow_mut();
            let Some(cell) = listed.get(place) else { return };
            let settled = is_settled(&cell.core.borrow());
            cell.core.borrow_mut().listed = !settled;
            if settled {
                listed.swap_remove(place);
            } else {
                place += 1;
            }
        }
        pace.step().await;
    }
}
