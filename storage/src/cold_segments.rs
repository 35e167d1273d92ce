//! Descriptors and indexes of segments that somebody reads, the most recently used ones.
//!
//! Readers use the page cache, so these descriptors are separate from those of writeback. A segment that is unlinked
//! stays readable for who got its file before. The indexes of a finished segment are read from their files once and
//! kept within a budget; if they are missing or damaged, they are made again from the segment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::BytesMut;
use reactor::{File, OpenOptions};

use crate::error::StorageError;
use crate::limits::{COLD_INDEX_BYTES_MAX, COLD_SEGMENTS_MAX};
use crate::log::Log;
use crate::offset_index::{self, IndexBounds, IndexedBatch, OffsetIndex};
use crate::segment_reader::SegmentReader;
use crate::time_index::{self, TimeIndex};
use crate::types::{LogId, Offset, Position, SegmentBase, Timestamp};

type Key = (LogId, SegmentBase);

/// Both indexes of a finished segment.
pub(crate) struct ColdIndexes {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
}

struct Entry {
    file: Option<File>,
    indexes: Option<Rc<ColdIndexes>>,
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

    /// The buffered file of a segment.
    pub(crate) async fn file(&self, log: &Log, base: SegmentBase) -> Result<File, StorageError> {
        let key = (log.cell.id, base);
        if let Some(file) = self.state.borrow_mut().touch(key).and_then(|entry| entry.file.clone()) {
            return Ok(file);
        }
        let path = segment_path(&log.store.log_dir(key.0, &log.name()), base, "log");
        let options = OpenOptions::new().read(true);
        let file = File::open(&path, &options).await.map_err(StorageError::io("open", &path))?;
        self.state.borrow_mut().entry(key).file = Some(file.clone());
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
        let indexes = match load(&dir, base, bounds).await {
            Some(indexes) => indexes,
            None => rebuild(log, base, bytes).await?,
        };
        let indexes = Rc::new(indexes);
        let mut state = self.state.borrow_mut();
        state.index_bytes += indexes.heap_bytes();
        let entry = state.entry(key);
        let replaced = entry.indexes.replace(Rc::clone(&indexes));
        state.index_bytes -= replaced.map_or(0, |replaced| replaced.heap_bytes());
        state.evict_indexes(key);
        Ok(indexes)
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
        self.entries.entry(key).or_insert(Entry { file: None, indexes: None, used })
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

/// The indexes from their files; `None` when they are missing or not of this segment.
async fn load(dir: &Path, base: SegmentBase, bounds: IndexBounds) -> Option<ColdIndexes> {
    let entries_max = bounds.segment_bytes as usize / wire::kafka::record_batch::HEADER_LEN + 1;
    let offsets =
        read_all(&segment_path(dir, base, "index"), entries_max * offset_index::ENTRY_BYTES).await?;
    let times =
        read_all(&segment_path(dir, base, "timeindex"), entries_max * time_index::ENTRY_BYTES).await?;
    let offsets = OffsetIndex::decode(&offsets, bounds).ok()?;
    let times = TimeIndex::decode(&times, bounds.offset_span).ok()?;
    Some(ColdIndexes { offsets, times })
}

/// A small file's content; `None` when it is missing or longer than `length_max`.
async fn read_all(path: &Path, length_max: usize) -> Option<BytesMut> {
    let file = File::open(path, &OpenOptions::new().read(true)).await.ok()?;
    let length = usize::try_from(file.size().await.ok()?).ok().filter(|length| *length <= length_max)?;
    let (read, bytes) = file.read_at(BytesMut::with_capacity(length), length, 0).await;
    (read.ok()? == length).then_some(bytes)
}

/// The indexes of a segment from its batches.
pub(crate) async fn rebuild(log: &Log, base: SegmentBase, bytes: u64) -> Result<ColdIndexes, StorageError> {
    let interval = log.config().index_interval_bytes;
    let mut reader = SegmentReader::new(log, base, bytes);
    let (mut offsets, mut times) = (OffsetIndex::new(), TimeIndex::new());
    let mut position = 0;
    while position < bytes {
        let header = reader.header(position).await?;
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
    tracing::warn!(log = &*log.name(), segment = base.0, "indexes were missing or damaged and made again");
    Ok(ColdIndexes { offsets, times })
}
