//! A simulated network: connections whose bytes arrive late, in order within each, in any order across them; which can be cut.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;

use super::world::{self, Event, World};
use crate::executor;
use crate::limits::RECV_BUFFER_BYTES;
use crate::ring::net::{AcceptQueue, Socket};
use crate::ring::ops::{Keep, OpId};

/// Bytes on their way or unread in one direction of a connection, at most.
const WINDOW_BYTES: usize = 64 << 10;
const FIRST_PORT: u16 = 40_000;

/// Something of the network that happens at its time.
pub(crate) enum NetEvent {
    /// A connection reaches the listener.
    Connect { reactor: u32, op: OpId, from: u64, to: SocketAddr },
    /// Bytes reach a socket.
    Arrive { from: u64, to: u64, bytes: Bytes },
    /// The peer sends no more.
    ArriveEnd { to: u64 },
    /// The connection breaks.
    ArriveReset { to: u64 },
    /// A receive looks for bytes.
    Receive(u64),
    /// A send looks for room.
    Send(u64),
    /// A listener looks for connections that came before it accepted.
    Accept(u64),
}

#[derive(Default)]
struct Connection {
    reactor: u32,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    peer: Option<u64>,
    inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    /// Sent by us and not yet taken by the peer's program.
    outstanding: usize,
    ended: bool,
    reset: bool,
    sends_no_more: bool,
    receiving: Option<OpId>,
    sending: Option<OpId>,
    /// When the last thing that was sent arrives: later ones do not overtake it.
    last_arrival_ns: u64,
    listening: Option<Listening>,
}

#[derive(Default)]
struct Listening {
    queue: Option<(OpId, Rc<AcceptQueue>)>,
    backlog: VecDeque<u64>,
}

/// All sockets.
#[derive(Default)]
pub(crate) struct Net {
    sockets: BTreeMap<u64, Connection>,
    next: u64,
    ports: u16,
}

impl Net {
    fn make(&mut self, reactor: u32) -> u64 {
        self.next += 1;
        self.sockets.insert(self.next, Connection { reactor, ..Connection::default() });
        self.next
    }

    fn port(&mut self) -> u16 {
        self.ports = self.ports.wrapping_add(1) % 20_000;
        FIRST_PORT + self.ports
    }

    /// Forgets a waiting operation. False: there is none.
    pub(super) fn forget(&mut self, reactor: u32, op: OpId) -> bool {
        for socket in self.sockets.values_mut().filter(|socket| socket.reactor == reactor) {
            if socket.receiving == Some(op) {
                socket.receiving = None;
                return true;
            }
            if socket.sending == Some(op) {
                socket.sending = None;
                return true;
            }
            if let Some(listening) = &mut socket.listening
                && listening.queue.as_ref().is_some_and(|(accept, _)| *accept == op)
            {
                listening.queue = None;
                return true;
            }
        }
        false
    }

    fn has_unread(&self, id: u64) -> bool {
        self.sockets.get(&id).is_some_and(|socket| !socket.inbox.is_empty())
    }

    fn listener(&self, address: SocketAddr, chance: u64) -> Option<u64> {
        let listeners = self.sockets.iter().filter(|(_, socket)| {
            let same = socket.local.is_some_and(|local| local.port() == address.port());
            socket.listening.is_some() && same
        });
        let all: Vec<u64> = listeners.map(|(id, _)| *id).collect();
        (!all.is_empty()).then(|| all[(chance % all.len() as u64) as usize])
    }

    /// How many connections there are, each counted at both its ends.
    pub(super) fn established(&self) -> Vec<u64> {
        self.sockets.iter().filter(|(_, socket)| socket.peer.is_some()).map(|(id, _)| *id).collect()
    }
}

impl World {
    fn delay(&self) -> u64 {
        let random = &self.net_random;
        let us = match random.below(100) {
            0 => random.range(1_000..30_000),
            1..=10 => random.range(100..1_000),
            _ => random.range(5..100),
        };
        us * 1_000 + random.below(1_000)
    }

