//! Bytes in several places that one operation sends or writes.

use bytes::{Buf, Bytes};

/// The parts, and what tells the kernel where they are.
pub(crate) struct Parts {
    list: Vec<Bytes>,
    vectors: Vec<libc::iovec>,
}

impl Parts {
    pub(crate) fn new(mut list: Vec<Bytes>) -> Self {
        list.retain(|part| !part.is_empty());
        Self { list, vectors: Vec::new() }
    }

    /// True if nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[cfg(feature = "simulator")]
    pub(crate) fn list(&self) -> &[Bytes] {
        &self.list
    }

    /// Where the first parts are, at most so many. True as long as they are not changed, wherever `self` moves.
    pub(crate) fn vectors(&mut self, most: usize) -> &mut [libc::iovec] {
        self.vectors.clear();
        let first = self.list.iter().take(most);
        let vector =
            |part: &Bytes| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        self.vectors.extend(first.map(vector));
        &mut self.vectors
    }

    /// Drops the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        let mut left = count;
        let whole = self.list.iter().take_while(|part| {
            let taken = part.len() <= left;
            if taken {
                left -= part.len();
            }
            taken
        });
        let whole = whole.count();
        self.list.drain(..whole);
        if let Some(first) = self.list.first_mut() {
            first.advance(left);
        }
    }
}
