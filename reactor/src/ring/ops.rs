//! Operations the kernel has: a slab of slots with generations.
//!
//! A slot owns everything its operation uses ([`Keep`]) from the push to the last completion. The future ([`Op`]) is only
//! a number. When it is dropped early the slot becomes an orphan and is freed by its completion.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use io_uring::cqueue;

use super::file::OpenFile;
use super::fixed::{Chunk, Region};
use super::net::{AcceptQueue, Accepted, SendParts, Socket, SocketAddress};
use super::parts::Parts;
use super::path::PathArguments;
use super::pipe::Pipe;
use crate::executor;
use crate::pool_buffer::PoolBuffer;

/// What an operation owns while the kernel works on it.
#[allow(dead_code)] // most of it is owned only to be kept alive
pub(crate) enum Keep {
    Nothing,
    Region(Arc<Region>),
    File(Arc<OpenFile>),
    Read(Arc<OpenFile>, BytesMut),
    ReadFixed(Arc<OpenFile>, Chunk),
    Write(Arc<OpenFile>, Bytes),
    WriteParts(Arc<OpenFile>, Parts),
    Path(Box<PathArguments>),
    /// A path to be opened: if nobody waits for the descriptor any more it is closed.
    Open(Box<PathArguments>),
    Socket(Rc<Socket>),
    Receive(Rc<Socket>),
    ReceiveInto(Rc<Socket>, PoolBuffer),
    Send(Rc<Socket>, Bytes),
    SendParts(Rc<Socket>, Box<SendParts>),
    Connect(Rc<Socket>, Box<SocketAddress>),
    Accept(Rc<AcceptQueue>),
    /// File to pipe.
    Fill(Arc<OpenFile>, Rc<Pipe>),
    /// Pipe to socket.
    Drain(Rc<Socket>, Rc<Pipe>),
    /// A receive that completed while nobody waited; the provided buffer went back at once.
    Received(Bytes),
}

impl Keep {
    /// Whether the kernel is asked to give up when nobody waits any more. Writes and changes of names run to their end.
    pub(crate) fn cancel_when_dropped(&self) -> bool {
        match self {
            Self::Read(..)
            | Self::ReadFixed(..)
            | Self::Socket(_)
            | Self::Receive(_)
            | Self::ReceiveInto(..)
            | Self::Send(..)
            | Self::SendParts(..)
            | Self::Connect(..)
            | Self::Accept(_)
            | Self::Fill(..)
            | Self::Drain(..) => true,
            Self::Nothing
            | Self::Region(_)
            | Self::File(_)
            | Self::Write(..)
            | Self::WriteParts(..)
            | Self::Path(_)
            | Self::Open(_)
            | Self::Received(_) => false,
        }
    }
}

/// A slot, and which of its successive tenants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpId {
    slot: u32,
    generation: u32,
}

impl OpId {
    pub(crate) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_user_data(user_data: u64) -> Self {
        Self { slot: user_data as u32, generation: (user_data >> 32) as u32 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// The kernel has it and a future waits for it.
    Attended,
    /// The kernel has it; its owner (a stream) will wait for it again.
    Parked,
    /// The kernel has it; nobody wants the result.
    Orphan,
    Done,
}

/// The other operation of a pair. The kernel speaks of one of the two only: of the second, or of a first that has failed.
#[derive(Clone, Copy, Debug)]
enum Partner {
    /// The first one has done so many bytes if the kernel speaks of the second.
    First(OpId, i32),
    /// The second one is not begun if the kernel speaks of the first.
    Second(OpId),
}

struct Slot {
    generation: u32,
    state: State,
    distrusted: bool,
    partner: Option<Partner>,
    result: i32,
    flags: u32,
    waker: Option<Waker>,
    keep: Keep,
}

/// The operations of one ring.
#[derive(Default)]
pub(crate) struct Ops {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: usize,
    started: u64,
}

/// What is left to do, outside of any borrow, when a completion has been entered.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) waker: Option<Waker>,
    pub(crate) keep: Option<Keep>,
    pub(crate) unwanted_buffer: Option<u16>,
    pub(crate) accepted: Option<Accepted>,
}

impl Ops {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    pub(crate) fn insert(&mut self, keep: Keep) -> OpId {
        self.in_flight += 1;
        self.started += 1;
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.state = State::Attended;
            place.keep = keep;
            return OpId { slot, generation: place.generation };
        }
        self.slots.push(Slot {
            generation: 0,
            state: State::Attended,
            distrusted: false,
            partner: None,
            result: 0,
            flags: 0,
            waker: None,
            keep,
        });
        OpId { slot: self.slots.len() as u32 - 1, generation: 0 }
    }

