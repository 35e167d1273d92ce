//! From memory to segment files, in the background.
//!
//! Only bytes that are durable in the ring are written, in whole aligned blocks, past the page cache, large batches from
//! where they lie in memory (`gathered`). What is left of the last block stays in memory (and in the ring) and is
//! written, padded with zeros, only when no more bytes can come into the same write: at roll, at shutdown, and for a
//! partition that has gone quiet. Writing that block again later, longer, is safe for its old bytes: both versions hold
//! them, sector by sector.
//!
//! Crash order: data → sync of the file, or of all files at once (`together`) → `safe` moves → a checkpoint says so. A finished segment also gets its exact
//! length and its index files, before `safe` reaches its end. New names are noted, and synced by the checkpoint.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use reactor::fs::NewFile;
use reactor::planted::{Planted, planted};
use reactor::{File, OpenOptions};

use crate::cold_segments::segment_path;
use crate::error::StorageError;
use crate::gathered::{Gather, Gathered, Lying};
use crate::index_file;
use crate::limits::{
    BLOCK, GATHERED_A_STEP_BYTES, SEGMENT_AHEAD_BYTES, SEGMENT_AHEAD_FROM_BYTES, SEGMENT_WRITE_BYTES,
};
use crate::log::core::{Health, LogCell, LogCore};
use crate::options::Direct;
use crate::salvage;
use crate::segment::Segment;
use crate::store::StoreInner;
use crate::together::{Together, Written};
use crate::types::SegmentBase;

/// How far writeback goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// Whole blocks.
    Blocks,
    /// Also the partial last block, padded.
    Everything,
}

/// Whether what was written is made durable.
#[derive(Clone, Copy)]
pub(crate) enum Sync<'a> {
    Yes,
    /// By the caller, with others; but segments that are complete at once, as with `Yes`.
    With(&'a Together),
    No,
}

impl Sync<'_> {
    fn is_wanted(self) -> bool {
        !matches!(self, Sync::No)
    }
}

/// One segment's work.
#[derive(Clone, Copy, Debug)]
struct Job {
    base: SegmentBase,
    /// First byte to write; a block boundary.
    from: u64,
    /// First byte not to write.
    to: u64,
    /// Rolled and wholly durable: exact length, index files.
    finish: bool,
    is_new: bool,
    allocated: u64,
    ahead: bool,
    /// Of the log.
    generation: u32,
}

/// Writes back what one log has. Holds the store's maintenance turn.
pub(crate) async fn write_back(
    inner: &Rc<StoreInner>,
    cell: &Rc<LogCell>,
    extent: Extent,
    sync: Sync<'_>,
) -> Result<(), StorageError> {
    let mut after: Option<SegmentBase> = None;
    loop {
        let (job, dir) = {
            let core = cell.core.borrow();
            if core.health != Health::Serving {
                break;
            }
            match next_job(&core, after, extent, sync) {
                Some(job) => (job, inner.log_dir(cell.id, &core.name)),
                None => break,
            }
        };
        after = Some(job.base);
        if let Err(error) = run(inner, cell, &dir, job, sync).await {
            return failed(inner, cell, error).await;
        }
    }
    if cell.core.borrow().health != Health::Serving {
        return salvage::finish(inner, cell).await;
    }
    let mut core = cell.core.borrow_mut();
    let left: u64 = core.segments.iter().map(|segment| segment.bytes - core.flushed_bytes(segment)).sum();
    let handled = core.unhandled.saturating_sub(left);
    core.unhandled -= handled;
    drop(core);
    inner.commit.handled(handled);
    Ok(())
}

/// No space is a state of the store, too few descriptors or too little memory one of the process; any other failure
/// takes the partition offline, which is handled then.
async fn failed(inner: &Rc<StoreInner>, cell: &Rc<LogCell>, error: StorageError) -> Result<(), StorageError> {
    if error.is_no_space() {
        inner.note_full(true);
        return Err(error);
    }
    if error.is_shortage() {
        return Err(error);
    }
    salvage::take_offline(inner, cell, &error).await
}

/// Whether writeback with a sync would have something to do.
pub(crate) fn has_work(core: &LogCore, extent: Extent) -> bool {
    core.health == Health::Serving && next_job(core, None, extent, Sync::Yes).is_some()
}

/// The first file that writeback with a sync would make for a log.
pub(crate) fn new_segment(
    inner: &StoreInner,
    cell: &LogCell,
    extent: Extent,
) -> Option<(SegmentBase, NewFile)> {
    let core = cell.core.borrow();
    if core.health != Health::Serving {
        return None;
    }
    let mut after = None;
    loop {
        let job = next_job(&core, after, extent, Sync::Yes)?;
        if job.is_new {
            let path = segment_path(&inner.log_dir(cell.id, &core.name), job.base, "log");
            return Some((job.base, NewFile { path, options: open_options(inner, &job) }));
        }
        after = Some(job.base);
    }
}

