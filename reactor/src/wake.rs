//! Wake-ups: wakers that are plain numbers, and the queue through which other threads wake a reactor's tasks.
//!
//! A waker's data pointer holds (reactor id: 16 bits, task slot: 24, generation: 24). Nothing is counted and nothing
//! is freed, so wakers may outlive their task, their reactor and the thread; waking such a one does nothing, or at
//! worst polls a newer task once for nothing.
//!
//! **Remote queue.** Every task slot has a [`Cell`] that lives for ever. A wake-up from another thread sets the
//! cell's `queued` bit and, if it was clear, pushes the cell on the reactor's intrusive stack. So the queue is bounded
//! by the number of tasks and never allocates. The reactor takes the whole stack with one swap, and clears each
//! `queued` bit *before* it polls: a wake-up that comes later queues the task again.
//!
//! **Sleep.** `sleep` is `AWAKE`, `SLEEPING` or one of two `NOTIFIED`. The reactor stores `SLEEPING` and then looks at
//! the stack; a waker pushes and then tries `SLEEPING → NOTIFIED`. All four are `SeqCst`, so in their one order either
//! the push is before the look (the reactor does not sleep), or the store is before the try (the waker notifies).
//! Whoever succeeds in the try, and only he, notifies: by a ring message from a reactor, by eventfd from elsewhere. Both
//! stay readable until the reactor collects them, also when it has not yet entered the kernel.
//!
//! **Exit.** An ended reactor's `sleep` is `AWAKE` for ever: wakers push and never notify. Its [`Shared`] (cells,
//! eventfd) is kept and given to the next reactor that takes the id, whose task generations continue.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::executor;
use crate::limits::{REACTORS_MAX, TASKS_MAX};
use crate::sys;

const EMPTY: u32 = u32::MAX;
const CHUNK: usize = 4096;
const CHUNKS: usize = TASKS_MAX / CHUNK;
const GENERATION_MASK: u32 = (1 << 24) - 1;

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED_BY_RING: u32 = 2;
const NOTIFIED_BY_EVENT: u32 = 3;

/// A task of a reactor: its slot, and which of the slot's successive tenants it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl TaskId {
    /// The generation that follows this one in the same slot.
    pub(crate) fn next_generation(self) -> u32 {
        (self.generation + 1) & GENERATION_MASK
    }
}

/// What others can reach of a reactor. Never freed.
pub(crate) struct Shared {
    id: u16,
    head: AtomicU32,
    sleep: AtomicU32,
    ring: AtomicI32,
    event: OwnedFd,
    undelivered: AtomicU64,
    chunks: Box<[OnceLock<Box<[Cell]>>]>,
}

struct Cell {
    /// Bit 0: on the stack (or about to be). Above: generation of the task in the slot.
    state: AtomicU32,
    next: AtomicU32,
}

impl Cell {
    fn new() -> Self {
        Self { state: AtomicU32::new(0), next: AtomicU32::new(EMPTY) }
    }
}

/// What the reactor found when it stopped sleeping.
pub(crate) enum Awoken {
    /// Nobody notified.
    Alone,
    /// A ring message is on its way or already here.
    ByRing,
    /// The eventfd is readable, or will be at once.
    ByEvent,
}

