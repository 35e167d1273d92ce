//! Descriptors and indexes of segments that somebody reads, the most recently used ones.
//!
//! Readers use the page cache, so these descriptors are separate from those of writeback. A segment that is unlinked
//! stays readable for who got its file before. The indexes of a finished segment are read from their files once and
//! kept within a budget; if they are missing or damaged, they are made again from the segment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use reactor::{File, OpenOptions};

use crate::error::StorageError;
use crate::index_file;
use crate::limits::{CHECKED_RANGES_MAX, COLD_INDEX_BYTES_MAX, COLD_SEGMENTS_MAX};
use crate::log::Log;
use crate::offset_index::{IndexBounds, IndexedBatch, OffsetIndex};
use crate::segment_reader::SegmentReader;
use crate::time_index::TimeIndex;
use crate::types::{LogId, Offset, Position, SegmentBase, Timestamp};

type Key = (LogId, SegmentBase);

/// Both indexes of a finished segment.
pub(crate) struct ColdIndexes {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
}

/// How a segment's file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Through the page cache, sent by the kernel, which reads ahead.
    Send,
    /// Through the page cache, a header here and there: the kernel would read megabytes ahead for it, and commits wait
    /// behind them.
    Walk,
    /// Past the page cache.
    Direct,
}

#[derive(Default)]
struct Entry {
    /// By [`Way`].
    files: [Option<File>; 3],
    indexes: Option<Rc<ColdIndexes>>,
    /// The indexes were made from the batches in this life.
    rebuilt: bool,
    /// Bytes of whole batches that were found undamaged, ascending and apart.
    checked: Vec<(u64, u64)>,
    used: u64,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    index_bytes: usize,
    clock: u64,
}

/// See the module.
pub(crate) struct ColdSegments {
    state: RefCell<State>,
}

/// Path of one of a segment's files: `log`, `index`, `timeindex`.
pub(crate) fn segment_path(dir: &Path, base: SegmentBase, extension: &str) -> PathBuf {
    dir.join(format!("{}.{extension}", base.file_stem()))
}

impl ColdSegments {
    pub(crate) fn new() -> Self {
        Self { state: RefCell::default() }
    }

    /// The file of a segment, opened in one of the ways.
    pub(crate) async fn file(&self, log: &Log, base: SegmentBase, way: Way) -> Result<File, StorageError> {
        let key = (log.cell.id, base);
        let opened = self.state.borrow_mut().touch(key).and_then(|entry| entry.files[way as usize].clone());
        if let Some(file) = opened {
            return Ok(file);
        }
        let path = segment_path(&log.store.log_dir(key.0, &log.name()), base, "log");
        let options = OpenOptions::new().read(true).direct(way == Way::Direct);
        let file = File::open(&path, &options).await.map_err(StorageError::io("open", &path))?;
        if way == Way::Walk {
            file.no_read_ahead();
        }
        self.state.borrow_mut().entry(key).files[way as usize] = Some(file.clone());
        Ok(file)
    }

    /// The indexes of a finished segment.
    pub(crate) async fn indexes(
        &self,
        log: &Log,
        base: SegmentBase,
    ) -> Result<Rc<ColdIndexes>, StorageError> {
        let key = (log.cell.id, base);
        if let Some(indexes) = self.state.borrow_mut().touch(key).and_then(|entry| entry.indexes.clone()) {
            return Ok(indexes);
        }
        let (bytes, next_offset) = {
            let core = log.cell.core.borrow();
            let segment = core.segment(base).ok_or(StorageError::Gone)?;
            (segment.bytes, segment.next_offset)
        };
        let bounds =
            IndexBounds { segment_bytes: bytes, offset_span: next_offset.since(base.offset()).unwrap_or(0) };
        let dir = log.store.log_dir(key.0, &log.name());
        match index_file::read(&dir, base, bounds).await {
            Some(indexes) => Ok(self.keep_indexes(key, indexes)),
            None => self.rebuild(log, base).await,
        }
    }

    /// Makes the indexes of a finished segment again from its batches, because something about them or the segment is
    /// wrong; says whether that was new in this life. If it fails the segment is damaged.
    pub(crate) async fn repair(&self, log: &Log, base: SegmentBase) -> Result<bool, StorageError> {
        if self.state.borrow_mut().entry((log.cell.id, base)).rebuilt {
            return Ok(false);
        }
        self.rebuild(log, base).await.map(|_| true)
    }

    async fn rebuild(&self, log: &Log, base: SegmentBase) -> Result<Rc<ColdIndexes>, StorageError> {
        let key = (log.cell.id, base);
        self.state.borrow_mut().entry(key).rebuilt = true;
        let bytes = log.cell.core.borrow().segment(base).ok_or(StorageError::Gone)?.bytes;
        let indexes = make_indexes(log, base, bytes).await?;
        let dir = log.store.log_dir(key.0, &log.name());
        let written = index_file::write(&dir, base, &indexes.offsets, &indexes.times).await;
        let written = written.map_or_else(|error| error.to_string(), |()| "written".to_owned());
        let path = segment_path(&dir, base, "index");
        tracing::warn!(
            file = %path.display(),
            written,
            "indexes were missing or damaged and are made again from the segment"
        );
        Ok(self.keep_indexes(key, indexes))
    }