/// The first segment after `after` that has something to write or sync.
fn next_job(core: &LogCore, after: Option<SegmentBase>, extent: Extent, sync: Sync<'_>) -> Option<Job> {
    let active = core.active().base;
    let candidates = core.segments.iter().filter(|segment| after.is_none_or(|after| segment.base > after));
    for segment in candidates {
        if segment.is_safe() {
            continue;
        }
        let flushed = core.flushed_bytes(segment);
        let finish = segment.base != active && flushed == segment.bytes && sync.is_wanted();
        let to = if finish || extent == Extent::Everything { flushed } else { flushed / BLOCK * BLOCK };
        let writes = to > segment.written.max(segment.safe);
        let syncs = sync.is_wanted() && segment.written > segment.safe;
        if writes || syncs || finish {
            return Some(Job {
                base: segment.base,
                from: segment.written,
                to: to.max(segment.written),
                finish,
                is_new: segment.written == 0 && segment.safe == 0 && segment.allocated == 0,
                allocated: segment.allocated,
                ahead: segment.base == active && core.config.segment_bytes > 2 * SEGMENT_AHEAD_BYTES,
                generation: core.generation,
            });
        }
    }
    None
}

async fn run(
    inner: &Rc<StoreInner>,
    cell: &Rc<LogCell>,
    dir: &Path,
    job: Job,
    sync: Sync<'_>,
) -> Result<(), StorageError> {
    let path = segment_path(dir, job.base, "log");
    let file = open(inner, cell, dir, &path, job, sync).await?;
    allocate(inner, cell, &file, &job).await;
    write_blocks(inner, cell, &file, &path, job).await?;
    if job.finish {
        file.set_len(job.to).await.map_err(StorageError::io("set the length of", &path))?;
        write_indexes(inner, cell, dir, job.base).await?;
    }
    match sync {
        Sync::No => return Ok(()),
        Sync::With(together) if !job.finish => {
            let Job { base, to, generation, .. } = job;
            together.add(Written { cell: Rc::clone(cell), generation, base, to }, file);
            return Ok(());
        }
        Sync::Yes | Sync::With(_) => {}
    }
    if !planted(Planted::CheckpointBeforeData) {
        file.sync_data().await.map_err(StorageError::io("sync", &path))?;
    }
    let mut core = cell.core.borrow_mut();
    let Some(segment) = core.segment_mut(job.base) else { return Ok(()) };
    segment.advance_safe(job.to);
    if job.finish {
        segment.indexes = None;
        // A partial last block stays as it was written; nothing is behind it.
        segment.written = segment.bytes / BLOCK * BLOCK;
    }
    core.changed = true;
    Ok(())
}

/// Opens a segment's file; a new one is made, unless it was already.
async fn open(
    inner: &StoreInner,
    cell: &LogCell,
    dir: &Path,
    path: &Path,
    job: Job,
    sync: Sync<'_>,
) -> Result<File, StorageError> {
    let made = match sync {
        Sync::With(together) if job.is_new => together.new.take(cell.id, job.base),
        _ => None,
    };
    if job.is_new {
        if made.is_none() {
            reactor::fs::create_dir_all(dir).await.map_err(StorageError::io("make folder", dir))?;
        }
        let mut unsynced = inner.unsynced_dirs.borrow_mut();
        unsynced.insert(dir.to_path_buf());
        unsynced.insert(inner.options.topics_dir());
    }
    if let Some(file) = made {
        return Ok(file);
    }
    let file = File::open(path, &open_options(inner, &job)).await.map_err(StorageError::io("open", path))?;
    check_length(cell, &file, path, job.base).await?;
    Ok(file)
}

fn open_options(inner: &StoreInner, job: &Job) -> OpenOptions {
    let direct = inner.options.direct == Direct::Required;
    OpenOptions::new().read(true).write(true).create(job.is_new).direct(direct)
}

/// A file that is shorter than what was synced into it has lost records.
async fn check_length(
    cell: &LogCell,
    file: &File,
    path: &Path,
    base: SegmentBase,
) -> Result<(), StorageError> {
    let length = file.size().await.map_err(StorageError::io("look at", path))?;
    let safe = cell.core.borrow().segment(base).map_or(0, |segment| segment.safe);
    if length < safe {
        return Err(StorageError::corrupt(
            path,
            format!("it has {length} bytes, of which {safe} were synced"),
        ));
    }
    Ok(())
}