static REACTORS: [OnceLock<&'static Shared>; REACTORS_MAX] = [const { OnceLock::new() }; REACTORS_MAX];
static IDS: Mutex<Ids> = Mutex::new(Ids { used: 0, free: Vec::new() });

struct Ids {
    used: u16,
    free: Vec<u16>,
}

impl Shared {
    /// Takes an unused reactor id and its shared part.
    pub(crate) fn take() -> std::io::Result<&'static Shared> {
        let mut ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.free.pop() {
            let shared =
                REACTORS[id as usize].get().ok_or_else(|| std::io::Error::other("no such reactor"))?;
            return Ok(shared);
        }
        if ids.used as usize >= REACTORS_MAX {
            return Err(std::io::Error::other("too many reactors in this process"));
        }
        // SAFETY: eventfd has no memory arguments.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        sys::check(descriptor.into())?;
        // SAFETY: just opened, owned by nobody else.
        let event = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            id: ids.used,
            head: AtomicU32::new(EMPTY),
            sleep: AtomicU32::new(AWAKE),
            ring: AtomicI32::new(-1),
            event,
            undelivered: AtomicU64::new(0),
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
        }));
        let _ = REACTORS[ids.used as usize].set(shared);
        ids.used += 1;
        Ok(shared)
    }

    /// Gives the id back when its reactor has ended.
    pub(crate) fn give_back(&self) {
        IDS.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.id);
    }

    /// The shared part of a reactor that exists or existed.
    pub(crate) fn of(id: u16) -> Option<&'static Shared> {
        REACTORS.get(id as usize)?.get().copied()
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// The descriptor that wakes the reactor when written to.
    pub(crate) fn event_descriptor(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Where ring messages to this reactor go. Valid to use only by whoever claimed a notification.
    pub(crate) fn ring_descriptor(&self) -> RawFd {
        self.ring.load(Ordering::Acquire)
    }

    pub(crate) fn set_ring_descriptor(&self, ring: RawFd) {
        self.ring.store(ring, Ordering::Release);
    }

    /// Makes the cell of a slot exist, and returns the generation that its next task shall have.
    pub(crate) fn prepare_cell(&self, slot: u32) -> u32 {
        self.chunks[slot as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| Cell::new()).collect());
        self.cell(slot).map_or(0, |cell| cell.state.load(Ordering::Acquire) >> 1)
    }

    /// Records which task lives in a slot now. Wakers of earlier ones no longer match.
    pub(crate) fn set_generation(&self, slot: u32, generation: u32) {
        let Some(cell) = self.cell(slot) else { return };
        let mut old = cell.state.load(Ordering::Relaxed);
        while let Err(now) = cell.state.compare_exchange_weak(
            old,
            generation << 1 | old & 1,
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            old = now;
        }
    }

    fn cell(&self, slot: u32) -> Option<&Cell> {
        self.chunks.get(slot as usize / CHUNK)?.get()?.get(slot as usize % CHUNK)
    }

    /// Queues a task from any thread. Returns false if nothing is to be done: the task has ended, or was queued
    /// before and not yet seen by its reactor.
    fn push(&self, task: TaskId) -> bool {
        let Some(cell) = self.cell(task.slot) else { return false };
        if cell.state.load(Ordering::Acquire) >> 1 != task.generation {
            return false;
        }
        if cell.state.fetch_or(1, Ordering::AcqRel) & 1 == 1 {
            return false;
        }
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            cell.next.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, task.slot, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// True if a task waits in the remote queue.
    pub(crate) fn has_remote(&self) -> bool {
        self.head.load(Ordering::SeqCst) != EMPTY
    }

    /// Takes all remotely woken tasks, oldest first, into `out`.
    pub(crate) fn take_remote(&self, out: &mut Vec<TaskId>) {
        if self.head.load(Ordering::Relaxed) == EMPTY {
            return;
        }
        let start = out.len();
        let mut slot = self.head.swap(EMPTY, Ordering::SeqCst);
        while slot != EMPTY {
            let Some(cell) = self.cell(slot) else { break };
            let current = slot;
            // Read the link before the bit is cleared: from then on others may push this cell again.
            slot = cell.next.load(Ordering::Relaxed);
            let state = cell.state.fetch_and(!1, Ordering::AcqRel);
            out.push(TaskId { slot: current, generation: state >> 1 });
        }
        out[start..].reverse();
    }

    /// Announces sleep. False: there is work in the remote queue, do not sleep.
    pub(crate) fn begin_sleep(&self) -> bool {
        self.sleep.store(SLEEPING, Ordering::SeqCst);
        !self.has_remote()
    }

    /// Ends the sleep that `begin_sleep` announced.
    pub(crate) fn end_sleep(&self) -> Awoken {
        match self.sleep.swap(AWAKE, Ordering::SeqCst) {
            NOTIFIED_BY_RING => Awoken::ByRing,
            NOTIFIED_BY_EVENT => Awoken::ByEvent,
            _ => Awoken::Alone,
        }
    }

    /// Claims the right and duty to send a ring message: true at most once a sleep.
    pub(crate) fn claim_ring_notification(&self) -> bool {
        self.sleep.compare_exchange(SLEEPING, NOTIFIED_BY_RING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Notifies by eventfd if the reactor sleeps.
    pub(crate) fn notify_by_event(&self) {
        if self
            .sleep
            .compare_exchange(SLEEPING, NOTIFIED_BY_EVENT, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            self.write_event();
        }
    }

    /// A ring message that was claimed will not come: notifies by eventfd instead.
    pub(crate) fn message_failed(&self) {
        self.undelivered.fetch_add(1, Ordering::Release);
        self.write_event();
    }

    /// Ring messages claimed but not delivered, ever.
    pub(crate) fn undelivered(&self) -> u64 {
        self.undelivered.load(Ordering::Acquire)
    }

    /// Makes the eventfd readable.
    fn write_event(&self) {
        let one = 1u64;
        // SAFETY: `one` is valid for 8 bytes; the descriptor is never closed.
        let count = unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
        debug_assert_eq!(count, 8, "an eventfd takes any addition below 2^64");
    }
}

const VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, forget);

/// The waker of a task.
pub(crate) fn waker(reactor: u16, task: TaskId) -> Waker {
    let packed = (reactor as usize) << 48 | (task.slot as usize) << 24 | task.generation as usize;
    // SAFETY: the vtable never dereferences the data, so it is sound for any number and from any thread.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(packed), &VTABLE)) }
}

const _: () = assert!(usize::BITS == 64, "a waker packs 64 bits into its data pointer");

fn clone(packed: *const ()) -> RawWaker {
    RawWaker::new(packed, &VTABLE)
}

fn forget(_: *const ()) {}

fn wake(packed: *const ()) {
    let packed = packed.addr();
    let reactor = (packed >> 48) as u16;
    let task =
        TaskId { slot: (packed >> 24) as u32 & GENERATION_MASK, generation: packed as u32 & GENERATION_MASK };
    executor::try_with(|current| match current {
        Some(current) if current.id() == reactor => current.wake_local(task),
        Some(current) => {
            if let Some(target) = Shared::of(reactor).filter(|target| target.push(task)) {
                current.notify_later(target);
            }
        }
        None => {
            if let Some(target) = Shared::of(reactor).filter(|target| target.push(task)) {
                target.notify_by_event();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_push_is_taken_once_while_many_threads_push() {
        const TASKS: u32 = 64;
        const PUSHES: u64 = 20_000;
        let shared = Shared::take().unwrap();
        let generations: Vec<u32> = (0..TASKS).map(|slot| shared.prepare_cell(slot)).collect();
        let id = |slot: u32| TaskId { slot, generation: generations[slot as usize] };
        let (pushed, taken) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4u32)
                .map(|thread| {
                    scope.spawn(move || {
                        let pushes = 0..PUSHES;
                        pushes.filter(|n| shared.push(id((*n as u32 * 7 + thread * 13) % TASKS))).count()
                    })
                })
                .collect();
            let mut taken = 0;
            let mut out = Vec::new();
            while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                shared.take_remote(&mut out);
                assert!(out.len() <= TASKS as usize, "bounded by the tasks");
                taken += out.drain(..).count();
            }
            shared.take_remote(&mut out);
            let pushed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            (pushed, taken + out.len())
        });
        assert_eq!(pushed, taken);
        assert!(!shared.has_remote());
        shared.give_back();
    }

    #[test]
    fn a_waker_of_an_earlier_task_queues_nothing() {
        let shared = Shared::take().unwrap();
        let old = TaskId { slot: 0, generation: shared.prepare_cell(0) };
        shared.set_generation(0, old.next_generation());
        assert!(!shared.push(old));
        assert!(shared.push(TaskId { slot: 0, generation: old.next_generation() }));
        let mut out = Vec::new();
        shared.take_remote(&mut out);
        assert_eq!(out.len(), 1);
        shared.give_back();
    }

    #[test]
    fn only_one_notifies_a_sleeping_reactor() {
        let shared = Shared::take().unwrap();
        assert!(!shared.claim_ring_notification(), "it does not sleep");
        assert!(shared.begin_sleep());
        assert!(shared.claim_ring_notification());
        assert!(!shared.claim_ring_notification());
        assert!(matches!(shared.end_sleep(), Awoken::ByRing));
        assert!(matches!(shared.end_sleep(), Awoken::Alone));
        let task = TaskId { slot: 0, generation: shared.prepare_cell(0) };
        assert!(shared.push(task));
        assert!(!shared.begin_sleep(), "there is work");
        shared.end_sleep();
        shared.take_remote(&mut Vec::new());
        shared.give_back();
    }
}