    fn keep_indexes(&self, key: Key, indexes: ColdIndexes) -> Rc<ColdIndexes> {
        let indexes = Rc::new(indexes);
        let mut state = self.state.borrow_mut();
        state.index_bytes += indexes.heap_bytes();
        let entry = state.entry(key);
        let replaced = entry.indexes.replace(Rc::clone(&indexes));
        state.index_bytes -= replaced.map_or(0, |replaced| replaced.heap_bytes());
        state.evict_indexes(key);
        indexes
    }

    /// Up to where the bytes from `position` on were found undamaged.
    pub(crate) fn checked_from(&self, log: LogId, base: SegmentBase, position: u64) -> Option<u64> {
        let state = self.state.borrow();
        let checked = &state.entries.get(&(log, base))?.checked;
        let after = checked.partition_point(|(from, _)| *from <= position);
        let (_, to) = checked[..after].last()?;
        (*to > position).then_some(*to)
    }

    /// Notes that whole batches were found undamaged.
    pub(crate) fn note_checked(&self, log: LogId, base: SegmentBase, from: u64, to: u64) {
        note(&mut self.state.borrow_mut().entry((log, base)).checked, from, to);
    }

    /// A segment's file is going to be unlinked, or its content replaced.
    pub(crate) fn forget(&self, log: LogId, base: SegmentBase) {
        self.state.borrow_mut().remove((log, base));
    }

    /// A log is gone.
    pub(crate) fn forget_log(&self, log: LogId) {
        let mut state = self.state.borrow_mut();
        let keys: Vec<Key> = state.entries.keys().filter(|key| key.0 == log).copied().collect();
        for key in keys {
            state.remove(key);
        }
    }
}

impl ColdIndexes {
    fn heap_bytes(&self) -> usize {
        self.offsets.heap_bytes() + self.times.heap_bytes()
    }
}

impl State {
    fn touch(&mut self, key: Key) -> Option<&mut Entry> {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.entries.get_mut(&key)?;
        entry.used = clock;
        Some(entry)
    }

    fn entry(&mut self, key: Key) -> &mut Entry {
        self.clock += 1;
        if self.entries.len() >= COLD_SEGMENTS_MAX && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.remove(oldest);
            }
        }
        let used = self.clock;
        self.entries.entry(key).or_insert(Entry { used, ..Entry::default() })
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.index_bytes -= entry.indexes.map_or(0, |indexes| indexes.heap_bytes());
        }
    }

    fn evict_indexes(&mut self, newest: Key) {
        while self.index_bytes > COLD_INDEX_BYTES_MAX {
            let with_indexes =
                self.entries.iter_mut().filter(|(key, entry)| **key != newest && entry.indexes.is_some());
            let Some((_, oldest)) = with_indexes.min_by_key(|(_, entry)| entry.used) else { return };
            let gone = oldest.indexes.take();
            self.index_bytes -= gone.map_or(0, |indexes| indexes.heap_bytes());
        }
    }
}

/// The indexes of a segment from its batches.
async fn make_indexes(log: &Log, base: SegmentBase, bytes: u64) -> Result<ColdIndexes, StorageError> {
    let interval = log.config().index_interval_bytes;
    let mut reader = SegmentReader::new(log, base, bytes);
    let (mut offsets, mut times) = (OffsetIndex::new(), TimeIndex::new());
    let (mut position, mut expected) = (0, base.0);
    while position < bytes {
        let header = reader.following(position, Some(expected)).await?;
        expected = header.next_offset();
        let last = Offset(header.last_offset());
        if let Some(batch) = IndexedBatch::new(base, last, Position(position), header.size as u32) {
            times.observe(Timestamp(header.max_timestamp), batch.last_relative_offset);
            if offsets.append(batch, interval) {
                times.append();
            }
        }
        position += header.size as u64;
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    times.append();
    Ok(ColdIndexes { offsets, times })
}

/// Adds a range to ascending ranges that lie apart. There are few, for readers read on; the shortest is forgotten when
/// there are many.
fn note(ranges: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    let first = ranges.partition_point(|(_, end)| *end < from);
    let after = ranges.partition_point(|(begin, _)| *begin <= to);
    let joined = ranges[first..after]
        .iter()
        .fold((from, to), |joined, range| (joined.0.min(range.0), joined.1.max(range.1)));
    ranges.splice(first..after, [joined]);
    if ranges.len() > CHECKED_RANGES_MAX {
        let shortest = ranges.iter().enumerate().min_by_key(|(_, (from, to))| to - from);
        if let Some((index, _)) = shortest {
            ranges.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = Vec::new();
        for (from, to) in [(10, 20), (40, 50), (20, 30), (60, 70), (25, 45)] {
            note(&mut ranges, from, to);
        }
        assert_eq!(ranges, [(10, 50), (60, 70)]);
        note(&mut ranges, 0, 100);
        assert_eq!(ranges, [(0, 100)]);
    }

    #[test]
    fn there_are_never_many_ranges() {
        let mut ranges = Vec::new();
        for number in 0..1000 {
            note(&mut ranges, number * 10, number * 10 + 1 + number % 7);
        }
        assert_eq!(ranges.len(), CHECKED_RANGES_MAX);
    }
}
