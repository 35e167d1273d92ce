//! Accepting connections. One multishot accept fills a queue; when it is full, accepting pauses, and connections wait in the
//! kernel. At most a backlog of connections is accepted beyond the queue's bound.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::TcpStream;
use crate::executor;
use crate::ring::net::{AcceptQueue, Socket};

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Lets several reactors listen on one port; the kernel spreads connections over them.
    pub reuse_port: bool,
    /// Connections that wait in the kernel for being accepted. The kernel's `net.core.somaxconn` bounds it.
    pub backlog: u32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { reuse_port: false, backlog: 1024 }
    }
}

/// Accepts connections.
pub struct TcpListener {
    queue: Rc<AcceptQueue>,
}

impl TcpListener {
    /// Listens on an address; port 0 lets the kernel choose. Sets `SO_REUSEADDR`.
    pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        let socket = Socket::open(&address)?;
        socket.set_option(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if options.reuse_port {
            socket.set_option(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if address.is_ipv6() {
            socket.set_option(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        socket.bind_and_listen(&address, i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        Ok(Self { queue: Rc::new(AcceptQueue::new(socket)) })
    }

    /// The address listened on, with the port that the kernel chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.queue.listener().local_address()
    }

    /// The next connection and its peer's address. Dropping the future loses no connection.
    ///
    /// # Errors
    /// Too few descriptors or too little memory: wait a moment, then accept again. `NotConnected` after
    /// [`close`](Self::close).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            if self.queue.is_closed() {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "the listener was closed"));
            }
            match self.queue.take() {
                Some(Ok(socket)) => {
                    let stream = TcpStream::new(Rc::new(socket));
                    // A peer that has reset the connection meanwhile has no address: it is gone.
                    if let Ok(peer) = stream.peer_addr() {
                        return Ok((stream, peer));
                    }
                }
                Some(Err(error)) if error.raw_os_error() == Some(libc::ECONNABORTED) => {}
                Some(Err(error)) => return Err(error),
                None => {
                    if !self.queue.is_armed() {
                        executor::with(|reactor| reactor.driver().accept(&self.queue));
                    }
                    self.queue.arrived.notified().await;
                }
            }
        }
    }

    /// Stops listening at once. Connections not yet taken are closed.
    pub fn close(&self) {
        let _ = self.queue.listener().shut_down(libc::SHUT_RDWR);
        if let Some(operation) = self.queue.close() {
            executor::try_with(|reactor| {
                if let Some(reactor) = reactor {
                    reactor.driver().cancel(operation);
                }
            });
        }
        self.queue.arrived.notify_all();
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.close();
    }
}
