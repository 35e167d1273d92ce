//! The `io_uring` backend: one ring of one thread, and what is done through it.
//!
//! Set up with `SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN | TASKRUN_FLAG`: completions are made only inside our own
//! `io_uring_enter`, so one enter a turn submits, waits and collects. The ring must be built on the thread that uses it.
//!
//! **Ownership.** Whatever the kernel reads, writes or looks up during an operation (buffers, paths, addresses, pipes,
//! descriptors) lies in the operation's slot of [`ops`], and leaves it only when the last completion is in. Dropping the
//! future of an operation asks the kernel to cancel it where that makes sense, and never frees anything early. A
//! descriptor is closed when its last owner is gone, an operation being one.
//!
//! **Queues.** A full submission queue is submitted; linked pairs go in together or not at all. The kernel never drops
//! completions (`NODROP`): it keeps what does not fit and hands it over at the next enter, which the flags ask for.

pub(crate) mod file;
pub(crate) mod fixed;
pub(crate) mod mesh;
pub(crate) mod net;
pub(crate) mod ops;
pub(crate) mod parts;
pub(crate) mod path;
pub(crate) mod pipe;
pub(crate) mod recv_buffers;
pub(crate) mod send_file;
mod setup;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use crate::limits::DRAIN_TIME_MAX;
use crate::stats::Stats;
use crate::time;
use crate::wake::Shared;
use fixed::FixedBuffers;
use mesh::Mesh;
use ops::{Keep, Op, OpId, Ops};
use pipe::PipePool;
use recv_buffers::RecvBuffers;

/// How the ring is made.
#[derive(Clone, Debug)]
pub(crate) struct DriverOptions {
    pub(crate) ring_entries: u32,
}

/// Whether a turn sleeps in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Submit and collect what is there.
    No,
    /// Until something completes, or this time has passed.
    For(Duration),
    /// Until something completes.
    Forever,
}

/// `user_data` of completions that belong to no operation have the top bit set.
const SPECIAL: u64 = 1 << 63;
const IGNORED: u64 = SPECIAL;
const MESSAGE: u64 = SPECIAL | 1;
const EVENT: u64 = SPECIAL | 2;
/// Plus the target's id: a ring message could not be delivered.
const MESSAGE_FAILED: u64 = SPECIAL | 1 << 32;

/// The ring of one reactor.
pub(crate) struct Driver {
    ring: RefCell<IoUring>,
    ops: RefCell<Ops>,
    /// Completions taken from the ring and not yet handled.
    completions: RefCell<Vec<cqueue::Entry>>,
    /// Entries ever pushed, and where among them the second halves of linked pairs not yet submitted lie.
    pushed: Cell<u64>,
    pairs: RefCell<VecDeque<(u64, OpId)>>,
    mesh: Mesh,
    recv_buffers: Rc<RecvBuffers>,
    pub(crate) pipes: PipePool,
    fixed: FixedBuffers,
    enters: Cell<u64>,
    queue_full: Cell<u64>,
    overflows: Cell<u64>,
}

impl Driver {
    /// Builds the ring on the calling thread.
    pub(crate) fn new(shared: &'static Shared, options: &DriverOptions) -> io::Result<Self> {
        let (ring, recv_buffers) = setup::build(options.ring_entries)?;
        shared.set_ring_descriptor(ring.as_raw_fd());
        let driver = Self {
            ring: RefCell::new(ring),
            ops: RefCell::new(Ops::default()),
            completions: RefCell::new(Vec::with_capacity(256)),
            pushed: Cell::new(0),
            pairs: RefCell::new(VecDeque::new()),
            mesh: Mesh::new(shared),
            recv_buffers: Rc::new(recv_buffers),
            pipes: PipePool::default(),
            fixed: FixedBuffers::default(),
            enters: Cell::new(0),
            queue_full: Cell::new(0),
            overflows: Cell::new(0),
        };
        driver.arm_event()?;
        Ok(driver)
    }

    pub(crate) fn ops(&self) -> &RefCell<Ops> {
        &self.ops
    }

    /// The ring itself, where only it will do: the two kinds of driver say it alike.
    #[cfg(not(feature = "simulator"))]
    pub(crate) fn ring(&self) -> &Self {
        self
    }

    pub(crate) fn recv_buffers(&self) -> &Rc<RecvBuffers> {
        &self.recv_buffers
    }

