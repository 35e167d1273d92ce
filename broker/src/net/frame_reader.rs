//! Frames from a connection: a four-byte length, then so many bytes.
//!
//! What is read is charged to the shard's request budget before ([`crate::shard::budget`]). Charging is not allocating:
//! memory is touched as bytes arrive. Small frames are copied out of the
//! reactor's provided buffers, so an idle connection owns no buffer; the rest of a larger frame is received
//! straight into the buffer that its records are later staged from.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use reactor::{PoolBuffer, TcpStream};

use crate::limits;
use crate::net::bulk;
use crate::shard::budget::{Charge, Share};
use crate::shard::shard::Shard;

/// A frame without its length prefix, and the memory it is charged with until it is dropped.
pub struct Frame {
    /// The bytes after the length prefix.
    pub bytes: Bytes,
    /// Given back to the shard's request budget on drop.
    pub charge: Charge,
}

/// Why no further frame comes.
#[derive(Debug)]
pub enum FrameError {
    /// The peer closed between two frames.
    Closed,
    /// The peer closed, or the connection broke, inside a frame.
    Io(std::io::Error),
    /// A zero, negative or too large length.
    Length(i32),
}

/// Reads frames of one connection.
pub struct FrameReader {
    stream: Rc<TcpStream>,
    /// Bytes that arrived behind the last frame.
    pending: BytesMut,
    frame_bytes_max: usize,
    share: Share,
    shard: Rc<Shard>,
}

impl FrameReader {
    /// `frame_bytes_max` is `socket.request.max.bytes`.
    pub fn new(stream: Rc<TcpStream>, share: Share, frame_bytes_max: usize, shard: Rc<Shard>) -> FrameReader {
        FrameReader { stream, pending: BytesMut::new(), frame_bytes_max, share, shard }
    }

    /// The next frame, or why there is none. `progress` is called when bytes of it have arrived.
    pub async fn next(&mut self, progress: impl Fn()) -> Result<Frame, FrameError> {
        while self.pending.len() < 4 {
            if !self.pending.is_empty() {
                progress();
            }
            self.receive_some().await?;
        }
        progress();
        let claimed =
            i32::from_be_bytes([self.pending[0], self.pending[1], self.pending[2], self.pending[3]]);
        let Some(len) = usize::try_from(claimed).ok().filter(|len| *len > 0 && *len <= self.frame_bytes_max)
        else {
            return Err(FrameError::Length(claimed));
        };
        let mut charge = self.share.begin(len).await;
        self.pending.advance(4);
        let bytes = self.body(len, &mut charge, progress).await;
        self.share.end();
        Ok(Frame { bytes: bytes?, charge })
    }

    async fn body(
        &mut self,
        len: usize,
        charge: &mut Charge,
        progress: impl Fn(),
    ) -> Result<Bytes, FrameError> {
        if self.pending.len() < len && len <= limits::FRAME_SMALL_BYTES {
            self.share.go_on(charge, self.pending.len(), len).await;
            while self.pending.len() < len {
                self.receive_some().await?;
            }
        }
        if self.pending.len() >= len {
            let frame = self.pending.split_to(len).freeze();
            if self.pending.is_empty() {
                self.pending = BytesMut::new();
            }
            return Ok(frame);
        }
        let mut body = self.shard.frames.take(len).unwrap_or_else(|| PoolBuffer::plain(len));
        body.extend_from_slice(&self.pending);
        self.pending = BytesMut::new();
        while body.len() < len {
            let step = self.share.go_on(charge, body.len(), len).await;
            let receive = self.stream.recv_into(body, step);
            let (result, filled) = bulk::begin(&self.shard.bulk_receives, step, receive).await;
            body = filled;
            if result.map_err(FrameError::Io)? < step {
                return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            progress();
        }
        if body.len() > len {
            self.pending = BytesMut::from(&body[len..]);
        }
        Ok(body.give(len))
    }

    async fn receive_some(&mut self) -> Result<(), FrameError> {
        let received = self.stream.recv().await.map_err(FrameError::Io)?;
        if !received.is_empty() {
            self.pending.extend_from_slice(&received);
            return Ok(());
        }
        if self.pending.is_empty() {
            Err(FrameError::Closed)
        } else {
            Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()))
        }
    }
}