    fn get(&mut self, id: OpId) -> &mut Slot {
        let slot = &mut self.slots[id.slot as usize];
        assert!(
            slot.generation == id.generation && slot.state != State::Free,
            "operation {id:?} is not alive"
        );
        slot
    }

    fn release(&mut self, id: OpId) -> Keep {
        let slot = self.get(id);
        slot.state = State::Free;
        slot.distrusted = false;
        slot.partner = None;
        slot.waker = None;
        // The top bit of user_data is not ours to use.
        slot.generation = (slot.generation + 1) & 0x7FFF_FFFF;
        let keep = std::mem::replace(&mut slot.keep, Keep::Nothing);
        self.free.push(id.slot);
        keep
    }

    /// The operation could not be submitted: it is done, with this error.
    pub(crate) fn fail(&mut self, id: OpId, error: &io::Error) {
        self.in_flight -= 1;
        let slot = self.get(id);
        slot.state = State::Done;
        slot.result = -error.raw_os_error().unwrap_or(libc::EIO);
        slot.flags = 0;
    }

    /// Two operations, of which the kernel runs the second when the first has done all its bytes.
    pub(crate) fn pair(&mut self, first: OpId, bytes: i32, second: OpId) {
        self.get(first).partner = Some(Partner::Second(second));
        self.get(second).partner = Some(Partner::First(first, bytes));
    }

    /// A completion of one of a pair tells of the other: which, and what its result is.
    pub(crate) fn silent(&mut self, id: OpId, result: i32) -> Option<(OpId, i32)> {
        match self.get(id).partner? {
            Partner::First(first, bytes) => {
                self.get(first).partner = None;
                Some((first, bytes))
            }
            Partner::Second(second) => {
                let Some(Partner::First(_, bytes)) = self.get(second).partner.take() else { return None };
                (result != bytes).then_some((second, -libc::ECANCELED))
            }
        }
    }

    /// The second of a pair will run without the first: whatever its completion says, it will be reported as cancelled. The first
    /// has a completion only if it fails; else its slot stays taken, and its memory untouched, for good.
    pub(crate) fn distrust(&mut self, id: OpId) {
        let slot = self.get(id);
        slot.distrusted = true;
        if let Some(Partner::First(first, _)) = slot.partner.take() {
            self.get(first).partner = None;
        }
    }

    /// Enters a completion.
    pub(crate) fn complete(
        &mut self,
        id: OpId,
        result: i32,
        flags: u32,
        copy_buffer: impl FnOnce(u16, usize) -> Bytes,
    ) -> Done {
        let more = cqueue::more(flags);
        if !more {
            self.in_flight -= 1;
        }
        let slot = self.get(id);
        if let Keep::Accept(queue) = &slot.keep {
            let queue = queue.clone();
            let pause = queue.enter(result, more);
            let keep = (!more).then(|| self.release(id));
            return Done { keep, accepted: Some(Accepted { queue, pause }), ..Done::default() };
        }
        assert!(!more, "only accepting has several completions");
        slot.result = if slot.distrusted && result >= 0 { -libc::ECANCELED } else { result };
        slot.flags = flags;
        let buffer = cqueue::buffer_select(flags);
        match slot.state {
            State::Orphan => {
                if let (Keep::Open(_), true) = (&slot.keep, result >= 0) {
                    super::path::close(result);
                }
                Done { keep: Some(self.release(id)), unwanted_buffer: buffer, ..Done::default() }
            }
            State::Parked => {
                let mut keep = None;
                if let Some(bid) = buffer {
                    let received = copy_buffer(bid, result as usize);
                    keep = Some(std::mem::replace(&mut slot.keep, Keep::Received(received)));
                    slot.flags = 0;
                }
                slot.state = State::Done;
                Done { keep, unwanted_buffer: buffer, ..Done::default() }
            }
            State::Attended => {
                slot.state = State::Done;
                Done { waker: slot.waker.take(), ..Done::default() }
            }
            State::Free | State::Done => unreachable!("operation {id:?} completed twice"),
        }
    }

