//! The bound on what one thread has written and nobody has acknowledged.

use std::cell::Cell;

use reactor::sync::Notify;

/// Bytes of values handed to a thread's lanes and not yet acknowledged.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: Cell<usize>,
    shrunk: Notify,
    failed: Cell<bool>,
}

impl Backlog {
    /// Whether less than `limit` bytes wait; `None` when a lane has failed and the run is over.
    pub(crate) fn is_below(&self, limit: usize) -> Option<bool> {
        (!self.failed.get()).then(|| self.bytes.get() < limit)
    }

    /// Waits for the next acknowledgement or failure.
    pub(crate) async fn changed(&self) {
        self.shrunk.notified().await;
    }

    pub(crate) fn grow(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes as usize);
    }

    pub(crate) fn shrink(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() - bytes as usize);
        self.shrunk.notify_all();
    }

    /// The run is over: nobody waits any longer.
    pub(crate) fn fail(&self) {
        self.failed.set(true);
        self.shrunk.notify_all();
    }
}
