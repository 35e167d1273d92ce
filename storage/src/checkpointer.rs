//! Writing checkpoints, and what must be durable before and may be freed after.
//!
//! **Crash order of a checkpoint**: data → sync of each file, or of all together → sync of folders with new names → (carried blocks and
//! everything the records speak of are durable in the ring) → checkpoint → its sync → ring files reused → unlink.
//!
//! What is done for each log before its record is written is in [`settling`](crate::settling).

use std::ops::{Bound, ControlFlow};
use std::rc::Rc;

use reactor::Pace;
use reactor::planted::{Planted, planted};

use crate::checkpoint::{Frame, Kind, Summary, empty_slot};
use crate::cold_segments::segment_path;
use crate::commit_log::ring;
use crate::error::StorageError;
use crate::limits::{CHECKPOINT_FAILURES_MAX, CHECKPOINT_FRAME_BYTES, LOGS_STEP};
use crate::log::core::{Health, LogCell, LogCore, Salvage};
use crate::log_record::{self, LogRecord};
use crate::maintenance::{for_each, listed};
use crate::recovery::replay::SALVAGED_SEQUENCE;
use crate::settling::{Again, are_many, settle, settle_together};
use crate::store::StoreInner;
use crate::types::{LogId, SegmentBase};
use crate::writeback::Extent;

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
    pub(crate) fn extent(self) -> Extent {
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
