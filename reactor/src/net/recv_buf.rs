//! Received bytes in a buffer of the reactor's pool.

use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;

use crate::executor;
use crate::ring::ops::{Completion, Keep};
use crate::ring::recv_buffers::RecvBuffers;

/// Received bytes. The buffer behind them returns to the reactor's pool when this is dropped.
pub struct RecvBuf {
    bytes: Received,
}

enum Received {
    Nothing,
    Pooled { pool: Rc<RecvBuffers>, bid: u16, count: usize },
    Copied(Bytes),
}

impl RecvBuf {
    pub(super) fn from_completion(completion: Completion) -> Self {
        let count = completion.result as usize;
        let bytes = match (completion.keep, io_uring::cqueue::buffer_select(completion.flags)) {
            (Keep::Received(bytes), _) => Received::Copied(bytes),
            (_, Some(bid)) => {
                let pool = executor::with(|reactor| reactor.driver().recv_buffers().clone());
                Received::Pooled { pool, bid, count }
            }
            _ => Received::Nothing,
        };
        Self { bytes }
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Received::Nothing => &[],
            Received::Pooled { pool, bid, count } => pool.slice(*bid, *count),
            Received::Copied(bytes) => bytes,
        }
    }
}

impl Drop for RecvBuf {
    fn drop(&mut self) {
        if let Received::Pooled { pool, bid, .. } = &self.bytes {
            pool.give_back(*bid);
        }
    }
}
