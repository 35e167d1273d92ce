//! Memory that requests in flight may hold on a shard.

use reactor::sync::{Permit, Semaphore};

use crate::limits;

/// The request bytes of one shard. Frames above [`limits::FRAME_LARGE_BYTES`] share slots of their own, so that
/// half-read giants neither fill memory, nor block each other for ever, nor starve small requests.
pub struct RequestBudget {
    bytes: Semaphore,
    large_slots: Semaphore,
}

impl Default for RequestBudget {
    fn default() -> Self {
        RequestBudget {
            bytes: Semaphore::new(limits::REQUEST_BYTES_MAX as u64),
            large_slots: Semaphore::new(limits::FRAME_LARGE_SLOTS as u64),
        }
    }
}

impl RequestBudget {
    /// Waits, first come first served, until a frame of `len` bytes may be read.
    pub async fn reserve(&self, len: usize) -> Permit {
        if len > limits::FRAME_LARGE_BYTES {
            self.large_slots.acquire(1).await
        } else {
            self.bytes.acquire(len as u64).await
        }
    }
}
