//! Files that one checkpoint has written and makes durable together: one sync of their file system instead of one of each.
//!
//! Crash order: the file system is held open from before the first write → all files are written → the file system is
//! synced → one of the files is synced, which flushes the device → `safe` moves, of every file to where the file was written. The
//! names of new files and folders need no sync of their own then.
//!
//! Meanwhile logs go on: what they get is beyond what was written here and waits for the next time. A log that was
//! deleted, has failed or was truncated, and a segment that is no more, keep what they had: nothing is said of them.

use std::cell::RefCell;
use std::rc::Rc;

use reactor::planted::{Planted, planted};
use reactor::{File, OpenOptions, Pace};

use crate::error::StorageError;
use crate::limits::LOGS_STEP;
use crate::log::core::{Health, LogCell};
use crate::new_segments::NewSegments;
use crate::options::StoreOptions;
use crate::segment::Segment;
use crate::store::StoreInner;
use crate::types::SegmentBase;

/// Opens the folder of segments, to sync its file system. `None`: this file system cannot be synced so, or never shall be.
pub(crate) async fn open(options: &StoreOptions) -> Result<Option<File>, StorageError> {
    let dir = options.topics_dir();
    let can = reactor::fs::can_sync_file_system(&dir);
    if options.sync_together_from == usize::MAX || !can.map_err(StorageError::io("look at", &dir))? {
        return Ok(None);
    }
    let folder = File::open(&dir, &OpenOptions::new().read(true)).await;
    folder.map(Some).map_err(StorageError::io("open", dir))
}

/// What is to become durable together.
#[derive(Default)]
pub(crate) struct Together {
    written: RefCell<Vec<Written>>,
    /// The file that was written last.
    last: RefCell<Option<File>>,
    /// Files that are not yet written.
    pub(crate) new: NewSegments,
}

/// A segment whose file has everything up to a position.
pub(crate) struct Written {
    pub(crate) cell: Rc<LogCell>,
    /// Of the log, when that was looked at.
    pub(crate) generation: u32,
    pub(crate) base: SegmentBase,
    pub(crate) to: u64,
}

impl Together {
    /// Adds a segment: its writes have completed.
    pub(crate) fn add(&self, written: Written, file: File) {
        self.written.borrow_mut().push(written);
        *self.last.borrow_mut() = Some(file);
    }

    /// Makes everything added durable, and moves `safe`. On an error nothing of it is believed.
    pub(crate) async fn sync(&self, inner: &StoreInner) -> Result<(), StorageError> {
        let written = self.written.take();
        let Some(last) = self.last.take() else { return Ok(()) };
        // Names that were made before become durable with everything else.
        let names = inner.unsynced_dirs.take();
        let synced = sync_file_system(inner, &last).await;
        if let Err(error) = &synced {
            inner.unsynced_dirs.borrow_mut().extend(names);
            failed(inner, error);
        }
        let mut pace = Pace::every(LOGS_STEP);
        for Written { cell, generation, base, to } in written {
            pace.step().await;
            let mut core = cell.core.borrow_mut();
            if core.health != Health::Serving || core.generation != generation {
                continue;
            }
            let Some(segment) = core.segment_mut(base) else { continue };
            if synced.is_err() {
                Segment::write_again(segment);
                continue;
            }
            segment.advance_safe(to);
            core.changed = true;
        }
        synced
    }
}

async fn sync_file_system(inner: &StoreInner, last: &File) -> Result<(), StorageError> {
    let Some(folder) = &inner.file_system else {
        unreachable!("files are put together only where it is there")
    };
    let dir = inner.options.topics_dir();
    if !planted(Planted::SafeBeforeFileSystemSync) {
        let synced = reactor::fs::sync_file_system(folder).await;
        synced.map_err(StorageError::io("sync the file system of", &dir))?;
    }
    // XFS does not flush the device's cache in a sync of everything when its log is clean, as after writes in place. A sync of a
    // file always does, and a flush is of the whole device.
    if !planted(Planted::NoFlushOfDevice) {
        last.sync_data().await.map_err(StorageError::io("sync a segment in", dir))?;
    }
    inner.counters.synced_together.set(inner.counters.synced_together.get() + 1);
    Ok(())
}

/// Which file has failed is not said, and said once only: no log can be taken offline for it, and no later sync would be proof.
/// So the shard takes nothing any more, as after a failed sync of the commit log, which has all of it for the next start.
/// No space and too little memory are states, which end: what was written is written once more.
fn failed(inner: &StoreInner, error: &StorageError) {
    if error.is_no_space() {
        inner.note_full(true);
    } else if !error.is_shortage() {
        inner.commit.poison(&format!("segments are not durable: {error}"));
    }
}
