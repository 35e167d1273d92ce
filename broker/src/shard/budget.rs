//! Memory that requests in flight may hold on a shard.

use reactor::sync::{Permit, Semaphore};

use crate::limits;
use crate::metrics::{BudgetSnapshot, Level};

/// The request bytes of one shard. Frames above [`limits::FRAME_LARGE_BYTES`] share slots of their own, so that
/// half-read giants neither fill memory, nor block each other for ever, nor starve small requests.
pub struct RequestBudget {
    bytes: Semaphore,
    large_slots: Semaphore,
    waiters: Level,
}

impl Default for RequestBudget {
    fn default() -> Self {
        RequestBudget {
            bytes: Semaphore::new(limits::REQUEST_BYTES_MAX as u64),
            large_slots: Semaphore::new(limits::FRAME_LARGE_SLOTS as u64),
            waiters: Level::default(),
        }
    }
}

impl RequestBudget {
    /// How much of it is in use.
    pub fn snapshot(&self) -> BudgetSnapshot {
        let limit_bytes = limits::REQUEST_BYTES_MAX as u64;
        let used_bytes = limit_bytes - self.bytes.available();
        BudgetSnapshot { limit_bytes, used_bytes, waiters: self.waiters.get() }
    }

    /// Waits, first come first served, until a frame of `len` bytes may be read.
    pub async fn reserve(&self, len: usize) -> Permit {
        let _waiting = self.waiters.enter();
        if len > limits::FRAME_LARGE_BYTES {
            self.large_slots.acquire(1).await
        } else {
            self.bytes.acquire(len as u64).await
        }
    }
}
