//! zstd, on a decompression context that the thread keeps: making one costs more than a small batch does.

use std::cell::RefCell;

use ::zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{Codec, Piece};
use crate::kafka::record_batch::BatchError;
use crate::limits::{ZSTD_CONTEXT_BYTES_KEPT_MAX, ZSTD_WINDOW_LOG_MAX};

thread_local! {
    /// The context of the last stream of this thread.
    static IDLE: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

fn broken(reason: &'static str) -> BatchError {
    BatchError::Compressed { codec: Codec::Zstd, reason }
}

/// The frames of a stream.
pub(super) struct Frames<'a> {
    /// Always there until it is dropped.
    context: Option<DCtx<'static>>,
    rest: &'a [u8],
    /// The last frame has not ended, or not all of it was given out.
    in_frame: bool,
}

impl<'a> Frames<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, BatchError> {
        let idle = IDLE.with(|idle| idle.borrow_mut().take());
        let mut context = idle.or_else(DCtx::try_create).ok_or(broken("no memory for a context"))?;
        context
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)))
            .map_err(|_| broken("its context cannot be set"))?;
        Ok(Self { context: Some(context), rest: input, in_frame: false })
    }

    /// Up to `chunk` bytes at the start of the buffer; 0 at the end.
    pub(super) fn next(&mut self, piece: &mut Piece, chunk: usize) -> Result<usize, BatchError> {
        let Some(context) = &mut self.context else { return Ok(0) };
        let mut output = OutBuffer::around(piece.room(chunk));
        while self.in_frame || !self.rest.is_empty() {
            let mut input = InBuffer::around(self.rest);
            let hint = context
                .decompress_stream(&mut output, &mut input)
                .map_err(|_| broken("its bytes are corrupt"))?;
            let consumed = input.pos();
            self.rest = &self.rest[consumed..];
            self.in_frame = hint != 0;
            if output.pos() > 0 {
                break;
            }
            if consumed == 0 && (self.in_frame || !self.rest.is_empty()) {
                return Err(broken("it ends early"));
            }
        }
        Ok(output.pos())
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        if let Some(context) =
            self.context.take().filter(|context| context.sizeof() <= ZSTD_CONTEXT_BYTES_KEPT_MAX)
        {
            // While a thread ends there is nowhere to keep it.
            let _ = IDLE.try_with(|idle| idle.replace(Some(context)));
        }
    }
}
