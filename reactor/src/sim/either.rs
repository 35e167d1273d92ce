//! The driver of a reactor that may run on the ring or in the simulator.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use io_uring::types::FsyncFlags;

use crate::pool_buffer::PoolBuffer;
use crate::ring::file::{FixedRange, OpenFile};
use crate::ring::fixed::{Chunk, Region, Taken, Use};
use crate::ring::net::{AcceptQueue, SendParts, Socket};
use crate::ring::ops::{Op, OpId, Ops};
use crate::ring::parts::Parts;
use crate::ring::recv_buffers::RecvBuffers;
use crate::ring::{self, DriverOptions, Wait};
use crate::sim;
use crate::stats::Stats;
use crate::wake::Shared;

/// One of the two.
pub(crate) enum Driver {
    Ring(Box<ring::Driver>),
    Sim(sim::Driver),
}

macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)*) => {
        impl Driver {
            $($(#[$doc])* pub(crate) fn $name(&self $(, $argument: $type)*) $(-> $result)? {
                match self {
                    Self::Ring(driver) => driver.$name($($argument),*),
                    Self::Sim(driver) => driver.$name($($argument),*),
                }
            })*
        }
    };
}

both! {
    fn ops(&self) -> &RefCell<Ops>;
    fn notify_later(&self, target: &'static Shared);
    fn fill_stats(&self, stats: &mut Stats);
    fn cancel(&self, id: OpId);
    fn take(&self, of: Use) -> Taken;
    fn touched(&self, of: Use, chunks: u32);
    fn touch(&self, region: &Arc<Region>, chunks: Range<u32>) -> Option<Op>;
    fn read(&self, file: &Arc<OpenFile>, buffer: BytesMut, count: usize, position: u64) -> Op;
    fn read_fixed(&self, file: &Arc<OpenFile>, chunk: Chunk, range: FixedRange) -> Op;
    fn write(&self, file: &Arc<OpenFile>, data: Bytes, position: u64, flags: i32) -> Op;
    fn write_parts(&self, file: &Arc<OpenFile>, parts: Parts, position: u64) -> Op;
    fn write_then_sync(&self, file: &Arc<OpenFile>, data: Bytes, position: u64) -> (Op, Op);
    fn sync(&self, file: &Arc<OpenFile>, flags: FsyncFlags) -> Op;
    fn allocate(&self, file: &Arc<OpenFile>, position: u64, length: u64) -> Op;
    fn open(&self, path: &Path, flags: i32) -> io::Result<Op>;
    fn make_dir(&self, path: &Path) -> io::Result<Op>;
    fn unlink(&self, path: &Path, flags: i32) -> io::Result<Op>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<Op>;
    fn status(&self, path: &Path) -> io::Result<Op>;
    fn connect(&self, socket: &Rc<Socket>, address: SocketAddr) -> Op;
    fn accept(&self, queue: &Rc<AcceptQueue>);
    fn receive(&self, socket: &Rc<Socket>, wait_first: bool) -> Op;
    fn receive_into(&self, socket: &Rc<Socket>, buffer: PoolBuffer) -> Op;
    fn send(&self, socket: &Rc<Socket>, data: Bytes) -> Op;
    fn send_parts(&self, socket: &Rc<Socket>, parts: Box<SendParts>) -> Op;
    fn writable(&self, socket: &Rc<Socket>) -> Op;
}

impl Driver {
    pub(crate) fn new(shared: &'static Shared, options: &DriverOptions) -> io::Result<Self> {
        Ok(Self::Ring(Box::new(ring::Driver::new(shared, options)?)))
    }

    /// The ring, where only it will do: a simulated reactor has no business there.
    pub(crate) fn ring(&self) -> &ring::Driver {
        match self {
            Self::Ring(driver) => driver,
            Self::Sim(_) => panic!("a simulated reactor has no ring"),
        }
    }

    /// The simulator, if the reactor is a simulated one.
    pub(crate) fn simulated(&self) -> Option<&sim::Driver> {
        match self {
            Self::Ring(_) => None,
            Self::Sim(driver) => Some(driver),
        }
    }

    pub(crate) fn recv_buffers(&self) -> &Rc<RecvBuffers> {
        self.ring().recv_buffers()
    }

    pub(crate) fn readable(&self, socket: &Rc<Socket>) -> Op {
        self.ring().readable(socket)
    }

    pub(crate) fn close(&self, descriptor: OwnedFd) {
        self.ring().close(descriptor);
    }

    pub(crate) fn turn(&self, wait: Wait) -> io::Result<()> {
        self.ring().turn(wait)
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.ring().has_completions()
    }

    pub(crate) fn send_notifications(&self) {
        self.ring().send_notifications();
    }

    pub(crate) fn expect_notification(&self) {
        self.ring().expect_notification();
    }

    pub(crate) fn shut_down(&self) -> bool {
        self.ring().shut_down()
    }
}
