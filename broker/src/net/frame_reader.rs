//! Frames from a connection: a four-byte length, then so many bytes.
//!
//! What is read is charged to the shard's request budget before ([`crate::shard::budget`]). Charging is not allocating:
//! memory is touched as bytes arrive. Small frames are copied out of the reactor's provided buffers, so an idle connection
//! owns no buffer. The rest of a larger frame is received straight into a block of the shard's pool, from which its records
//! are later staged, and so is what has arrived behind it: a client that sends large frames one behind the other has them
//! received and laid down one behind the other, without a copy.

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
    /// The same, behind a large frame: never empty, and then nothing is pending.
    block: Option<PoolBuffer>,
    frame_bytes_max: usize,
    share: Share,
    shard: Rc<Shard>,
}

impl FrameReader {
    /// `frame_bytes_max` is `socket.request.max.bytes`.
    pub fn new(stream: Rc<TcpStream>, share: Share, frame_bytes_max: usize, shard: Rc<Shard>) -> FrameReader {
        FrameReader { stream, pending: BytesMut::new(), block: None, frame_bytes_max, share, shard }
    }

    /// The next frame, or why there is none. `progress` is called when bytes of it have arrived.
    pub async fn next(&mut self, progress: impl Fn()) -> Result<Frame, FrameError> {
        if let Some(block) = self.block.take_if(|block| block.len() < 4) {
            self.pending.extend_from_slice(&block);
        }
        while self.block.is_none() && self.pending.len() < 4 {
            if !self.pending.is_empty() {
                progress();
            }
            self.receive_some().await?;
        }
        progress();
        let prefix = self.block.as_deref().unwrap_or(&self.pending);
        let claimed = i32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        let Some(len) = usize::try_from(claimed).ok().filter(|len| *len > 0 && *len <= self.frame_bytes_max)
        else {
            return Err(FrameError::Length(claimed));
        };
        let mut charge = self.share.begin(len).await;
        let bytes = if let Some(mut block) = self.block.take() {
            block.skip(4);
            self.body_in(block, len, &mut charge, progress).await
        } else {
            self.pending.advance(4);
            self.body(len, &mut charge, progress).await
        };
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
        let mut body = self.block(len);
        body.extend_from_slice(&self.pending);
        self.pending = BytesMut::new();
        self.receive_rest(body, len, charge, progress).await
    }

    /// The body of a frame that begins in a block, behind another. What lies there already may be more than is charged for: it
    /// is the pool's, which is bounded.
    async fn body_in(
        &mut self,
        mut block: PoolBuffer,
        len: usize,
        charge: &mut Charge,
        progress: impl Fn(),
    ) -> Result<Bytes, FrameError> {
        if len <= limits::FRAME_SMALL_BYTES {
            // It may wait for long, and must not keep the block.
            let here = len.min(block.len());
            self.pending.extend_from_slice(&block[..here]);
            block.skip(here);
            if here == len {
                let frame = std::mem::take(&mut self.pending).freeze();
                self.keep(block);
                return Ok(frame);
            }
            drop(block);
            return self.body(len, charge, progress).await;
        }
        if block.capacity() < len {
            let mut larger = self.block(len);
            larger.extend_from_slice(&block);
            block = larger;
        }
        self.receive_rest(block, len, charge, progress).await
    }

    /// Memory for a frame, with room for what comes behind it if it is the pool's.
    fn block(&self, len: usize) -> PoolBuffer {
        let pooled = if len <= limits::FRAME_BUFFER_BYTES {
            self.shard.frames.take(limits::FRAME_BUFFER_BYTES)
        } else {
            None
        };
        pooled.unwrap_or_else(|| PoolBuffer::plain(len))
    }

    /// Keeps what has arrived behind a frame.
    fn keep(&mut self, block: PoolBuffer) {
        self.block = (!block.is_empty()).then_some(block);
    }

    async fn receive_rest(
        &mut self,
        mut body: PoolBuffer,
        len: usize,
        charge: &mut Charge,
        progress: impl Fn(),
    ) -> Result<Bytes, FrameError> {
        while body.len() < len {
            let step = self.share.go_on(charge, body.len(), len).await;
            // Also of what comes behind the frame no more is copied than this step may.
            body.leave_room(if step < limits::BULK_BYTES {
                limits::BULK_BYTES
            } else {
                limits::FRAME_RECEIVE_BYTES
            });
            let receive = self.stream.recv_into(body, step);
            let (result, filled) = bulk::begin(&self.shard.bulk_receives, step, receive).await;
            body = filled;
            body.leave_room(usize::MAX);
            if result.map_err(FrameError::Io)? < step {
                return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            progress();
        }
        let frame = body.give(len);
        self.keep(body);
        Ok(frame)
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
