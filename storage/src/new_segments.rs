//! Files of segments that are about to be written for the first time, made many at a time with their folders: each by itself
//! is two trips to kernel workers and two wake-ups of the shard.
//!
//! This only prepares. Nothing relies on these files until writeback takes one, which then notes its name as that of any new
//! file. Where one could not be made, writeback makes it itself and meets the error. A file that nobody takes in the end, as
//! its segment went meanwhile, is unlinked with the segment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use reactor::fs::NewFile;
use reactor::limits::FILES_MADE_MAX;
use reactor::{File, Pace};

use crate::error::StorageError;
use crate::limits::LOGS_STEP;
use crate::log::core::LogCell;
use crate::store::StoreInner;
use crate::types::{LogId, SegmentBase};
use crate::writeback::{Extent, new_segment};

/// A segment's place.
type Key = (LogId, SegmentBase);

/// Files that were made and not yet taken.
#[derive(Default)]
pub(crate) struct NewSegments {
    files: RefCell<BTreeMap<Key, File>>,
}

impl NewSegments {
    /// The file of a segment, if it was made. It is the caller's from now on.
    pub(crate) fn take(&self, log: LogId, base: SegmentBase) -> Option<File> {
        self.files.borrow_mut().remove(&(log, base))
    }

    /// Takes the next logs, as many as need no more than [`FILES_MADE_MAX`] files, and makes these. Of a log that needs several
    /// only the first. Holds the store's maintenance turn, so that no folder of a deleted log comes back.
    pub(crate) async fn prepare(
        &self,
        inner: &StoreInner,
        logs: &mut impl Iterator<Item = Rc<LogCell>>,
        extent: Extent,
    ) -> Vec<Rc<LogCell>> {
        let (mut taken, mut keys, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let mut pace = Pace::every(LOGS_STEP);
        while files.len() < FILES_MADE_MAX {
            let Some(cell) = logs.next() else { break };
            if let Some((base, file)) = new_segment(inner, &cell, extent) {
                keys.push((cell.id, base));
                files.push(file);
            }
            taken.push(cell);
            pace.step().await;
        }
        if !files.is_empty() {
            self.make(inner, &keys, files).await;
        }
        taken
    }

    async fn make(&self, inner: &StoreInner, keys: &[Key], files: Vec<NewFile>) {
        let topics = inner.options.topics_dir();
        let made = match reactor::fs::make_files(files).await {
            Ok(made) => made,
            Err(error) => return tracing::debug!(%error, "files are made one by one"),
        };
        let made = made.into_iter().map(|made| made.map_err(StorageError::io("make a file in", &topics)));
        let made: Vec<_> = made.collect();
        // Descriptors are rare: none is held for later.
        if made.iter().any(|made| made.as_ref().is_err_and(StorageError::is_shortage)) {
            return;
        }
        let made = keys.iter().zip(made).filter_map(|(key, made)| Some((*key, made.ok()?)));
        let mut all = self.files.borrow_mut();
        let before = all.len();
        all.extend(made);
        let counter = &inner.counters.made_together;
        counter.set(counter.get() + (all.len() - before) as u64);
    }
}
