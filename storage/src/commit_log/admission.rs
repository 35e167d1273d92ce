//! Who may stage now: room in the ring, and bytes that writeback has not handled within their budget.
//!
//! First come, first served: a large append that waits is not overtaken by small ones behind it. A part of the ring is
//! kept back for carried blocks, because without them nothing would ever be freed.

use std::rc::Rc;

use reactor::sync::Notify;

use super::format::{ENTRY_BYTES, HEADER_BYTES};
use super::{CommitLog, Inner};
use crate::error::StageError;
use crate::limits::{BLOCK, RING_RESERVE_ONE_IN, SECTOR};

/// Bytes that a piece of an append takes in a commit of its own, beside its own and the last block's.
const AROUND_PIECE: usize = HEADER_BYTES + ENTRY_BYTES + SECTOR;

impl CommitLog {
    /// Whether an append of `bytes` may be staged now: there is room, and nobody waits for it who came earlier.
    pub(crate) fn enter(&self, bytes: usize) -> Result<(), StageError> {
        let granted = self.inner.granted.replace(false);
        if !granted && self.has_queue() {
            return Err(StageError::Full);
        }
        self.check(bytes)
    }

    /// Whether an append of `bytes` can be staged now; why not, if not.
    fn check(&self, bytes: usize) -> Result<(), StageError> {
        let inner = &self.inner;
        let max = self.append_max();
        if bytes > max {
            return Err(StageError::TooLarge { max });
        }
        let state = inner.state.borrow();
        inner.room_wanted.set(0);
        if state.poisoned.is_some() {
            return Err(StageError::Poisoned);
        }
        if inner.refusing.get() {
            return Err(StageError::Gone);
        }
        if inner.no_space.get() {
            return Err(StageError::NoSpace);
        }
        let waiting: usize = state.sealed.iter().map(|sealed| sealed.bytes.len()).sum();
        let pieces = 1 + bytes.div_ceil(inner.limits.piece_bytes_max());
        let needed = bytes + pieces * (BLOCK as usize + AROUND_PIECE);
        let needed = needed + waiting + state.buffer.len() + inner.limits.commit_bytes_max;
        let reserve = state.ring.total() / RING_RESERVE_ONE_IN;
        let dirty = inner.dirty.get();
        let budget = inner.limits.dirty_bytes;
        // A batch near the budget or above it gets in when not much else is there.
        let too_dirty = dirty + bytes as u64 > budget && dirty > budget / 4;
        if state.ring.free() < reserve + needed as u64 {
            inner.room_wanted.set(reserve + needed as u64);
            // Files are freed but never the one being filled: waiting may be in vain.
            let in_vain = state.ring.closed().is_empty() || reserve + needed as u64 > state.ring.total();
            let refused = inner.stuck.get() && in_vain;
            return Err(if refused { StageError::NoSpace } else { StageError::Full });
        }
        if too_dirty {
            return Err(StageError::Full);
        }
        Ok(())
    }

    /// Largest append that the fully grown ring takes.
    pub(crate) fn append_max(&self) -> usize {
        let limits = &self.inner.limits;
        let (total, commit) = (limits.ring_bytes_max, limits.commit_bytes_max as u64);
        let around = BLOCK + AROUND_PIECE as u64;
        // Beside it there are the reserve, the file being filled, which is not freed before it is full, and an open commit.
        let room = total - total / RING_RESERVE_ONE_IN;
        let room = room.saturating_sub(limits.file_bytes_max + commit + 2 * around);
        let whole = room / (commit + around) * limits.piece_bytes_max() as u64;
        whole.min(total / 5 * 2).min(i32::MAX as u64) as usize
    }

    /// Waits until an append of `bytes` can be staged, behind those who asked earlier. Stage in the same poll.
    pub(crate) async fn admit(&self, bytes: usize) -> Result<(), StageError> {
        if self.inner.queue.borrow().is_empty() {
            match self.check(bytes) {
                Err(StageError::Full) => {}
                decided => {
                    self.inner.granted.set(decided.is_ok());
                    return decided;
                }
            }
        }
        let place = Queued { inner: &self.inner, notify: Rc::new(Notify::new()) };
        self.inner.queue.borrow_mut().push_back(Rc::clone(&place.notify));
        let mut told = false;
        loop {
            let first =
                self.inner.queue.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &place.notify));
            if first {
                match self.check(bytes) {
                    // Maintenance hears once of each that it makes room for.
                    Err(StageError::Full) if !std::mem::replace(&mut told, true) => {
                        self.inner.pressure.notify_one();
                    }
                    Err(StageError::Full) => {}
                    decided => {
                        self.inner.granted.set(decided.is_ok());
                        return decided;
                    }
                }
            }
            place.notify.notified().await;
        }
    }

    /// Appends wait to be admitted.
    pub(crate) fn has_queue(&self) -> bool {
        !self.inner.queue.borrow().is_empty()
    }

    /// An append waits for room in the ring, which only a checkpoint makes.
    pub(crate) fn wants_room(&self) -> bool {
        self.has_queue() && self.inner.state.borrow().ring.free() < self.inner.room_wanted.get()
    }

    /// Appends that wait to be admitted.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.queue.borrow().len()
    }

    /// Writeback has gone through this many bytes.
    pub(crate) fn handled(&self, bytes: u64) {
        assert!(bytes <= self.inner.dirty.get());
        self.inner.dirty.set(self.inner.dirty.get() - bytes);
        self.inner.admit_next();
    }

    /// Bytes that were recovered and are to be handled.
    pub(crate) fn recovered_dirty(&self, bytes: u64) {
        self.inner.dirty.set(self.inner.dirty.get() + bytes);
    }

    /// Appended bytes that writeback has not gone through.
    pub(crate) fn dirty(&self) -> u64 {
        self.inner.dirty.get()
    }
}

/// A place in the queue for admission, left when dropped.
struct Queued<'a> {
    inner: &'a Inner,
    notify: Rc<Notify>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.inner.queue.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.notify));
        self.inner.admit_next();
    }
}

impl Inner {
    /// Lets the first in the queue look again.
    pub(super) fn admit_next(&self) {
        let first = self.queue.borrow().front().cloned();
        if let Some(first) = first {
            first.notify_one();
        }
    }
}
