//! Group commit: everything the shard's logs stage goes into one sequence of commits, each one write and one sync.
//!
//! **Contract.** [`CommitLog::append`] copies the bytes into the commit being filled and fixes their place in the
//! order; it does not wait. [`CommitLog::durable`] waits until a commit *and all before it* are on disk. Commits are
//! started by one task: at once when none is in flight (at the end of the turn, so that all requests of the turn share
//! it), beside others only with [`COMMIT_EAGER_BYTES`](crate::limits::COMMIT_EAGER_BYTES) staged, up to [`COMMITS_IN_FLIGHT_MAX`](crate::limits::COMMITS_IN_FLIGHT_MAX). They may finish in any
//! order and are acknowledged in theirs. A buffer is frozen, header and checksums included, before it is written, and
//! readers get slices of the same memory.
//!
//! **Failure.** A write or sync that fails poisons the log, for good: nothing of the failed commit or behind it is
//! acknowledged, whoever waits gets the error at once, nothing is taken any more. A sync is never tried again.
//!
//! **On a crash** the commits up to the last acknowledged one are whole on disk; behind it anything may be missing
//! or torn. `format` has what recovery needs to tell one from the other.

mod admission;
mod body_crc;
mod committer;
pub(crate) mod format;
pub(crate) mod ring;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use reactor::sync::Notify;
use reactor::{BufferPool, Commit, Instant, PoolBuffer, SyncMethod};
use wire::kafka::record_batch::{set_base_offset, set_leader_epoch};

use crate::commit_rate::CommitRate;
use crate::error::StorageError;
use crate::limits::{
    BLOCK, COMMIT_BUFFER_BYTES, COMMIT_BUFFERS_AHEAD_BYTES, COMMIT_BUFFERS_READY, RING_RESERVE_ONE_IN, SECTOR,
};
use crate::log::Append;
use crate::log::core::{LogCell, Slot};
use crate::tail::{Edges, Place};
use crate::types::{Offset, Position};
use body_crc::BodyCrc;
use format::{ENTRY_BYTES, Entry, EntryKind, HEADER_BYTES};
use ring::{Ring, RingFile};

/// Place of an entry in the order of all: the commit's sequence, then the entry's number in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn {
    pub(crate) sequence: u64,
    pub(crate) entry: u32,
}

/// What a commit log begins with, from recovery.
pub(crate) struct Beginning {
    pub(crate) ring: Ring,
    pub(crate) ring_id: u128,
    pub(crate) incarnation: u64,
    /// The newest commit that is durable, and the CRC of its header.
    pub(crate) durable: u64,
    pub(crate) previous_crc: u32,
    /// The newest durable checkpoint.
    pub(crate) checkpoint: u64,
    /// Recovered commits that logs have slices of, oldest first.
    pub(crate) retained: Vec<Retained>,
    pub(crate) rate: CommitRate,
}

/// Bounds of a commit log.
#[derive(Clone, Copy)]
pub(crate) struct CommitLimits {
    /// Of the fully grown ring, and of its largest file.
    pub(crate) ring_bytes_max: u64,
    pub(crate) file_bytes_max: u64,
    pub(crate) dirty_bytes: u64,
    pub(crate) tail_bytes: u64,
    pub(crate) commit_bytes_max: usize,
    pub(crate) method: SyncMethod,
    pub(crate) fail_from: Option<u64>,
}

impl CommitLimits {
    /// Most bytes of an append in one commit.
    fn piece_bytes_max(&self) -> usize {
        self.commit_bytes_max - HEADER_BYTES - ENTRY_BYTES - (SECTOR - 1)
    }
}

/// Counters of a commit log since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitStats {
    /// Commits that became durable.
    pub commits: u64,
    /// Their bytes, padding included.
    pub bytes: u64,
    /// Commits by size: the n-th counts those of less than 2^n bytes that no lower one counts.
    pub bytes_log2: [u64; 24],
    /// Entries in them.
    pub entries: u64,
    /// Sum of the times from write to durable, in microseconds.
    pub latency_us_sum: u64,
    /// Commits by latency: the n-th counts those of less than 2^n microseconds that no lower one counts.
    pub latency_us_log2: [u64; 24],
}