/// Reserves space ahead where much is written and there is much, best effort.
async fn allocate(inner: &StoreInner, cell: &Rc<LogCell>, file: &File, job: &Job) {
    let wanted = job.ahead && (job.to - job.from >= SEGMENT_AHEAD_FROM_BYTES || job.allocated > 0);
    if !wanted || job.to <= job.allocated {
        return;
    }
    let end = (job.to + SEGMENT_AHEAD_BYTES).next_multiple_of(SEGMENT_AHEAD_BYTES);
    if !inner.has_space_for(&inner.options.data_dir, end - job.from + inner.commit.dirty()) {
        return;
    }
    if file.allocate(job.from, end - job.from).await.is_ok()
        && let Some(segment) = cell.core.borrow_mut().segment_mut(job.base)
    {
        segment.allocated = end;
    }
}

async fn write_blocks(
    inner: &Rc<StoreInner>,
    cell: &Rc<LogCell>,
    file: &File,
    path: &PathBuf,
    job: Job,
) -> Result<(), StorageError> {
    let mut from = job.from;
    while from < job.to {
        let to = job.to.min(from + SEGMENT_WRITE_BYTES as u64);
        let block = match start_in_file(cell, job.base, from) {
            Some(length) => read_start(file, path, from, length).await?,
            None => Bytes::new(),
        };
        let (buffer, in_place) = (reactor::fixed_buffer().await, inner.writes_in_place.get());
        let to_fill = Gather::new(buffer, from, in_place);
        let Some(gathered) = gather(to_fill, cell, job.base, from..to, &block).await else {
            // The segment went, or its bytes did: the log was deleted or its start moved.
            return if still_needed(cell, job.base) {
                Err(StorageError::corrupt(path, format!("bytes at {from} are not in memory")))
            } else {
                Ok(())
            };
        };
        let length = (to - from).next_multiple_of(BLOCK);
        let written = match gathered.bytes {
            Lying::Together(bytes) => file.write_at(bytes, from).await,
            Lying::Parts(parts) => match file.write_parts_at(parts, from).await {
                // A device with larger sectors: from now on everything is copied.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    inner.writes_in_place.set(false);
                    continue;
                }
                written => written,
            },
        };
        written.map_err(StorageError::io("write", path))?;
        let counters = &inner.counters;
        counters.writeback_bytes.set(counters.writeback_bytes.get() + length);
        counters.writeback_copied_bytes.set(counters.writeback_copied_bytes.get() + gathered.copied);
        inner.look_at_space()?;
        if let Some(segment) = cell.core.borrow_mut().segment_mut(job.base) {
            segment.advance_written(to / BLOCK * BLOCK);
        }
        from = to;
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    Ok(())
}

fn still_needed(cell: &LogCell, base: SegmentBase) -> bool {
    let core = cell.core.borrow();
    core.health == Health::Serving && core.segment(base).is_some()
}

/// Bytes of the block at `from` that only the file may have: it was written padded before.
fn start_in_file(cell: &LogCell, base: SegmentBase, from: u64) -> Option<usize> {
    let core = cell.core.borrow();
    let segment: &Segment = core.segment(base)?;
    (segment.written == from && segment.safe > from).then(|| (segment.safe - from) as usize)
}

async fn read_start(file: &File, path: &Path, from: u64, length: usize) -> Result<Bytes, StorageError> {
    let (read, block) = file.read_at(reactor::aligned(BLOCK as usize), BLOCK as usize, from).await;
    let read = read.map_err(StorageError::io("read", path))?;
    if read < length {
        return Err(StorageError::corrupt(path, format!("the block at {from} has {read} of {length} bytes")));
    }
    Ok(block.freeze().slice(..length))
}

/// A range for one write, padded with zeros; `None` when memory does not have all of it. Takes turns with others: of small
/// batches there are thousands in one.
async fn gather(
    mut gather: Gather,
    cell: &LogCell,
    base: SegmentBase,
    range: Range<u64>,
    start: &Bytes,
) -> Option<Gathered> {
    let length = (range.end - range.start) as usize;
    gather.add(&start.slice(..start.len().min(length)));
    let parts = cell.core.borrow().memory(base, gather.at(), range.end);
    let mut step_end = gather.at() + GATHERED_A_STEP_BYTES;
    for part in &parts {
        gather.add(part);
        if gather.at() >= step_end && reactor::should_yield() {
            reactor::yield_now().await;
            step_end = gather.at() + GATHERED_A_STEP_BYTES;
        }
    }
    (gather.at() == range.end).then(|| gather.finish())
}

/// Writes and syncs the index files of a segment that is complete.
async fn write_indexes(
    inner: &Rc<StoreInner>,
    cell: &Rc<LogCell>,
    dir: &Path,
    base: SegmentBase,
) -> Result<(), StorageError> {
    let (offsets, times) = {
        let core = cell.core.borrow();
        let Some(segment) = core.segment(base) else { return Ok(()) };
        let indexes = segment.indexes.as_ref();
        indexes.map(|indexes| (indexes.offsets.clone(), indexes.times.clone())).unwrap_or_default()
    };
    index_file::write(dir, base, &offsets, &times).await?;
    inner.unsynced_dirs.borrow_mut().insert(dir.to_path_buf());
    Ok(())
}
