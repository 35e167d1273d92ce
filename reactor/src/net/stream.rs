//! Connections.
//!
//! A stream may be used by one receiver and one sender at a time, which may be different tasks (share it in an `Rc`).
//! Dropping it shuts the connection down in both directions, so the peer sees its end even while the kernel still works
//! on an operation.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::RecvBuf;
use crate::executor;
use crate::file::SharedFile;
use crate::pool_buffer::{PoolBuffer, ReceiveBuffer};
use crate::ring::net::{SendParts, Socket};
use crate::ring::ops::{Completion, Keep, Op, OpId};
use crate::ring::send_file;
use crate::sys::outcome;

/// A TCP connection.
pub struct TcpStream {
    socket: Rc<Socket>,
    /// A receive that the kernel has and for which nobody waits at the moment.
    receiving: Cell<Option<OpId>>,
    receiver_waits: Cell<bool>,
    /// The last receive emptied the socket.
    emptied: Cell<bool>,
    /// A send ended in the middle: what follows would not be understood.
    send_broken: Cell<bool>,
}

impl TcpStream {
    pub(super) fn new(socket: Rc<Socket>) -> Self {
        Self {
            socket,
            receiving: Cell::new(None),
            receiver_waits: Cell::new(false),
            emptied: Cell::new(false),
            send_broken: Cell::new(false),
        }
    }

    /// Connects to an address.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = Rc::new(Socket::open(&address)?);
        let operation = executor::with(|reactor| reactor.driver().connect(&socket, address));
        outcome(operation.await.result)?;
        Ok(Self::new(socket))
    }

    /// Receives some bytes into a buffer that is taken from the reactor's pool when they have come, and returned to it
    /// when the result is dropped; keep it no longer than it takes to look at it. Empty: the peer sends no more.
    ///
    /// Dropping the future loses no bytes.
    ///
    /// # Errors
    /// `ResourceBusy` if another task receives from this stream now; else the socket's.
    pub async fn recv(&self) -> io::Result<RecvBuf> {
        let _waiting = ReceiverWaits::new(&self.receiver_waits)?;
        let mut turn = None;
        loop {
            let operation = match self.receiving.take() {
                Some(id) => Op::resume(id),
                None => executor::with(|reactor| reactor.driver().receive(&self.socket, self.emptied.get())),
            };
            let mut waiting = Parking { stream: self, operation };
            let completion =
                std::future::poll_fn(|context| std::pin::Pin::new(&mut waiting.operation).poll(context))
                    .await;
            match completion.result {
                result if result >= 0 => {
                    self.emptied.set(result > 0 && !io_uring::cqueue::sock_nonempty(completion.flags));
                    return Ok(RecvBuf::from_completion(completion));
                }
                error if error == -libc::ENOBUFS => {
                    let buffers = executor::with(|reactor| reactor.driver().recv_buffers().clone());
                    drop(turn.replace(buffers.wait().await));
                }
                error if error == -libc::EAGAIN || error == -libc::EINTR => self.emptied.set(true),
                error => return Err(io::Error::from_raw_os_error(-error)),
            }
        }
    }

    /// Receives behind the bytes that `buffer` holds, into its spare capacity, until at least `at_least` bytes have come or
    /// the peer sends no more. Returns how many came and the buffer.
    ///
    /// Dropping the future loses bytes: the connection is of no use then.
    ///
    /// # Errors
    /// `InvalidInput` if the spare capacity is smaller than `at_least` or none; `ResourceBusy` as for [`recv`](Self::recv).
    pub async fn recv_into<B: ReceiveBuffer>(&self, buffer: B, at_least: usize) -> (io::Result<usize>, B) {
        let (result, buffer) = self.receive_into(buffer.into_pool_buffer(), at_least).await;
        (result, B::from_pool_buffer(buffer))
    }

    async fn receive_into(&self, buffer: PoolBuffer, at_least: usize) -> (io::Result<usize>, PoolBuffer) {
        let spare = buffer.capacity() - buffer.len();
        if spare == 0 || spare < at_least {
            return (
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the buffer has too little room")),
                buffer,
            );
        }
        let mut buffer = buffer;
        let mut count = 0;
        if let Some(id) = self.receiving.take() {
            // An earlier `recv` was dropped while the kernel had it. What it receives comes first.
            self.receiving.set(Some(id));
            match self.recv().await {
                Ok(received) => {
                    // If it does not fit the rest would be lost: the caller's buffer grows instead.
                    let fits = received.len() <= buffer.capacity() - buffer.len();
                    buffer.reserve(received.len());
                    count = received.len();
                    buffer.extend_from_slice(&received);
                    if !fits || count == 0 || count >= at_least {
                        return (Ok(count), buffer);
                    }
                }
                Err(error) => return (Err(error), buffer),
            }
        }
        let _waiting = match ReceiverWaits::new(&self.receiver_waits) {
            Ok(waiting) => waiting,
            Err(error) => return (Err(error), buffer),
        };
        loop {
            let operation = executor::with(|reactor| reactor.driver().receive_into(&self.socket, buffer));
            let Completion { result, keep, .. } = operation.await;
            let Keep::ReceiveInto(_, back) = keep else { panic!("a receive gives its buffer back") };
            buffer = back;
            match outcome(result) {
                Ok(0) => return (Ok(count), buffer),
                Ok(received) => {
                    // SAFETY: the kernel has written this many bytes behind the buffer's length.
                    unsafe { buffer.filled(received) };
                    count += received;
                    if count >= at_least {
                        return (Ok(count), buffer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    /// Sends all parts, in order.
    ///
    /// If the future is dropped before its end, some of it may be sent; later sends are refused.
    ///
    /// # Errors
    /// `BrokenPipe` after a send that did not end; else the socket's.
    pub async fn send(&self, mut parts: Vec<Bytes>) -> io::Result<()> {
        let mut sending = Sending::new(self)?;
        if parts.len() == 1
            && let Some(data) = parts.pop()
        {
            self.send_one(data).await?;
        } else {
            self.send_many(parts).await?;
        }
        sending.done();
        Ok(())
    }

    async fn send_one(&self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let operation = executor::with(|reactor| reactor.driver().send(&self.socket, data));
            let Completion { result, keep, .. } = operation.await;
            let Keep::Send(_, back) = keep else { panic!("a send gives its data back") };
            data = back;
            bytes::Buf::advance(&mut data, self.sent(result).await?);
        }
        Ok(())
    }

    async fn send_many(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let mut parts = Box::new(SendParts::new(parts));
        while !parts.parts.is_empty() {
            let operation = executor::with(|reactor| reactor.driver().send_parts(&self.socket, parts));
            let Completion { result, keep, .. } = operation.await;
            let Keep::SendParts(_, back) = keep else { panic!("a send gives its parts back") };
            parts = back;
            parts.parts.advance(self.sent(result).await?);
        }
        Ok(())
    }

    /// The bytes a send took. If it took none because the socket was full, waits until it is not.
    async fn sent(&self, result: i32) -> io::Result<usize> {
        match outcome(result) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = executor::with(|reactor| reactor.driver().writable(&self.socket));
                outcome(writable.await.result).map(|_| 0)
            }
            other => other,
        }
    }

    /// Sends `length` bytes of a file from `position`, without copying them through this process.
    ///
    /// If the future is dropped before its end, some of it may be sent; later sends are refused.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends earlier: what was announced to the peer cannot be kept, close the connection.
    pub async fn send_file(&self, file: &SharedFile, position: u64, length: u64) -> io::Result<()> {
        file.tag().check(crate::faults::FileOp::Read)?;
        let mut sending = Sending::new(self)?;
        send_file::send(&self.socket, file.open_file(), position, length).await?;
        sending.done();
        Ok(())
    }

    /// Sends small packets at once (`TCP_NODELAY`).
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, on.into())
    }

    /// Size of the kernel's send buffer in bytes; the kernel doubles it and bounds it.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.socket.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)
    }

    /// Size of the kernel's receive buffer in bytes; the kernel doubles it and bounds it.
    pub fn set_recv_buffer(&self, bytes: usize) -> io::Result<()> {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.socket.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_address()
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_address()
    }

    /// Ends one or both directions now. Waiting receives and sends end.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shut_down(match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        })
    }
}