/// One entry that a commit in the making or in flight holds.
struct Placed {
    cell: Rc<LogCell>,
    chunk: Option<PlacedChunk>,
    /// Offset and place up to which its log is flushed when the commit is durable.
    flushes: Option<(Offset, Place)>,
}

struct PlacedChunk {
    at: Place,
    range: Range<usize>,
    base_offset: Offset,
    next_offset: Offset,
    edges: Edges,
}

struct Sealed {
    sequence: u64,
    bytes: Bytes,
    placed: Vec<Placed>,
}

struct InFlight {
    sealed: Sealed,
    commit: Commit,
    started: Instant,
}

/// A durable commit whose buffer readers may still be served from.
pub(crate) struct Retained {
    pub(crate) sequence: u64,
    pub(crate) bytes: usize,
    pub(crate) cells: Vec<Rc<LogCell>>,
}

struct State {
    ring: Ring,
    /// Its length is 0 while no commit is being filled.
    buffer: PoolBuffer,
    body_crc: BodyCrc,
    placed: Vec<Placed>,
    sealed: VecDeque<Sealed>,
    in_flight: VecDeque<InFlight>,
    /// Sequence of the commit being filled.
    next: u64,
    durable: u64,
    previous_crc: u32,
    /// The newest sequence that a header on its way names as durable, and the newest commit with entries.
    named: u64,
    entered: u64,
    checkpoint: u64,
    waiters: VecDeque<(u64, Rc<Notify>)>,
    poisoned: Option<Arc<str>>,
    retained: VecDeque<Retained>,
    retained_bytes: usize,
    stats: CommitStats,
}

struct Inner {
    state: RefCell<State>,
    ring_id: u128,
    incarnation: u64,
    limits: CommitLimits,
    rate: CommitRate,
    pool: Rc<BufferPool>,
    /// Appended bytes that writeback has not handled.
    dirty: Cell<u64>,
    /// Appends are refused: the store is closing.
    refusing: Cell<bool>,
    stopped: Cell<bool>,
    /// Appends are refused: the disk is full.
    no_space: Cell<bool>,
    /// The ring cannot have another file now, for want of space.
    stuck: Cell<bool>,
    /// Free bytes of the ring that the append needs which was looked at last; 0 when it did not lack them.
    room_wanted: Cell<u64>,
    /// Tells the committing task that there is something to do.
    wake: Notify,
    /// Tells maintenance that the ring fills or memory is short.
    pressure: Rc<Notify>,
    /// Those who wait to be admitted, first come first served.
    queue: RefCell<VecDeque<Rc<Notify>>>,
    /// One of them was let in and stages in the same poll.
    granted: Cell<bool>,
}

/// The commit log of a shard. Cloning gives another handle of the same.
#[derive(Clone)]
pub(crate) struct CommitLog {
    inner: Rc<Inner>,
}

impl CommitLog {
    /// A commit log that goes on where recovery ended. Spawns its task.
    pub(crate) fn start(beginning: Beginning, limits: CommitLimits, pressure: Rc<Notify>) -> Self {
        let state = State {
            ring: beginning.ring,
            buffer: PoolBuffer::default(),
            body_crc: BodyCrc::new(),
            placed: Vec::new(),
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            next: beginning.durable + 1,
            durable: beginning.durable,
            previous_crc: beginning.previous_crc,
            named: 0,
            entered: beginning.durable,
            checkpoint: beginning.checkpoint,
            waiters: VecDeque::new(),
            poisoned: None,
            retained_bytes: beginning.retained.iter().map(|commit| commit.bytes).sum(),
            retained: beginning.retained.into(),
            stats: CommitStats::default(),
        };
        let inner = Rc::new(Inner {
            state: RefCell::new(state),
            ring_id: beginning.ring_id,
            incarnation: beginning.incarnation,
            limits,
            rate: beginning.rate,
            pool: BufferPool::new(
                COMMIT_BUFFER_BYTES,
                limits.tail_bytes + limits.dirty_bytes + COMMIT_BUFFERS_AHEAD_BYTES,
                COMMIT_BUFFERS_READY,
            ),
            dirty: Cell::new(0),
            refusing: Cell::new(false),
            stopped: Cell::new(false),
            no_space: Cell::new(false),
            stuck: Cell::new(false),
            room_wanted: Cell::new(0),
            wake: Notify::new(),
            pressure,
            queue: RefCell::default(),
            granted: Cell::new(false),
        });
        reactor::spawn(reactor::Priority::Latency, "commit-log", committer::run(Rc::clone(&inner))).detach();
        Self { inner }
    }

