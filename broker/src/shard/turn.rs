//! A turn of the reactor as `wire` knows it: how long work over many bytes or elements lets others of the shard run.

use wire::kafka::message::Pace;

use crate::limits;

/// Looks at the clock after so many bytes.
#[derive(Debug)]
pub struct Turn {
    left: usize,
}

impl Default for Turn {
    fn default() -> Turn {
        Turn { left: limits::ENCODE_STEP_BYTES }
    }
}

impl Pace for Turn {
    #[inline]
    fn is_due(&mut self, bytes: usize) -> bool {
        if let Some(left) = self.left.checked_sub(bytes) {
            self.left = left;
            return false;
        }
        self.left = limits::ENCODE_STEP_BYTES;
        reactor::should_yield()
    }

    async fn pause(&mut self) {
        reactor::yield_now().await;
    }
}