    /// What a running operation owns; `None` if it has ended.
    #[cfg(feature = "simulator")]
    pub(crate) fn keep_of(&mut self, id: OpId) -> Option<&mut Keep> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let running = matches!(slot.state, State::Attended | State::Parked | State::Orphan);
        (slot.generation == id.generation && running).then_some(&mut slot.keep)
    }

    /// Running operations that should be asked to end when the reactor ends.
    pub(crate) fn cancellable(&self) -> Vec<OpId> {
        let running = |slot: &Slot| matches!(slot.state, State::Attended | State::Parked | State::Orphan);
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| running(slot) && slot.keep.cancel_when_dropped())
            .map(|(index, slot)| OpId { slot: index as u32, generation: slot.generation })
            .collect()
    }
}

/// The result of an operation: a count or a negative errno, the completion's flags, and what the operation owned.
pub(crate) struct Completion {
    pub(crate) result: i32,
    pub(crate) flags: u32,
    pub(crate) keep: Keep,
}

/// Waits for an operation.
pub(crate) struct Op {
    id: Option<OpId>,
    /// The number means something only on the thread of its ring.
    not_send: PhantomData<Rc<()>>,
}

impl Op {
    pub(crate) fn new(id: OpId) -> Self {
        Self { id: Some(id), not_send: PhantomData }
    }

    /// Leaves the operation running without a future, to be waited for again with [`Op::new`].
    pub(crate) fn park(&mut self) -> Option<OpId> {
        let id = self.id.take()?;
        executor::try_with(|reactor| {
            let reactor = reactor?;
            let mut ops = reactor.driver().ops().borrow_mut();
            let slot = ops.get(id);
            slot.waker = None;
            match (slot.state, cqueue::buffer_select(slot.flags)) {
                (State::Attended, _) => slot.state = State::Parked,
                // Nobody may come back for it soon: it must not keep a buffer of the pool until then.
                (State::Done, Some(bid)) => {
                    let buffers = reactor.driver().recv_buffers();
                    slot.flags = 0;
                    let received = Bytes::copy_from_slice(buffers.slice(bid, slot.result as usize));
                    let socket = std::mem::replace(&mut slot.keep, Keep::Received(received));
                    drop(ops);
                    drop(socket);
                    buffers.give_back(bid);
                }
                _ => {}
            }
            Some(id)
        })
    }

    /// Waits again for a parked operation.
    pub(crate) fn resume(id: OpId) -> Self {
        executor::with(|reactor| {
            let mut ops = reactor.driver().ops().borrow_mut();
            let slot = ops.get(id);
            if slot.state == State::Parked {
                slot.state = State::Attended;
            }
        });
        Self::new(id)
    }
}

impl Future for Op {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        let Some(id) = self.id else { panic!("an operation was polled after its end") };
        let completion = executor::with(|reactor| {
            let mut ops = reactor.driver().ops().borrow_mut();
            let slot = ops.get(id);
            if slot.state == State::Done {
                let (result, flags) = (slot.result, slot.flags);
                return Some(Completion { result, flags, keep: ops.release(id) });
            }
            if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                slot.waker = Some(context.waker().clone());
            }
            None
        });
        match completion {
            Some(completion) => {
                self.id = None;
                Poll::Ready(completion)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        executor::try_with(|reactor| {
            // After the reactor's end the slots are gone, or leaked with the ring.
            let Some(driver) = reactor.map(executor::Reactor::driver) else { return };
            let mut ops = driver.ops().borrow_mut();
            let slot = ops.get(id);
            if slot.state == State::Done {
                let buffer = cqueue::buffer_select(slot.flags);
                if let (Keep::Open(_), true) = (&slot.keep, slot.result >= 0) {
                    super::path::close(slot.result);
                }
                let keep = ops.release(id);
                drop(ops);
                drop(keep);
                if let Some(bid) = buffer {
                    driver.recv_buffers().give_back(bid);
                }
                return;
            }
            slot.state = State::Orphan;
            slot.waker = None;
            let cancel = slot.keep.cancel_when_dropped();
            drop(ops);
            if cancel {
                driver.cancel(id);
            }
        });
    }
}