    /// Stages a batch at its slot; returns the sequence of the commit with which it is durable.
    pub(crate) fn append(&self, cell: &Rc<LogCell>, slot: &Slot, append: &Append<'_>) -> u64 {
        let inner = &self.inner;
        let Append { bytes: batch, header, epoch } = *append;
        let mut state = inner.state.borrow_mut();
        let room = inner.limits.piece_bytes_max();
        let mut sequence = 0;
        let mut at = 0;
        while at < batch.len() {
            let length = (batch.len() - at).min(room);
            let entry = Entry {
                kind: EntryKind::Append,
                log: cell.id,
                segment: slot.at.segment,
                position: Position(slot.at.position + at as u64),
                offset: slot.base_offset,
                total: batch.len() as u32,
                fragment_at: at as u32,
                epoch,
                length: length as u32,
            };
            let range = inner.put(&mut state, &entry, &batch[at..at + length]);
            if at == 0 {
                // The first piece is never smaller than the header: a cut append begins in an empty commit.
                let copy = &mut state.buffer[range.clone()];
                set_base_offset(copy, slot.base_offset.0);
                set_leader_epoch(copy, epoch.0);
            }
            let end = Place { segment: slot.at.segment, position: entry.position.0 + length as u64 };
            let edges = match (at == 0, entry.completes()) {
                (true, true) => Edges::Whole,
                (true, false) => Edges::First,
                (false, false) => Edges::Middle,
                (false, true) => Edges::Last,
            };
            if edges == Edges::Whole {
                let State { buffer, body_crc, .. } = &mut *state;
                body_crc.take_batch(buffer, range.clone(), header);
            }
            let chunk = PlacedChunk {
                at: Place { segment: slot.at.segment, position: entry.position.0 },
                range,
                base_offset: slot.base_offset,
                next_offset: slot.next_offset,
                edges,
            };
            let flushes = entry.completes().then_some((slot.next_offset, end));
            state.placed.push(Placed { cell: Rc::clone(cell), chunk: Some(chunk), flushes });
            sequence = state.next;
            at += length;
        }
        drop(state);
        inner.dirty.set(inner.dirty.get() + batch.len() as u64);
        inner.wake.notify_one();
        sequence
    }

    /// Stages an entry that is not an append, beyond admission; returns its sequence.
    pub(crate) fn note(&self, cell: &Rc<LogCell>, entry: &Entry, payload: &[u8]) -> u64 {
        assert!(payload.len() < BLOCK as usize && entry.kind != EntryKind::Append);
        let mut state = self.inner.state.borrow_mut();
        self.inner.put(&mut state, entry, payload);
        state.placed.push(Placed { cell: Rc::clone(cell), chunk: None, flushes: None });
        let sequence = state.next;
        drop(state);
        self.inner.wake.notify_one();
        sequence
    }

    /// Stages a commit without entries when the newest one with entries is durable and no header says so: from then
    /// on its loss is known for damage and never taken for the torn end of the log.
    pub(crate) fn mark_durable(&self) {
        let mut state = self.inner.state.borrow_mut();
        let idle = state.buffer.is_empty() && state.sealed.is_empty() && state.in_flight.is_empty();
        let unnamed = state.named < state.entered && state.entered <= state.durable;
        let room = state.ring.free() > state.ring.total() / RING_RESERVE_ONE_IN;
        if idle && unnamed && room && state.poisoned.is_none() {
            self.inner.seal(&mut state);
            drop(state);
            self.inner.wake.notify_one();
        }
    }

    /// Waits until the commit of this sequence and all before it are on disk.
    pub(crate) async fn durable(&self, sequence: u64) -> Result<(), StorageError> {
        let notify = {
            let mut state = self.inner.state.borrow_mut();
            if state.durable >= sequence {
                return Ok(());
            }
            if let Some(cause) = &state.poisoned {
                return Err(StorageError::Poisoned(Arc::clone(cause)));
            }
            assert!(sequence <= state.next);
            state.waiter(sequence)
        };
        notify.notified().await;
        let state = self.inner.state.borrow();
        match &state.poisoned {
            _ if state.durable >= sequence => Ok(()),
            Some(cause) => Err(StorageError::Poisoned(Arc::clone(cause))),
            None => Err(StorageError::Gone),
        }
    }

