//! Memory that requests in flight may hold on a shard.
//!
//! A frame up to [`limits::FRAME_LARGE_BYTES`] is charged by its bytes, a larger one takes one of a few slots of its own.
//! Frames up to [`limits::FRAME_SMALL_BYTES`] have bytes of their own, so that light clients never wait for heavy ones;
//! whoever cannot be served at once waits, first come, first served, and is not read meanwhile. While less than half is in
//! use a frame is charged whole before its body is read. Beyond that it is charged step by step as it arrives, so that
//! many frames that began and do not go on hold little. A frame that finds no room for its next step gets one of a few
//! completion slots, with which it may go to its end: so frames that began cannot wait for one another for ever.
//!
//! While others wait, a frame that has begun must arrive by a step a second ([`limits::FRAME_STALL`]), and in less when more
//! is waited for than there is, or a queue of frames that stand still would take a second each (while others wait a step is a
//! small one, so that this asks for less than a megabyte a second of whoever is slow); the connections whose
//! frames have stood still for longest are closed until there is room for those who wait. A slow client is told from a
//! hostile one by nothing else: without want of memory both may take their time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::{Permit, Semaphore};
use reactor::{Instant, Shutdown, TcpStream};
use tracing::info;

use super::log_pace::LogPace;
use crate::limits;
use crate::metrics::{BudgetSnapshot, Count, Level};

/// What a frame may be charged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of frames up to [`limits::FRAME_SMALL_BYTES`].
    SmallBytes,
    Bytes,
    LargeSlots,
    CompletionSlots,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::SmallBytes, Kind::Bytes, Kind::LargeSlots, Kind::CompletionSlots];
}

/// One kind of what there is only so much of.
struct Pool {
    permits: Semaphore,
    total: u64,
    /// What those who wait ask for.
    wanted: Cell<u64>,
    /// When connections that stand still were looked for: one look serves all who wait.
    looked: Cell<Option<Instant>>,
}

impl Pool {
    fn new(permits: u64) -> Pool {
        Pool {
            permits: Semaphore::new(permits),
            total: permits,
            wanted: Cell::new(0),
            looked: Cell::new(None),
        }
    }

    /// How long a frame may stand still now.
    fn stall(&self) -> Duration {
        let shared =
            limits::FRAME_STALL.mul_f64(self.total as f64 / self.wanted.get().max(self.total) as f64);
        shared.max(limits::FRAME_STALL_MIN)
    }
}

/// Bytes that frames are charged with; what completion slots may take beyond is set aside.
const CHARGED_BYTES_MAX: u64 = (limits::REQUEST_BYTES_MAX
    - limits::REQUEST_SMALL_BYTES_MAX
    - limits::FRAME_COMPLETION_SLOTS * limits::FRAME_LARGE_BYTES) as u64;

/// The request memory of one shard.
pub struct RequestBudget {
    small_bytes: Pool,
    bytes: Pool,
    large_slots: Pool,
    completion_slots: Pool,
    waiters: Level,
    readers: RefCell<BTreeMap<u64, Rc<Reader>>>,
    next_reader: Cell<u64>,
    evicted: Count,
    log_pace: LogPace,
}

impl Default for RequestBudget {
    fn default() -> Self {
        RequestBudget {
            small_bytes: Pool::new(limits::REQUEST_SMALL_BYTES_MAX as u64),
            bytes: Pool::new(CHARGED_BYTES_MAX),
            large_slots: Pool::new(limits::FRAME_LARGE_SLOTS as u64),
            completion_slots: Pool::new(limits::FRAME_COMPLETION_SLOTS as u64),
            waiters: Level::default(),
            readers: RefCell::default(),
            next_reader: Cell::new(0),
            evicted: Count::default(),
            log_pace: LogPace::default(),
        }
    }
}

/// One connection as the budget sees it.
struct Reader {
    stream: Rc<TcpStream>,
    peer: SocketAddr,
    /// Since when a step of a frame is awaited from the client; `None` when the client is not waited for.
    awaited: Cell<Option<Instant>>,
    /// What the frame that is being read holds, by [`Kind`].
    held: [Cell<u64>; Kind::ALL.len()],
    closing: Cell<bool>,
}

/// A connection's part in the budget, given up on drop.
pub struct Share {
    budget: Rc<RequestBudget>,
    id: u64,
    reader: Rc<Reader>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.readers.borrow_mut().remove(&self.id);
    }
}

/// What a frame is charged with until it is dropped.
#[derive(Default)]
pub struct Charge {
    _first: Option<Permit>,
    /// Of a frame that is charged step by step.
    more: Vec<Permit>,
    /// Bytes that may arrive before more must be charged.
    paid: usize,
}

impl RequestBudget {
    /// A share for one connection.
    pub fn share(self: &Rc<Self>, stream: Rc<TcpStream>, peer: SocketAddr) -> Share {
        let id = self.next_reader.get();
        self.next_reader.set(id + 1);
        let reader = Rc::new(Reader {
            stream,
            peer,
            awaited: Cell::new(None),
            held: Default::default(),
            closing: Cell::new(false),
        });
        self.readers.borrow_mut().insert(id, reader.clone());
        Share { budget: self.clone(), id, reader }
    }