    /// Starts an operation. It is submitted at the end of the turn.
    ///
    /// # Safety
    /// Every pointer and descriptor in `entry` must stay valid as long as `keep` lives.
    pub(crate) unsafe fn start(&self, entry: squeue::Entry, keep: Keep) -> Op {
        let id = self.ops.borrow_mut().insert(keep);
        let entry = entry.user_data(id.user_data());
        // SAFETY: by this function's contract; the slot keeps `keep` until the completion.
        if let Err(error) = unsafe { self.push(&[entry]) } {
            self.ops.borrow_mut().fail(id, &error);
        }
        Op::new(id)
    }

    /// Starts two operations, the second to run when the first has done all its `bytes`, in one submission. The kernel says one
    /// thing of both: how the second ended, or that the first failed (and then nothing of the second).
    ///
    /// # Safety
    /// As for [`Driver::start`].
    pub(crate) unsafe fn start_pair(
        &self,
        first: (squeue::Entry, Keep),
        bytes: i32,
        second: (squeue::Entry, Keep),
    ) -> (Op, Op) {
        let (first_id, second_id) = {
            let mut ops = self.ops.borrow_mut();
            let ids = (ops.insert(first.1), ops.insert(second.1));
            ops.pair(ids.0, bytes, ids.1);
            ids
        };
        let flags = squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS;
        let pair =
            [first.0.flags(flags).user_data(first_id.user_data()), second.0.user_data(second_id.user_data())];
        // Noted before the push, so that a submission in the middle of it would not go unseen.
        self.pairs.borrow_mut().push_back((self.pushed.get() + 1, second_id));
        // SAFETY: by this function's contract; the slots keep both until their completions.
        if let Err(error) = unsafe { self.push(&pair) } {
            self.pairs.borrow_mut().pop_back();
            let mut ops = self.ops.borrow_mut();
            ops.fail(first_id, &error);
            ops.fail(second_id, &error);
        }
        (Op::new(first_id), Op::new(second_id))
    }

    /// Asks the kernel to give up on an operation. It still completes.
    pub(crate) fn cancel(&self, id: OpId) {
        let entry = opcode::AsyncCancel::new(id.user_data()).build().user_data(IGNORED);
        // SAFETY: the entry has no pointers. If it cannot be pushed the operation ends by itself or at shutdown.
        let _ = unsafe { self.push(&[entry]) };
    }

    /// Puts entries into the submission queue, next to each other. Submits first if there is too little room.
    ///
    /// # Safety
    /// The entries' pointers and descriptors must stay valid until their completions.
    unsafe fn push(&self, entries: &[squeue::Entry]) -> io::Result<()> {
        let mut ring = self.ring.borrow_mut();
        loop {
            {
                let mut queue = ring.submission();
                // SAFETY: by this function's contract.
                if unsafe { queue.push_multiple(entries) }.is_ok() {
                    self.pushed.set(self.pushed.get() + entries.len() as u64);
                    return Ok(());
                }
            }
            self.queue_full.set(self.queue_full.get() + 1);
            self.enter(&mut ring, Wait::No)?;
            self.take_completions(&mut ring);
        }
    }

    /// Submits, waits if asked to, collects, and handles what has completed.
    pub(crate) fn turn(&self, wait: Wait) -> io::Result<()> {
        {
            let mut ring = self.ring.borrow_mut();
            let backlog = !self.completions.borrow().is_empty();
            let wait = if backlog { Wait::No } else { wait };
            let (queued, pending) = {
                let queue = ring.submission();
                if queue.cq_overflow() {
                    self.overflows.set(self.overflows.get() + 1);
                }
                (!queue.is_empty(), queue.taskrun() || queue.cq_overflow())
            };
            if queued || pending || !matches!(wait, Wait::No) {
                self.enter(&mut ring, wait)?;
            }
            self.take_completions(&mut ring);
        }
        self.handle_completions();
        Ok(())
    }

    /// True if completions wait in the ring, or the kernel has work for us that makes some.
    pub(crate) fn has_completions(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        let pending = ring.submission().taskrun();
        pending || !ring.completion().is_empty()
    }