    /// The place that the next entry will have: everything staged so far is before it.
    pub(crate) fn lsn(&self) -> Lsn {
        let state = self.inner.state.borrow();
        Lsn { sequence: state.next, entry: state.placed.len() as u32 }
    }

    /// The newest sequence that has an entry; 0 when nothing was ever staged.
    pub(crate) fn staged(&self) -> u64 {
        let state = self.inner.state.borrow();
        if state.placed.is_empty() { state.next - 1 } else { state.next }
    }

    /// A checkpoint is durable that needs no commit up to `sequence`.
    pub(crate) fn reclaim(&self, checkpoint: u64, sequence: u64) {
        let mut state = self.inner.state.borrow_mut();
        assert!(state.checkpoint < checkpoint && sequence <= state.durable);
        state.checkpoint = checkpoint;
        state.ring.reclaim(sequence);
        drop(state);
        self.inner.wake.notify_one();
        self.inner.admit_next();
    }

    /// A planted bug: the ring's files are used again before the checkpoint is durable.
    pub(crate) fn reclaim_early(&self, sequence: u64) {
        self.inner.state.borrow_mut().ring.reclaim(sequence);
        self.inner.wake.notify_one();
        self.inner.admit_next();
    }

    /// Another file for the ring.
    pub(crate) fn grow(&self, file: RingFile) {
        self.inner.state.borrow_mut().ring.add(file);
        self.inner.wake.notify_one();
        self.inner.admit_next();
    }

    /// Calls `f` with the ring.
    pub(crate) fn with_ring<T>(&self, f: impl FnOnce(&Ring) -> T) -> T {
        f(&self.inner.state.borrow().ring)
    }

    /// The newest durable sequence.
    pub(crate) fn durable_sequence(&self) -> u64 {
        self.inner.state.borrow().durable
    }

    /// Why the log takes nothing any more.
    pub(crate) fn poisoned(&self) -> Option<Arc<str>> {
        self.inner.state.borrow().poisoned.clone()
    }

    pub(crate) fn stats(&self) -> CommitStats {
        self.inner.state.borrow().stats
    }

    /// Bytes of commit buffers kept for readers.
    pub(crate) fn retained_bytes(&self) -> usize {
        self.inner.state.borrow().retained_bytes
    }

    /// Whether appends are refused for want of space; those who wait to be admitted learn it at once.
    pub(crate) fn set_no_space(&self, on: bool) {
        self.inner.no_space.set(on);
        self.inner.admit_next();
    }

    /// Whether the ring can have no other file for want of space: appends that need one are refused.
    pub(crate) fn set_stuck(&self, on: bool) {
        self.inner.stuck.set(on);
        self.inner.admit_next();
    }

    /// See [`set_stuck`](Self::set_stuck).
    pub(crate) fn is_stuck(&self) -> bool {
        self.inner.stuck.get()
    }

    /// Takes nothing until a restart; whoever waits gets the error.
    pub(crate) fn poison(&self, cause: &str) {
        self.inner.poison(cause);
    }

    /// Takes no appends any more.
    pub(crate) fn refuse(&self) {
        self.inner.refusing.set(true);
        self.inner.admit_next();
    }

    /// Takes no appends any more; the task ends when what is staged is durable.
    pub(crate) fn stop(&self) {
        self.refuse();
        self.inner.stopped.set(true);
        self.inner.wake.notify_one();
    }
}

impl State {
    /// What those wait on who wait for `sequence`.
    fn waiter(&mut self, sequence: u64) -> Rc<Notify> {
        let index = self.waiters.partition_point(|(waited, _)| *waited < sequence);
        if self.waiters.get(index).is_none_or(|(waited, _)| *waited != sequence) {
            self.waiters.insert(index, (sequence, Rc::new(Notify::new())));
        }
        Rc::clone(&self.waiters[index].1)
    }
}
