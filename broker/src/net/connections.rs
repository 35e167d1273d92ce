//! The connections of one shard: counted, and closed when idle or stuck inside a frame.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Shutdown, TcpStream};
use tracing::info;

use crate::handlers::Context;
use crate::limits;
use crate::metrics::Closed;
use crate::shard::shard::Shard;

/// What the sweep needs to know of a connection.
pub struct Activity {
    stream: Rc<TcpStream>,
    peer: SocketAddr,
    last: Cell<Instant>,
    /// Set while a frame has begun and not ended.
    frame_since: Cell<Option<Instant>>,
    /// Requests that were read and not yet answered: such a connection is not idle.
    in_flight: Cell<usize>,
    /// It was told to end.
    closing: Cell<bool>,
}

impl Activity {
    /// Bytes of a frame are arriving.
    pub fn frame_started(&self) {
        let now = reactor::now();
        self.last.set(now);
        if self.frame_since.get().is_none() {
            self.frame_since.set(Some(now));
        }
    }

    /// A whole frame has arrived.
    pub fn frame_read(&self) {
        self.frame_since.set(None);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// A request was answered, or needs no answer.
    pub fn answered(&self) {
        self.last.set(reactor::now());
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Requests that were read and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }
}

/// All open connections of a shard.
#[derive(Default)]
pub struct Connections {
    open: RefCell<BTreeMap<u64, Rc<Activity>>>,
    next: Cell<u64>,
    stopping: Cell<bool>,
}

/// Membership in [`Connections`], given up on drop.
pub struct Registered {
    all: Rc<Connections>,
    id: u64,
    /// What the connection reports.
    pub activity: Rc<Activity>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.id);
    }
}

impl Connections {
    /// Adds a connection until the returned guard is dropped.
    pub fn register(self: &Rc<Self>, stream: Rc<TcpStream>, peer: SocketAddr) -> Registered {
        let id = self.next.get();
        self.next.set(id + 1);
        let activity = Rc::new(Activity {
            stream,
            peer,
            last: Cell::new(reactor::now()),
            frame_since: Cell::new(None),
            in_flight: Cell::new(0),
            closing: Cell::new(false),
        });
        self.open.borrow_mut().insert(id, activity.clone());
        Registered { all: self.clone(), id, activity }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// No further request is read from any connection; what was read is answered.
    pub fn stop_reading(&self) {
        self.stopping.set(true);
        for activity in self.open.borrow().values() {
            let _ = activity.stream.shutdown(Shutdown::Read);
        }
    }

    /// Whether requests are no longer read.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether any connection still has a request without its answer.
    pub fn any_in_flight(&self) -> bool {
        self.open.borrow().values().any(|activity| activity.in_flight() > 0)
    }

    /// Shuts every connection down; their tasks end by themselves.
    pub fn close_all(&self) {
        for activity in self.open.borrow().values() {
            // It may have gone by itself.
            let _ = activity.stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes connections that were silent for `idle_max` or that sit inside a frame without progress.
    fn close_idle(&self, shard: &Shard, idle_max: Duration) {
        let now = reactor::now();
        for activity in self.open.borrow().values() {
            let silent = now.since(activity.last.get());
            let stuck = activity.frame_since.get().is_some()
                && silent >= Duration::from_secs(limits::FRAME_PROGRESS_SECONDS);
            if stuck || (silent >= idle_max && activity.in_flight() == 0) {
                // Until its task has seen the end it is found again.
                if !activity.closing.replace(true) {
                    shard.metrics.closed(if stuck { Closed::Stuck } else { Closed::Idle });
                    if shard.log_pace.allows() {
                        info!(peer = %activity.peer, silent_s = silent.as_secs(), stuck, "idle connection closed");
                    }
                }
                let _ = activity.stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// Looks for idle connections from time to time: one is closed when it was silent for half as long again, or 5 s longer than it
/// may be. Never ends.
pub async fn sweep(context: Rc<Context>, connections: Rc<Connections>, idle_max: Duration) {
    let every = (idle_max / 2).clamp(limits::IDLE_SWEEP_MIN, limits::IDLE_SWEEP_MAX);
    loop {
        reactor::sleep(every).await;
        connections.close_idle(&context.shard, idle_max);
    }
}