    /// Sends something to the other end of a connection, behind what was sent before.
    fn to_peer(&self, from: u64, make: impl FnOnce(u64) -> NetEvent) {
        let delay = self.delay();
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&from) else { return };
        let Some(peer) = socket.peer else { return };
        let at = (World::now_ns() + delay).max(socket.last_arrival_ns + 1);
        socket.last_arrival_ns = at;
        drop(net);
        self.at(at, Event::Net(make(peer)));
    }

    pub(super) fn connect(&self, reactor: u32, op: OpId, from: u64, to: SocketAddr) {
        let at = World::now_ns() + self.delay();
        self.at(at, Event::Net(NetEvent::Connect { reactor, op, from, to }));
    }

    pub(super) fn accept(&self, reactor: u32, op: OpId, listener: u64, queue: &Rc<AcceptQueue>) {
        let mut net = self.net.borrow_mut();
        if let Some(listening) = net.sockets.get_mut(&listener).and_then(|socket| socket.listening.as_mut()) {
            listening.queue = Some((op, queue.clone()));
        }
        drop(net);
        let _ = reactor;
        self.soon(Event::Net(NetEvent::Accept(listener)));
    }

    pub(super) fn receive(&self, _reactor: u32, op: OpId, socket: u64) {
        if let Some(socket) = self.net.borrow_mut().sockets.get_mut(&socket) {
            socket.receiving = Some(op);
        }
        self.soon(Event::Net(NetEvent::Receive(socket)));
    }

    pub(super) fn send(&self, _reactor: u32, op: OpId, socket: u64) {
        if let Some(socket) = self.net.borrow_mut().sockets.get_mut(&socket) {
            socket.sending = Some(op);
        }
        self.soon(Event::Net(NetEvent::Send(socket)));
    }

    pub(super) fn net_event(&self, event: NetEvent) {
        match event {
            NetEvent::Connect { reactor, op, from, to } => self.connected(reactor, op, from, to),
            NetEvent::Arrive { from, to, bytes } => {
                self.trace.note("arrive", to, bytes.len() as u64);
                if let Some(socket) = self.net.borrow_mut().sockets.get_mut(&to) {
                    socket.inbox_bytes += bytes.len();
                    socket.inbox.push_back(bytes);
                } else {
                    // Nobody is there to take it, and the sender is told.
                    self.at(World::now_ns() + self.delay(), Event::Net(NetEvent::ArriveReset { to: from }));
                }
                self.try_receive(to);
            }
            NetEvent::ArriveEnd { to } => {
                if let Some(socket) = self.net.borrow_mut().sockets.get_mut(&to) {
                    socket.ended = true;
                }
                self.try_receive(to);
            }
            NetEvent::ArriveReset { to } => {
                self.trace.note("reset", to, 0);
                if let Some(socket) = self.net.borrow_mut().sockets.get_mut(&to) {
                    socket.reset = true;
                    socket.inbox.clear();
                }
                self.try_receive(to);
                self.try_send(to);
            }
            NetEvent::Receive(socket) => self.try_receive(socket),
            NetEvent::Send(socket) => self.try_send(socket),
            NetEvent::Accept(listener) => self.hand_over(listener),
        }
    }

    fn connected(&self, reactor: u32, op: OpId, from: u64, to: SocketAddr) {
        let chance = self.net_random.next();
        let mut net = self.net.borrow_mut();
        let listener = net.listener(to, chance);
        let Some(listener) = listener.filter(|_| net.sockets.contains_key(&from)) else {
            drop(net);
            self.finish(reactor, op, -libc::ECONNREFUSED);
            return;
        };
        let owner = net.sockets[&listener].reactor;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net.port()));
        let accepted = net.make(owner);
        if let Some(socket) = net.sockets.get_mut(&accepted) {
            (socket.local, socket.remote, socket.peer) = (Some(to), Some(address), Some(from));
        }
        if let Some(socket) = net.sockets.get_mut(&from) {
            (socket.local, socket.remote, socket.peer) = (Some(address), Some(to), Some(accepted));
        }
        if let Some(listening) = net.sockets.get_mut(&listener).and_then(|socket| socket.listening.as_mut()) {
            listening.backlog.push_back(accepted);
        }
        drop(net);
        self.trace.note("connect", from, accepted);
        self.finish(reactor, op, 0);
        self.hand_over(listener);
    }

    /// Gives a listener the connections that wait for it.
    fn hand_over(&self, listener: u64) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&listener) else { return };
        let owner = socket.reactor;
        let Some(listening) = &mut socket.listening else { return };
        let Some((_, queue)) = listening.queue.clone() else { return };
        let waiting = std::mem::take(&mut listening.backlog);
        drop(net);
        let reactor = self.nodes.borrow().get(&owner).map(|node| node.reactor.clone());
        let Some(reactor) = reactor else { return };
        executor::enter(&reactor, || {
            for id in waiting {
                queue.enter_simulated(Socket::simulated(Endpoint { id, shut: Cell::new(false) }));
                queue.arrived.notify_one_waiting();
            }
        });
    }

    fn try_receive(&self, id: u64) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        let Some(op) = socket.receiving else { return };
        let key = socket.reactor;
        let reactor = self.nodes.borrow().get(&key).map(|node| node.reactor.clone());
        let Some(reactor) = reactor else { return };
        if socket.reset || (socket.inbox.is_empty() && socket.ended) {
            socket.receiving = None;
            let result = if socket.reset { -libc::ECONNRESET } else { 0 };
            drop(net);
            self.finish(key, op, result);
            return;
        }
        let Some(mut bytes) = socket.inbox.pop_front() else { return };
        socket.receiving = None;
        let room = {
            let mut ops = reactor.driver().ops().borrow_mut();
            match ops.keep_of(op) {
                Some(Keep::ReceiveInto(_, buffer)) => buffer.spare().len(),
                _ => RECV_BUFFER_BYTES,
            }
        };
        if bytes.len() > room {
            socket.inbox.push_front(bytes.split_off(room));
        }
        socket.inbox_bytes -= bytes.len();
        let peer = socket.peer;
        if let Some(sender) = peer.and_then(|peer| net.sockets.get_mut(&peer)) {
            sender.outstanding = sender.outstanding.saturating_sub(bytes.len());
        }
        drop(net);
        let count = bytes.len() as i32;
        if let Some(keep) = reactor.driver().ops().borrow_mut().keep_of(op) {
            match keep {
                Keep::ReceiveInto(_, buffer) => {
                    for (place, byte) in buffer.spare().iter_mut().zip(&bytes) {
                        place.write(*byte);
                    }
                }
                keep => *keep = Keep::Received(bytes),
            }
        }
        world::finish(&reactor, op, count);
        if let Some(peer) = peer {
            self.soon(Event::Net(NetEvent::Send(peer)));
        }
    }

    fn try_send(&self, id: u64) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        let Some(op) = socket.sending else { return };
        let key = socket.reactor;
        if socket.reset || socket.sends_no_more {
            socket.sending = None;
            let result = if socket.reset { -libc::ECONNRESET } else { -libc::EPIPE };
            drop(net);
            self.finish(key, op, result);
            return;
        }
        let room = WINDOW_BYTES.saturating_sub(socket.outstanding);
        if room == 0 {
            return;
        }
        let reactor = self.nodes.borrow().get(&key).map(|node| node.reactor.clone());
        let Some(reactor) = reactor else { return };
        let bytes = {
            let mut ops = reactor.driver().ops().borrow_mut();
            match ops.keep_of(op) {
                Some(Keep::Send(_, data)) => data.slice(..data.len().min(room)),
                Some(Keep::SendParts(_, parts)) => first_bytes(parts.parts.list(), room),
                _ => Bytes::new(),
            }
        };
        socket.sending = None;
        socket.outstanding += bytes.len();
        drop(net);
        let count = bytes.len() as i32;
        self.to_peer(id, |to| NetEvent::Arrive { from: id, to, bytes });
        world::finish(&reactor, op, count);
    }

    /// Breaks a connection, at both ends.
    pub(super) fn reset(&self, id: u64) {
        self.to_peer(id, |to| NetEvent::ArriveReset { to });
        self.soon(Event::Net(NetEvent::ArriveReset { to: id }));
    }

    /// The sockets of some reactors are gone; their peers will see it.
    pub(super) fn drop_connections(&self, reactors: &[u32]) {
        let gone: Vec<u64> = {
            let net = self.net.borrow();
            let gone = net.sockets.iter().filter(|(_, socket)| reactors.contains(&socket.reactor));
            gone.map(|(id, _)| *id).collect()
        };
        for id in gone {
            self.to_peer(id, |to| NetEvent::ArriveReset { to });
            let removed = self.net.borrow_mut().sockets.remove(&id);
            drop(removed);
        }
    }

    fn shut_down(&self, id: u64, how: i32) {
        let mut net = self.net.borrow_mut();
        let Some(socket) = net.sockets.get_mut(&id) else { return };
        if let Some(listening) = socket.listening.take() {
            drop(net);
            drop(listening);
            return;
        }
        if how != libc::SHUT_RD && !socket.sends_no_more {
            socket.sends_no_more = true;
            drop(net);
            self.to_peer(id, |to| NetEvent::ArriveEnd { to });
            net = self.net.borrow_mut();
        }
        if how != libc::SHUT_WR
            && let Some(socket) = net.sockets.get_mut(&id)
        {
            socket.ended = true;
        }
        drop(net);
        self.soon(Event::Net(NetEvent::Receive(id)));
    }
}