    /// How much of it is in use.
    pub fn snapshot(&self) -> BudgetSnapshot {
        let limit_bytes = limits::REQUEST_BYTES_MAX as u64;
        let slots = limits::FRAME_COMPLETION_SLOTS as u64 - self.completion_slots.permits.available();
        let charged_bytes = CHARGED_BYTES_MAX - self.bytes.permits.available();
        let small_bytes = self.small_bytes.total - self.small_bytes.permits.available();
        let used_bytes = small_bytes + charged_bytes + slots * limits::FRAME_LARGE_BYTES as u64;
        BudgetSnapshot { limit_bytes, used_bytes, waiters: self.waiters.get(), evicted: self.evicted.get() }
    }

    fn pool(&self, kind: Kind) -> &Pool {
        match kind {
            Kind::SmallBytes => &self.small_bytes,
            Kind::Bytes => &self.bytes,
            Kind::LargeSlots => &self.large_slots,
            Kind::CompletionSlots => &self.completion_slots,
        }
    }

    async fn take(&self, kind: Kind, count: u64) -> Permit {
        let pool = self.pool(kind);
        if let Some(permit) = pool.permits.try_acquire(count) {
            return permit;
        }
        let _waiting = self.waiters.enter();
        let _wanted = Wanted::new(&pool.wanted, count);
        let mut permit = std::pin::pin!(pool.permits.acquire(count));
        loop {
            self.evict(kind);
            if let Ok(permit) = reactor::timeout(limits::FRAME_STALL_MIN / 2, permit.as_mut()).await {
                return permit;
            }
        }
    }

    /// Closes connections whose frames stand still, those that have for longest first, until those who wait for this
    /// kind have room.
    fn evict(&self, kind: Kind) {
        let now = reactor::now();
        let pool = self.pool(kind);
        if pool.looked.get().is_some_and(|looked| now.since(looked) < limits::FRAME_STALL_MIN / 4) {
            return;
        }
        pool.looked.set(Some(now));
        let stall = pool.stall();
        let readers = self.readers.borrow();
        let still = |reader: &&Rc<Reader>| {
            reader.held[kind as usize].get() > 0
                && reader.awaited.get().is_some_and(|since| now.since(since) >= stall)
        };
        let mut still: Vec<&Rc<Reader>> = readers.values().filter(still).collect();
        still.sort_unstable_by_key(|reader| reader.awaited.get());
        let mut missing = pool.wanted.get().saturating_sub(pool.permits.available());
        for reader in still {
            if missing == 0 {
                return;
            }
            missing = missing.saturating_sub(reader.held[kind as usize].get());
            if !reader.closing.replace(true) {
                self.evicted.add(1);
                let held_bytes =
                    reader.held[Kind::SmallBytes as usize].get() + reader.held[Kind::Bytes as usize].get();
                if self.log_pace.allows() {
                    info!(peer = %reader.peer, held_bytes, "connection closed: its request stood still while others waited for memory");
                }
                // Its task ends with the stream and gives back what it holds.
                let _ = reader.stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// What one who waits asks for.
struct Wanted<'a>(&'a Cell<u64>, u64);

impl<'a> Wanted<'a> {
    fn new(sum: &'a Cell<u64>, count: u64) -> Self {
        sum.set(sum.get() + count);
        Wanted(sum, count)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - self.1);
    }
}

impl Share {
    /// Waits until a frame of `len` bytes may be read, or its first step. The client is not waited for meanwhile.
    pub async fn begin(&self, len: usize) -> Charge {
        self.pause();
        let budget = &self.budget;
        if len > limits::FRAME_LARGE_BYTES {
            let slot = self.take(Kind::LargeSlots, 1).await;
            return Charge { _first: Some(slot), paid: len, ..Charge::default() };
        }
        if len <= limits::FRAME_SMALL_BYTES {
            let bytes = self.take(Kind::SmallBytes, len as u64).await;
            return Charge { _first: Some(bytes), paid: len, ..Charge::default() };
        }
        let plenty = budget.bytes.permits.available() >= CHARGED_BYTES_MAX / 2;
        let paid = if plenty { len } else { limits::FRAME_STEP_BYTES.min(len) };
        let first = self.take(Kind::Bytes, paid as u64).await;
        Charge { _first: Some(first), paid, ..Charge::default() }
    }

    /// Waits until a frame of `len` bytes, of which `have` are there, may go on; answers for how many bytes.
    pub async fn go_on(&self, charge: &mut Charge, have: usize, len: usize) -> usize {
        while have >= charge.paid && charge.paid < len {
            self.pause();
            let step = limits::FRAME_STEP_BYTES.min(len - charge.paid);
            if let Some(permit) = self.budget.bytes.permits.try_acquire(step as u64) {
                self.hold(Kind::Bytes, step as u64);
                charge.more.push(permit);
                charge.paid += step;
            } else {
                charge.more.push(self.take(Kind::CompletionSlots, 1).await);
                charge.paid = len;
            }
        }
        self.reader.awaited.set(Some(reactor::now()));
        // While others wait, it is seen sooner whether this one goes on.
        let contended = self.budget.waiters.get() > 0;
        let most = if contended { limits::FRAME_STEP_BYTES } else { limits::FRAME_RECEIVE_BYTES };
        (charge.paid - have).min(most)
    }

    /// The frame is there, or will never be: what it was charged with is no longer this connection's to give back.
    pub fn end(&self) {
        self.pause();
        for held in &self.reader.held {
            held.set(0);
        }
    }

    fn pause(&self) {
        self.reader.awaited.set(None);
    }

    fn hold(&self, kind: Kind, count: u64) {
        let held = &self.reader.held[kind as usize];
        held.set(held.get() + count);
    }

    async fn take(&self, kind: Kind, count: u64) -> Permit {
        let permit = self.budget.take(kind, count).await;
        self.hold(kind, count);
        permit
    }
}