/// Which directions of a connection to end.
pub use std::net::Shutdown;

impl Drop for TcpStream {
    fn drop(&mut self) {
        let _ = self.socket.shut_down(libc::SHUT_RDWR);
        if let Some(id) = self.receiving.take()
            && executor::try_with(|reactor| reactor.is_some())
        {
            drop(Op::resume(id)); // which cancels it
        }
    }
}

/// Marks that a task receives.
struct ReceiverWaits<'a>(&'a Cell<bool>);

impl<'a> ReceiverWaits<'a> {
    fn new(waits: &'a Cell<bool>) -> io::Result<Self> {
        if waits.replace(true) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another task receives from this stream",
            ));
        }
        Ok(Self(waits))
    }
}

impl Drop for ReceiverWaits<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A receive that goes back to its stream when its future is dropped.
struct Parking<'a> {
    stream: &'a TcpStream,
    operation: Op,
}

impl Drop for Parking<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.operation.park() {
            self.stream.receiving.set(Some(id));
        }
    }
}

/// A send under way: the stream is broken unless it comes to its end.
struct Sending<'a>(&'a TcpStream);

impl<'a> Sending<'a> {
    fn new(stream: &'a TcpStream) -> io::Result<Self> {
        if stream.send_broken.replace(true) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier send did not end"));
        }
        Ok(Self(stream))
    }

    fn done(&mut self) {
        self.0.send_broken.set(false);
    }
}
