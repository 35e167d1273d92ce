//! Notifications between reactors: ring messages, gathered during a turn and sent once per target, and the eventfd by
//! which threads without a ring wake this one. The protocol is in [`wake`](crate::wake).

use std::cell::{Cell, RefCell};
use std::io;

use io_uring::{opcode, squeue, types};

use super::{Driver, EVENT, MESSAGE, MESSAGE_FAILED};
use crate::limits::REACTORS_MAX;
use crate::wake::Shared;

/// The notifications of one reactor.
pub(crate) struct Mesh {
    own: &'static Shared,
    /// Reactors that got work from us in this turn, each once.
    targets: RefCell<Vec<&'static Shared>>,
    is_target: RefCell<Box<[bool; REACTORS_MAX]>>,
    sent: Cell<u64>,
    /// Ring messages that others claimed to send us, and those that came. Before the ring is closed they must be equal,
    /// or a late message would go to whoever has the descriptor's number then.
    expected: Cell<u64>,
    arrived: Cell<u64>,
    /// Messages to earlier reactors of this id that could not be delivered.
    undelivered_before: u64,
    /// Where the kernel writes the eventfd's count while the read is armed.
    event_count: Box<Cell<u64>>,
    event_armed: Cell<bool>,
    closing: Cell<bool>,
}

impl Mesh {
    pub(super) fn new(own: &'static Shared) -> Self {
        Self {
            own,
            targets: RefCell::new(Vec::new()),
            is_target: RefCell::new(Box::new([false; REACTORS_MAX])),
            sent: Cell::new(0),
            expected: Cell::new(0),
            arrived: Cell::new(0),
            undelivered_before: own.undelivered(),
            event_count: Box::new(Cell::new(0)),
            event_armed: Cell::new(false),
            closing: Cell::new(false),
        }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(super) fn notification_arrived(&self) {
        self.arrived.set(self.arrived.get() + 1);
    }

    pub(super) fn event_done(&self) {
        self.event_armed.set(false);
    }

    pub(super) fn event_armed(&self) -> bool {
        self.event_armed.get()
    }

    /// From here on other reactors are told by eventfd at once: there may be no further turn that submits.
    pub(super) fn begin_shut_down(&self) {
        self.closing.set(true);
        for target in self.targets.take() {
            target.notify_by_event();
        }
    }

    /// Nothing of the notifications needs the ring any more.
    pub(super) fn is_quiet(&self) -> bool {
        let undelivered = self.own.undelivered() - self.undelivered_before;
        !self.event_armed.get() && self.expected.get() == self.arrived.get() + undelivered
    }
}

impl Driver {
    /// Notes that a reactor has new work.
    pub(crate) fn notify_later(&self, target: &'static Shared) {
        if self.mesh.closing.get() {
            target.notify_by_event();
            return;
        }
        let mut is_target = self.mesh.is_target.borrow_mut();
        let mark = &mut is_target[target.id() as usize];
        if !*mark {
            *mark = true;
            self.mesh.targets.borrow_mut().push(target);
        }
    }

    /// Sends a ring message to each noted reactor that sleeps.
    pub(crate) fn send_notifications(&self) {
        if self.mesh.targets.borrow().is_empty() {
            return;
        }
        let mut targets = self.mesh.targets.take();
        for target in targets.drain(..) {
            self.mesh.is_target.borrow_mut()[target.id() as usize] = false;
            if !target.claim_ring_notification() {
                continue;
            }
            self.mesh.sent.set(self.mesh.sent.get() + 1);
            let ring = types::Fd(target.ring_descriptor());
            let entry = opcode::MsgRingData::new(ring, 0, MESSAGE, None)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(MESSAGE_FAILED | u64::from(target.id()));
            // SAFETY: no pointers; the target keeps its ring open until the message we claimed has come.
            if unsafe { self.push(&[entry]) }.is_err() {
                target.message_failed();
            }
        }
        *self.mesh.targets.borrow_mut() = targets; // keeps its memory
    }

    /// Somebody claimed to send us a ring message.
    pub(crate) fn expect_notification(&self) {
        self.mesh.expected.set(self.mesh.expected.get() + 1);
    }

    /// Keeps a read of the eventfd pending.
    pub(super) fn arm_event(&self) -> io::Result<()> {
        if self.mesh.closing.get() {
            return Ok(());
        }
        let event = types::Fd(self.mesh.own.event_descriptor());
        let entry =
            opcode::Read::new(event, self.mesh.event_count.as_ptr().cast(), 8).build().user_data(EVENT);
        // SAFETY: the box lives as long as the driver, which is not dropped while the read is armed; the descriptor is
        // never closed.
        unsafe { self.push(&[entry]) }?;
        self.mesh.event_armed.set(true);
        Ok(())
    }
}

/// The kernel could not deliver a ring message (its target's memory is short): use the other way.
pub(super) fn message_failed(target: u16) {
    if let Some(target) = Shared::of(target) {
        target.message_failed();
    }
}
