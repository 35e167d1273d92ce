//! The bound on what one thread has written and nobody has acknowledged.

use std::cell::Cell;

use reactor::sync::Notify;

/// Records, and bytes of their values, handed to a thread's lanes and not yet acknowledged.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: Cell<usize>,
    records: Cell<u64>,
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

    /// Whether nothing waits; `None` as for [`Backlog::is_below`].
    pub(crate) fn is_empty(&self) -> Option<bool> {
        (!self.failed.get()).then(|| self.records.get() == 0)
    }

    pub(crate) fn grow(&self, records: u64, bytes: u64) {
        self.records.set(self.records.get() + records);
        self.bytes.set(self.bytes.get() + bytes as usize);
    }

    pub(crate) fn shrink(&self, records: u64, bytes: u64) {
        self.records.set(self.records.get() - records);
        self.bytes.set(self.bytes.get() - bytes as usize);
        self.shrunk.notify_all();
    }

    /// The run is over: nobody waits any longer.
    pub(crate) fn fail(&self) {
        self.failed.set(true);
        self.shrunk.notify_all();
    }
}
