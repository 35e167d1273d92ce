//! Operations on sockets.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use io_uring::{opcode, squeue, types};

use super::file::OpenFile;
use super::ops::{Keep, Op, OpId};
use super::parts::Parts;
use super::pipe::Pipe;
use super::{Driver, recv_buffers};
use crate::limits::{ACCEPT_QUEUE_MAX, SEND_PARTS_MAX};
use crate::pool_buffer::PoolBuffer;
use crate::sync::Notify;
use crate::sys;

/// A socket; closed when its stream or listener and its last operation are gone.
pub(crate) struct Socket {
    descriptor: Option<OwnedFd>,
    /// A simulated network has it.
    #[cfg(feature = "simulator")]
    pub(crate) simulated: Option<crate::sim::net::Endpoint>,
}

impl Socket {
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self {
            descriptor: Some(descriptor),
            #[cfg(feature = "simulator")]
            simulated: None,
        }
    }

    #[cfg(feature = "simulator")]
    pub(crate) fn simulated(endpoint: crate::sim::net::Endpoint) -> Self {
        Self { descriptor: None, simulated: Some(endpoint) }
    }

    /// An unconnected TCP socket of the address' family.
    pub(crate) fn open(address: &SocketAddr) -> io::Result<Self> {
        #[cfg(feature = "simulator")]
        if let Some(endpoint) = crate::sim::net::Endpoint::open() {
            return Ok(Self::simulated(endpoint));
        }
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        let descriptor = sys::check(unsafe { libc::socket(family, kind, 0) }.into())?;
        // SAFETY: just opened, owned by nobody else.
        Ok(Self::new(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn target(&self) -> types::Fd {
        types::Fd(self.raw())
    }

    pub(crate) fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        #[cfg(feature = "simulator")]
        if self.simulated.is_some() {
            return Ok(());
        }
        let bytes = size_of::<i32>() as libc::socklen_t;
        // SAFETY: `value` is valid for the length given.
        let code = unsafe { libc::setsockopt(self.raw(), level, name, (&raw const value).cast(), bytes) };
        sys::check(code.into()).map(drop)
    }

    pub(crate) fn bind_and_listen(&self, address: &SocketAddr, backlog: i32) -> io::Result<()> {
        #[cfg(feature = "simulator")]
        if let Some(endpoint) = &self.simulated {
            return endpoint.listen(*address);
        }
        let address = SocketAddress::from(*address);
        // SAFETY: pointer and length describe `address`, which outlives the call.
        sys::check(unsafe { libc::bind(self.raw(), address.as_ptr(), address.length) }.into())?;
        // SAFETY: no pointers.
        sys::check(unsafe { libc::listen(self.raw(), backlog) }.into()).map(drop)
    }

    /// `how`: one of libc's `SHUT_*`.
    pub(crate) fn shut_down(&self, how: i32) -> io::Result<()> {
        #[cfg(feature = "simulator")]
        if let Some(endpoint) = &self.simulated {
            endpoint.shut_down(how);
            return Ok(());
        }
        // SAFETY: no pointers.
        sys::check(unsafe { libc::shutdown(self.raw(), how) }.into()).map(drop)
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        #[cfg(feature = "simulator")]
        if let Some(endpoint) = &self.simulated {
            return endpoint.local_address();
        }
        // SAFETY: the function is getsockname, as `ask_address` needs.
        unsafe { self.ask_address(libc::getsockname) }
    }

    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        #[cfg(feature = "simulator")]
        if let Some(endpoint) = &self.simulated {
            return endpoint.peer_address();
        }
        // SAFETY: the function is getpeername, as `ask_address` needs.
        unsafe { self.ask_address(libc::getpeername) }
    }

    /// # Safety
    /// `ask` must be getsockname or getpeername.
    unsafe fn ask_address(
        &self,
        ask: unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32,
    ) -> io::Result<SocketAddr> {
        let mut address = SocketAddress::unset();
        let (storage, length) = ((&raw mut address.storage).cast(), &raw mut address.length);
        // SAFETY: the storage is as long as `length` says, and both outlive the call.
        let answer = unsafe { ask(self.raw(), storage, length) };
        sys::check(answer.into())?;
        address.get()
    }
}