    fn enter(&self, ring: &mut IoUring, wait: Wait) -> io::Result<()> {
        self.enters.set(self.enters.get() + 1);
        let queued = ring.submission().len() as u32;
        let result = setup::enter(ring, queued, wait);
        let left = ring.submission().len() as u64;
        self.check_pairs(self.pushed.get() - left);
        match result {
            Ok(()) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is up; a signal came; the kernel is short of memory or has completions to hand over first.
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// A link does not survive the end of a submission. If the kernel took only the first half of a pair (it was out of
    /// memory), the second half will run by itself, and what it says must not be believed.
    fn check_pairs(&self, submitted: u64) {
        let mut pairs = self.pairs.borrow_mut();
        while let Some(&(second, id)) = pairs.front() {
            if second > submitted {
                return;
            }
            if second == submitted {
                self.ops.borrow_mut().distrust(id);
            }
            pairs.pop_front();
        }
    }

    fn take_completions(&self, ring: &mut IoUring) {
        self.completions.borrow_mut().extend(ring.completion());
    }

    fn handle_completions(&self) {
        let mut completions = self.completions.take();
        for entry in completions.drain(..) {
            let user_data = entry.user_data();
            if user_data & SPECIAL == 0 {
                self.complete(OpId::from_user_data(user_data), entry.result(), entry.flags());
            } else {
                self.complete_special(user_data, entry.result());
            }
        }
        let mut place = self.completions.borrow_mut();
        if place.is_empty() {
            *place = completions; // keeps its memory
        }
    }

    fn complete(&self, id: OpId, result: i32, flags: u32) {
        let silent = self.ops.borrow_mut().silent(id, result);
        if let Some((partner, result)) = silent {
            self.complete_one(partner, result, 0);
        }
        self.complete_one(id, result, flags);
    }

    fn complete_one(&self, id: OpId, result: i32, flags: u32) {
        if cqueue::buffer_select(flags).is_some() {
            self.recv_buffers.take();
        }
        let copy = |bid, count| Bytes::copy_from_slice(self.recv_buffers.slice(bid, count));
        let done = self.ops.borrow_mut().complete(id, result, flags, copy);
        // Destructors and wakers run here, with nothing borrowed.
        if let Some(bid) = done.unwanted_buffer {
            self.recv_buffers.give_back(bid);
        }
        drop(done.keep);
        if let Some(accepted) = done.accepted {
            if accepted.pause {
                self.cancel(id);
            }
            accepted.queue.arrived.notify_one_waiting();
        }
        if let Some(waker) = done.waker {
            waker.wake();
        }
    }

    fn complete_special(&self, user_data: u64, result: i32) {
        match user_data {
            MESSAGE => self.mesh.notification_arrived(),
            EVENT => {
                self.mesh.event_done();
                if result != -libc::ECANCELED {
                    let _ = self.arm_event();
                }
            }
            _ if user_data & MESSAGE_FAILED == MESSAGE_FAILED => mesh::message_failed(user_data as u16),
            _ => {}
        }
    }

    /// Ends all operations. Afterwards the kernel holds no memory of ours, or else the ring must never be dropped:
    /// false.
    pub(crate) fn shut_down(&self) -> bool {
        self.mesh.begin_shut_down();
        let end = time::now() + DRAIN_TIME_MAX;
        loop {
            let running = self.ops.borrow().cancellable();
            for id in running {
                self.cancel(id);
            }
            if self.mesh.event_armed() {
                let entry = opcode::AsyncCancel::new(EVENT).build().user_data(IGNORED);
                // SAFETY: the entry has no pointers.
                let _ = unsafe { self.push(&[entry]) };
            }
            let idle = self.ops.borrow().in_flight() == 0 && self.mesh.is_quiet();
            if idle {
                return true;
            }
            if time::now() >= end || self.turn(Wait::For(Duration::from_millis(20))).is_err() {
                return false;
            }
        }
    }

    pub(crate) fn fill_stats(&self, stats: &mut Stats) {
        let ops = self.ops.borrow();
        stats.enters = self.enters.get();
        stats.operations = ops.started();
        stats.operations_in_flight = ops.in_flight();
        stats.notifications_sent = self.mesh.sent();
        stats.submit_queue_full = self.queue_full.get();
        stats.completion_queue_overflows = self.overflows.get();
        stats.receive_buffer_waits = self.recv_buffers.waits();
    }
}

/// Flags and argument of one enter.
fn enter_flags(wait: Wait) -> (u32, u32) {
    match wait {
        Wait::No => (0, EnterFlags::GETEVENTS.bits()),
        Wait::Forever => (1, EnterFlags::GETEVENTS.bits()),
        Wait::For(_) => (1, (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits()),
    }
}
