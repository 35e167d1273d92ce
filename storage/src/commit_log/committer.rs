//! The committing task: fills commits, starts them by the rules of group commit, acknowledges them in order.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use reactor::PoolBuffer;

use super::body_crc::BodyCrc;
use super::format::{CommitHeader, ENTRY_BYTES, Entry, HEADER_BYTES};
use super::{InFlight, Inner, Retained, Sealed, State};
use crate::limits::{
    BLOCK, BODY_LOOKED_AT_ONE_IN, CHECKPOINT_AT_ONE_IN, COMMIT_BUFFER_BYTES, COMMIT_BYTES_MAX,
    COMMIT_EAGER_BYTES, COMMITS_IN_FLIGHT_MAX, EVICTED_A_TURN,
};
use crate::tail::Chunk;

impl Inner {
    /// Writes an entry into the commit being filled, after sealing it if there is no room; returns where its payload
    /// lies in the buffer.
    pub(super) fn put(&self, state: &mut State, entry: &Entry, payload: &[u8]) -> Range<usize> {
        let length = |at: usize| ENTRY_BYTES + entry.padding(at) + payload.len();
        let padded = |bytes: usize| bytes.next_multiple_of(BLOCK as usize);
        let open = state.buffer.len();
        if open > 0 {
            let end = open + length(open);
            if end > self.limits.commit_bytes_max || padded(end) > state.buffer.capacity() {
                self.seal(state);
            }
        }
        if state.buffer.is_empty() {
            if padded(HEADER_BYTES + length(HEADER_BYTES)) > state.buffer.capacity() {
                let pooled = self.pool.take(COMMIT_BUFFER_BYTES);
                state.buffer = pooled.unwrap_or_else(|| PoolBuffer::plain(COMMIT_BYTES_MAX));
            }
            state.buffer.extend_to(HEADER_BYTES);
        }
        let padding = entry.padding(state.buffer.len());
        state.buffer.extend_from_slice(&entry.encode(padding));
        let start = state.buffer.len() + padding;
        state.buffer.extend_to(start);
        state.buffer.extend_from_slice(payload);
        start..state.buffer.len()
    }

    /// Ends the commit being filled, which may be without entries: header, checksums and padding; gives the logs their slices of it.
    pub(super) fn seal(&self, state: &mut State) {
        if state.buffer.is_empty() {
            state.buffer = PoolBuffer::plain(BLOCK as usize);
            state.buffer.extend_to(HEADER_BYTES);
        }
        let length = state.buffer.len();
        assert!(state.placed.is_empty() == (length == HEADER_BYTES));
        let body_crc = std::mem::replace(&mut state.body_crc, BodyCrc::new()).finish(&state.buffer);
        let looks = cfg!(debug_assertions) || state.next.is_multiple_of(BODY_LOOKED_AT_ONE_IN);
        assert!(!looks || body_crc == crc32c::crc32c(&state.buffer[HEADER_BYTES..]), "an unchecked batch?");
        let header = CommitHeader {
            ring_id: self.ring_id,
            incarnation: self.incarnation,
            sequence: state.next,
            length: length as u32,
            entries: state.placed.len() as u32,
            previous_crc: state.previous_crc,
            body_crc,
            durable: state.durable,
            checkpoint: state.checkpoint,
        };
        let (bytes, crc) = header.encode();
        state.buffer[..HEADER_BYTES].copy_from_slice(&bytes);
        let padded = length.next_multiple_of(BLOCK as usize);
        state.buffer.extend_to(padded);
        let bytes = state.buffer.give(padded);
        assert!(reactor::is_aligned(&bytes));
        let mut placed = std::mem::take(&mut state.placed);
        for entry in &mut placed {
            let Some(chunk) = entry.chunk.take() else { continue };
            entry.cell.push_chunk(Chunk {
                at: chunk.at,
                bytes: bytes.slice(chunk.range),
                sequence: state.next,
                base_offset: chunk.base_offset,
                next_offset: chunk.next_offset,
                edges: chunk.edges,
            });
        }
        state.sealed.push_back(Sealed { sequence: state.next, bytes, placed });
        state.previous_crc = crc;
        state.named = state.durable;
        if length > HEADER_BYTES {
            state.entered = state.next;
        }
        state.next += 1;
    }