/// A socket address as the kernel has it.
pub(crate) struct SocketAddress {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl SocketAddress {
    fn unset() -> Self {
        // SAFETY: all bytes zero is a valid sockaddr_storage.
        let storage = unsafe { std::mem::zeroed::<libc::sockaddr_storage>() };
        Self { storage, length: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    fn get(&self) -> io::Result<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says what the storage holds; it is large and aligned enough.
                let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not an IP address")),
        }
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> Self {
        let mut this = Self::unset();
        match address {
            SocketAddr::V4(v4) => {
                let place = (&raw mut this.storage).cast::<libc::sockaddr_in>();
                let value = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is large and aligned enough for any address.
                unsafe { place.write(value) };
                this.length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                let place = (&raw mut this.storage).cast::<libc::sockaddr_in6>();
                let value = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.write(value) };
                this.length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        this
    }
}

/// Connections that the kernel has accepted and nobody has taken yet.
pub(crate) struct AcceptQueue {
    listener: Socket,
    accepted: RefCell<VecDeque<io::Result<Socket>>>,
    pub(crate) arrived: Notify,
    /// The multishot accept, while the kernel has it.
    operation: Cell<Option<OpId>>,
    pausing: Cell<bool>,
    closed: Cell<bool>,
}

/// What is to be done when an accept has completed.
pub(crate) struct Accepted {
    pub(crate) queue: Rc<AcceptQueue>,
    /// The queue is full: stop accepting.
    pub(crate) pause: bool,
}

impl AcceptQueue {
    pub(crate) fn new(listener: Socket) -> Self {
        Self {
            listener,
            accepted: RefCell::default(),
            arrived: Notify::new(),
            operation: Cell::new(None),
            pausing: Cell::new(false),
            closed: Cell::new(false),
        }
    }

    pub(crate) fn listener(&self) -> &Socket {
        &self.listener
    }

    /// Says which operation accepts.
    pub(crate) fn armed(&self, operation: Option<OpId>) {
        self.operation.set(operation);
    }

    /// The oldest connection, or the error that ended accepting.
    pub(crate) fn take(&self) -> Option<io::Result<Socket>> {
        self.accepted.borrow_mut().pop_front()
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.operation.get().is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Stops accepting for good. Returns the operation to cancel.
    pub(crate) fn close(&self) -> Option<OpId> {
        self.closed.set(true);
        self.accepted.borrow_mut().clear();
        self.operation.get()
    }

    /// Enters a connection of the simulated network.
    #[cfg(feature = "simulator")]
    pub(crate) fn enter_simulated(&self, socket: Socket) {
        if !self.closed.get() {
            self.accepted.borrow_mut().push_back(Ok(socket));
        }
    }

    /// Enters a completion of the multishot accept. True: it is to be cancelled, for the queue is full.
    pub(crate) fn enter(&self, result: i32, more: bool) -> bool {
        let mut accepted = self.accepted.borrow_mut();
        if result >= 0 {
            // SAFETY: the kernel has just made it for us, and nobody else knows it.
            let descriptor = unsafe { OwnedFd::from_raw_fd(result) };
            if !self.closed.get() {
                accepted.push_back(Ok(Socket::new(descriptor)));
            }
        } else if result != -libc::ECANCELED {
            accepted.push_back(Err(io::Error::from_raw_os_error(-result)));
        }
        if !more {
            self.operation.set(None);
            self.pausing.set(false);
        }
        more && accepted.len() >= ACCEPT_QUEUE_MAX && !self.pausing.replace(true)
    }
}

/// A vectored send: the parts, and the header that points to them.
pub(crate) struct SendParts {
    pub(crate) parts: Parts,
    header: libc::msghdr,
}

impl SendParts {
    pub(crate) fn new(parts: Vec<Bytes>) -> Self {
        // SAFETY: all bytes zero is a valid msghdr.
        let header = unsafe { std::mem::zeroed() };
        Self { parts: Parts::new(parts), header }
    }

    /// Points the header to the first parts, as many as one operation carries.
    fn point(&mut self) {
        let vectors = self.parts.vectors(SEND_PARTS_MAX);
        self.header.msg_iov = vectors.as_mut_ptr();
        self.header.msg_iovlen = vectors.len() as _;
    }
}

impl Driver {
    pub(crate) fn connect(&self, socket: &Rc<Socket>, address: SocketAddr) -> Op {
        let address = Box::new(SocketAddress::from(address));
        let entry = opcode::Connect::new(socket.target(), address.as_ptr(), address.length).build();
        // SAFETY: the address is in a box.
        unsafe { self.start(entry, Keep::Connect(socket.clone(), address)) }
    }

    /// Accepts until told to stop; connections arrive in the queue.
    pub(crate) fn accept(&self, queue: &Rc<AcceptQueue>) {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let entry = opcode::AcceptMulti::new(queue.listener.target()).flags(flags).build();
        // SAFETY: no pointers; the slot keeps the listener open.
        let mut operation = unsafe { self.start(entry, Keep::Accept(queue.clone())) };
        queue.armed(operation.park());
    }

    /// Receives into a provided buffer, whose number comes in the completion's flags. `wait_first`: the socket is known to
    /// be empty, do not try before it is readable.
    pub(crate) fn receive(&self, socket: &Rc<Socket>, wait_first: bool) -> Op {
        const POLL_FIRST: u16 = 1;
        let entry = opcode::Recv::new(socket.target(), std::ptr::null_mut(), 0)
            .buf_group(recv_buffers::GROUP)
            .ioprio(if wait_first { POLL_FIRST } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: no pointers; the kernel takes a buffer of the group.
        unsafe { self.start(entry, Keep::Receive(socket.clone())) }
    }

    /// Receives into the spare capacity of a buffer, which must have some.
    pub(crate) fn receive_into(&self, socket: &Rc<Socket>, mut buffer: PoolBuffer) -> Op {
        let room = buffer.spare();
        let (place, count) = (room.as_mut_ptr().cast(), room.len().min(1 << 30) as u32);
        let entry = opcode::Recv::new(socket.target(), place, count).build();
        // SAFETY: the buffer's heap memory does not move when the handle moves into the slot.
        unsafe { self.start(entry, Keep::ReceiveInto(socket.clone(), buffer)) }
    }

    pub(crate) fn send(&self, socket: &Rc<Socket>, data: Bytes) -> Op {
        let count = data.len().min(1 << 30) as u32;
        let entry = opcode::Send::new(socket.target(), data.as_ptr(), count)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        // SAFETY: the data's memory does not move when the handle moves into the slot.
        unsafe { self.start(entry, Keep::Send(socket.clone(), data)) }
    }

    pub(crate) fn send_parts(&self, socket: &Rc<Socket>, mut parts: Box<SendParts>) -> Op {
        parts.point();
        let entry = opcode::SendMsg::new(socket.target(), &raw const parts.header)
            .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32)
            .build();
        // SAFETY: header and vectors are on the heap and stay there; so does the memory of the parts.
        unsafe { self.start(entry, Keep::SendParts(socket.clone(), parts)) }
    }

    /// Waits until the socket takes bytes.
    pub(crate) fn writable(&self, socket: &Rc<Socket>) -> Op {
        self.poll(socket, libc::POLLOUT)
    }

    /// Waits until the socket (or another descriptor held as one) has bytes.
    pub(crate) fn readable(&self, socket: &Rc<Socket>) -> Op {
        self.poll(socket, libc::POLLIN)
    }

    fn poll(&self, socket: &Rc<Socket>, events: i16) -> Op {
        let entry = opcode::PollAdd::new(socket.target(), events as u32).build();
        // SAFETY: no pointers; the slot keeps the socket open.
        unsafe { self.start(entry, Keep::Socket(socket.clone())) }
    }

    /// Moves bytes of a file into a pipe.
    pub(crate) fn fill(&self, file: &Arc<OpenFile>, position: u64, pipe: &Rc<Pipe>, count: usize) -> Op {
        let (from, to) = (types::Fd(file.raw()), types::Fd(pipe.write_end()));
        let entry = opcode::Splice::new(from, position as i64, to, -1, count as u32).build();
        // SAFETY: no pointers; the slot keeps file and pipe open.
        unsafe { self.start(entry, Keep::Fill(file.clone(), pipe.clone())) }
    }

    /// Moves bytes of a pipe into a socket.
    pub(crate) fn drain(&self, pipe: &Rc<Pipe>, socket: &Rc<Socket>, count: usize) -> Op {
        let from = types::Fd(pipe.read_end());
        let entry = opcode::Splice::new(from, -1, socket.target(), -1, count as u32).build();
        // SAFETY: no pointers; the slot keeps both open.
        unsafe { self.start(entry, Keep::Drain(socket.clone(), pipe.clone())) }
    }
}

/// `sendfile` on the calling thread; the socket does not block. Returns the bytes taken: 0 is the end of the file.
pub(crate) fn send_resident(
    socket: &Socket,
    file: &OpenFile,
    position: u64,
    count: usize,
) -> io::Result<usize> {
    let mut offset = position as libc::off_t;
    // SAFETY: `offset` outlives the call.
    let taken = unsafe { libc::sendfile(socket.raw(), file.raw(), &raw mut offset, count) };
    sys::check(taken as i64).map(|taken| taken as usize)
}
