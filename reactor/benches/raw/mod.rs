//! A plain loop over one ring, without tasks, wakers or ownership: what the reactor is measured against.
#![allow(dead_code)]

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

/// The same flags as the reactor's ring.
pub(crate) fn ring(entries: u32) -> IoUring {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(entries)
        .unwrap()
}

/// Page-aligned memory that is never freed.
pub(crate) fn memory(bytes: usize) -> *mut u8 {
    let layout = std::alloc::Layout::from_size_align(bytes, 4096).unwrap();
    unsafe { std::alloc::alloc_zeroed(layout) }
}

const BUFFERS: u16 = 256;
const BUFFER_BYTES: usize = 16 << 10;

struct Connection {
    descriptor: i32,
    part: usize,
}

/// Answers requests of fixed length: multishot accept and receive, provided buffers, sends whose success is not reported.
pub(crate) struct EchoServer {
    ring: IoUring,
    entries: *mut types::BufRingEntry,
    buffers: *mut u8,
    tail: u16,
    connections: Vec<Option<Connection>>,
    answer: Vec<u8>,
    message: usize,
    listener: TcpListener,
}

const ACCEPT: u64 = u64::MAX;
const SENT: u64 = 1 << 32;

impl EchoServer {
    pub(crate) fn new(listener: TcpListener, message: usize) -> Self {
        let ring = ring(256);
        let entries = memory(8192).cast();
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, 0, 0) }.unwrap();
        let mut server = Self {
            ring,
            entries,
            buffers: memory(BUFFER_BYTES * BUFFERS as usize),
            tail: 0,
            connections: Vec::new(),
            answer: vec![1; BUFFER_BYTES + message],
            message,
            listener,
        };
        for bid in 0..BUFFERS {
            server.give(bid);
        }
        server.publish();
        let accept =
            opcode::AcceptMulti::new(types::Fd(server.listener.as_raw_fd())).build().user_data(ACCEPT);
        server.push(&accept);
        server
    }

    fn give(&mut self, bid: u16) {
        let entry = unsafe { &mut *self.entries.add((self.tail & (BUFFERS - 1)) as usize) };
        entry.set_addr(unsafe { self.buffers.add(bid as usize * BUFFER_BYTES) } as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(bid);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        let tail = unsafe { AtomicU16::from_ptr(types::BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn push(&mut self, entry: &squeue::Entry) {
        if unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().unwrap();
            unsafe { self.ring.submission().push(entry) }.unwrap();
        }
    }

    fn receive(&mut self, index: usize) {
        let descriptor = self.connections[index].as_ref().unwrap().descriptor;
        self.push(&opcode::RecvMulti::new(types::Fd(descriptor), 0).build().user_data(index as u64));
    }

    fn accepted(&mut self, descriptor: i32) {
        assert!(descriptor >= 0, "accept: {descriptor}");
        let one = 1i32;
        let one = (&raw const one).cast();
        unsafe { libc::setsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, one, 4) };
        let free = self.connections.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.connections[index] = Some(Connection { descriptor, part: 0 });
        self.receive(index);
    }

    fn complete(&mut self, entry: &cqueue::Entry) {
        let (user_data, result) = (entry.user_data(), entry.result());
        if user_data == ACCEPT {
            return self.accepted(result);
        }
        if user_data >= SENT {
            return;
        }
        let index = user_data as usize;
        if let Some(bid) = cqueue::buffer_select(entry.flags()) {
            self.give(bid);
        }
        if result == -libc::ENOBUFS {
            self.publish();
            return self.receive(index);
        }
        if result <= 0 {
            if let Some(connection) = self.connections[index].take() {
                unsafe { libc::close(connection.descriptor) };
            }
            return;
        }
        let message = self.message;
        let connection = self.connections[index].as_mut().unwrap();
        connection.part += result as usize;
        let whole = connection.part / message * message;
        connection.part -= whole;
        let target = types::Fd(connection.descriptor);
        if whole > 0 {
            let send = opcode::Send::new(target, self.answer.as_ptr(), whole as u32)
                .flags(libc::MSG_WAITALL)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(SENT);
            self.push(&send);
        }
        if !cqueue::more(entry.flags()) {
            self.receive(index);
        }
    }

    /// Serves for ever.
    pub(crate) fn serve(mut self) {
        let mut completions = Vec::with_capacity(512);
        loop {
            self.ring.submit_and_wait(1).unwrap();
            completions.extend(self.ring.completion());
            for entry in completions.drain(..) {
                self.complete(&entry);
            }
            self.publish();
        }
    }
}