fn first_bytes(parts: &[Bytes], most: usize) -> Bytes {
    let mut taken = Vec::new();
    for part in parts {
        let room = most - taken.len();
        taken.extend_from_slice(&part[..part.len().min(room)]);
    }
    taken.into()
}

/// One end of a simulated connection, or a listener. Closes itself.
pub(crate) struct Endpoint {
    pub(super) id: u64,
    shut: Cell<bool>,
}

impl Endpoint {
    /// A new socket of the current reactor, if that is a simulated one.
    pub(crate) fn open() -> Option<Self> {
        executor::try_with(|reactor| {
            let driver = reactor?.driver().simulated()?;
            let id = driver.world.net.borrow_mut().make(driver.key);
            Some(Self { id, shut: Cell::new(false) })
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Net, u64) -> Option<T>) -> io::Result<T> {
        let world = super::current().ok_or(io::ErrorKind::NotConnected)?;
        let found = f(&mut world.net.borrow_mut(), self.id);
        found.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<()> {
        self.with(|net, id| {
            let port = if address.port() == 0 { net.port() } else { address.port() };
            let socket = net.sockets.get_mut(&id)?;
            socket.local = Some(SocketAddr::new(address.ip(), port));
            socket.listening = Some(Listening::default());
            Some(())
        })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.with(|net, id| net.sockets.get(&id)?.local)
    }

    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.with(|net, id| net.sockets.get(&id)?.remote)
    }

    pub(crate) fn shut_down(&self, how: i32) {
        self.shut.set(true);
        if let Some(world) = super::current() {
            world.shut_down(self.id, how);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let Some(world) = super::current() else { return };
        world.shut_down(self.id, libc::SHUT_RDWR);
        let unread = world.net.try_borrow().is_ok_and(|net| net.has_unread(self.id));
        if unread {
            // Closing a socket without having read everything breaks the connection.
            world.to_peer(self.id, |to| NetEvent::ArriveReset { to });
        }
        let removed = world.net.try_borrow_mut().ok().and_then(|mut net| net.sockets.remove(&self.id));
        drop(removed);
    }
}