    /// Starts what the rules of group commit allow now.
    pub(super) fn submit_ready(&self) {
        let state = &mut *self.state.borrow_mut();
        while state.poisoned.is_none() && state.in_flight.len() < COMMITS_IN_FLIGHT_MAX {
            if state.sealed.is_empty() {
                let staged = state.buffer.len();
                if staged == 0 || (!state.in_flight.is_empty() && staged < COMMIT_EAGER_BYTES) {
                    return;
                }
                self.seal(state);
            }
            let Some(sealed) = state.sealed.front() else { return };
            let Some((file, at)) = state.ring.place(sealed.bytes.len() as u64, sealed.sequence) else {
                self.pressure.notify_one();
                return;
            };
            let Some(sealed) = state.sealed.pop_front() else { return };
            // A test's failing disk: the write goes where no file can be that long.
            let failing = self.limits.fail_from.is_some_and(|from| sealed.sequence >= from);
            let at = if failing { i64::MAX as u64 / BLOCK * BLOCK } else { at };
            let commit = file.write_and_sync(sealed.bytes.clone(), at, self.limits.method);
            if let Some(before) = state.in_flight.back() {
                reactor::planted::scribble(&before.sealed.bytes);
            }
            state.in_flight.push_back(InFlight { sealed, commit, started: reactor::now() });
        }
    }

    /// The oldest commit in flight is durable.
    pub(super) fn acknowledge(&self) {
        let mut state = self.state.borrow_mut();
        let Some(InFlight { sealed, started, .. }) = state.in_flight.pop_front() else { return };
        assert!(sealed.sequence == state.durable + 1);
        state.durable = sealed.sequence;
        let now = reactor::now();
        self.rate.count(now);
        let us = now.since(started).as_micros() as u64;
        let stats = &mut state.stats;
        stats.commits += 1;
        let bytes = sealed.bytes.len() as u64;
        stats.bytes += bytes;
        stats.bytes_log2[(64 - bytes.leading_zeros() as usize).min(23)] += 1;
        stats.entries += sealed.placed.len() as u64;
        stats.latency_us_sum += us;
        stats.latency_us_log2[(64 - us.leading_zeros() as usize).min(23)] += 1;
        let mut cells = Vec::with_capacity(sealed.placed.len());
        for placed in sealed.placed {
            if let Some((offset, at)) = placed.flushes {
                placed.cell.flush_to(offset, at);
            }
            cells.push(placed.cell);
        }
        let bytes = sealed.bytes.len();
        state.retained_bytes += bytes;
        state.retained.push_back(Retained { sequence: sealed.sequence, bytes, cells });
        while state.waiters.front().is_some_and(|(sequence, _)| *sequence <= sealed.sequence) {
            if let Some((_, notify)) = state.waiters.pop_front() {
                notify.notify_all();
            }
        }
        let total = state.ring.total();
        let crowded = state.ring.free() < total - total / CHECKPOINT_AT_ONE_IN;
        drop(state);
        if crowded || self.dirty.get() > self.limits.dirty_bytes / 2 {
            self.pressure.notify_one();
        }
    }

    /// Gives up the oldest commit buffers until the tail is within its budget, some logs of them at a time; says whether
    /// there is more to give up.
    pub(super) fn evict(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        let mut left = EVICTED_A_TURN;
        while state.retained_bytes as u64 > self.limits.tail_bytes {
            let Some(oldest) = state.retained.front_mut() else { return false };
            let count = left.min(oldest.cells.len());
            for cell in oldest.cells.drain(oldest.cells.len() - count..) {
                cell.release(oldest.sequence);
            }
            left -= count;
            if !oldest.cells.is_empty() {
                return true;
            }
            state.retained_bytes -= oldest.bytes;
            state.retained.pop_front();
        }
        false
    }

    pub(super) fn poison(&self, cause: &str) {
        let waiters = {
            let mut state = self.state.borrow_mut();
            if state.poisoned.is_none() {
                tracing::error!(cause, "commit log poisoned: nothing is accepted until a restart");
                state.poisoned = Some(cause.into());
            }
            std::mem::take(&mut state.waiters)
        };
        for (_, notify) in waiters {
            notify.notify_all();
        }
        self.admit_next();
    }
}

/// The committing task.
pub(super) async fn run(inner: Rc<Inner>) {
    loop {
        inner.submit_ready();
        let idle = inner.state.borrow().in_flight.is_empty();
        if idle && inner.stopped.get() {
            return;
        }
        let crowded = inner.evict();
        if crowded {
            reactor::yield_now().await;
        }
        let mut woken = pin!(inner.wake.notified());
        let finished = poll_fn(|context| {
            if let Some(oldest) = inner.state.borrow_mut().in_flight.front_mut()
                && let Poll::Ready(result) = Pin::new(&mut oldest.commit).poll(context)
            {
                return Poll::Ready(Some(result));
            }
            if crowded {
                return Poll::Ready(None);
            }
            woken.as_mut().poll(context).map(|()| None)
        })
        .await;
        match finished {
            Some(Ok(())) => inner.acknowledge(),
            Some(Err(error)) => {
                inner.poison(&error.to_string());
                let abandoned = std::mem::take(&mut inner.state.borrow_mut().in_flight);
                drop(abandoned);
                return;
            }
            None => {}
        }
    }
}
