//! The operations of one simulated reactor: each becomes an event of the world, which completes it in virtual time.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use io_uring::types::FsyncFlags;

use super::disk::Handle;
use super::world::{Call, Event, Machine, World};
use crate::buffer::{Memory, aligned};
use crate::executor;
use crate::limits::READ_BUFFER_BYTES;
use crate::pool_buffer::PoolBuffer;
use crate::ring::file::{FixedRange, OpenFile};
use crate::ring::fixed::{Chunk, Region, Taken, Use};
use crate::ring::net::{AcceptQueue, SendParts, Socket};
use crate::ring::ops::{Keep, Op, OpId, Ops};
use crate::ring::parts::Parts;
use crate::ring::path::PathArguments;
use crate::stats::Stats;
use crate::wake::Shared;

/// The driver of a simulated reactor.
pub(crate) struct Driver {
    pub(super) world: Rc<World>,
    pub(super) machine: Rc<Machine>,
    /// Which reactor of the world this is.
    pub(super) key: u32,
    ops: RefCell<Ops>,
}

impl Driver {
    pub(super) fn new(world: Rc<World>, machine: Rc<Machine>, key: u32) -> Self {
        Self { world, machine, key, ops: RefCell::default() }
    }

    fn begin(&self, keep: Keep) -> OpId {
        self.ops.borrow_mut().insert(keep)
    }

    /// Starts an operation that ends with an event of the disk.
    fn on_disk(&self, keep: Keep, event: impl FnOnce(OpId) -> Event) -> Op {
        let id = self.begin(keep);
        self.world.after_disk_time(event(id));
        Op::new(id)
    }

    fn call(&self, keep: Keep, call: Call) -> Op {
        let reactor = self.key;
        self.on_disk(keep, |op| Event::Call { reactor, op, call })
    }

    /// An operation has ended.
    pub(super) fn complete(&self, id: OpId, result: i32) {
        let done = self.ops.borrow_mut().complete(id, result, 0, |_, _| Bytes::new());
        drop(done.keep);
        if let Some(waker) = done.waker {
            waker.wake();
        }
    }

    /// The handle that an open operation of the current reactor returned, if that is a simulated one.
    pub(crate) fn handle_of_result(result: i32) -> Option<Handle> {
        executor::try_with(|reactor| {
            let driver = reactor?.driver().simulated()?;
            let boot = driver.machine.boot.get();
            Some(Handle { machine: driver.machine.id, boot, number: result as u32 })
        })
    }

    pub(crate) fn ops(&self) -> &RefCell<Ops> {
        &self.ops
    }

    /// Nothing to do: the world looks at every reactor's queue.
    #[allow(clippy::unused_self)]
    pub(crate) fn notify_later(&self, _target: &'static Shared) {}

    pub(crate) fn fill_stats(&self, stats: &mut Stats) {
        let ops = self.ops.borrow();
        stats.operations = ops.started();
        stats.operations_in_flight = ops.in_flight();
    }

    pub(crate) fn cancel(&self, id: OpId) {
        self.world.soon(Event::Cancel { reactor: self.key, op: id });
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn take(&self, of: Use) -> Taken {
        match of {
            Use::Writing => Taken::None,
            Use::Reading => Taken::Memory(Memory::Plain(aligned(READ_BUFFER_BYTES))),
        }
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn touched(&self, _of: Use, _chunks: u32) {}

    #[allow(clippy::unused_self)] // as on the ring
    pub(crate) fn touch(&self, _region: &Arc<Region>, _chunks: Range<u32>) -> Option<Op> {
        None
    }

    pub(crate) fn read(&self, file: &Arc<OpenFile>, buffer: BytesMut, count: usize, position: u64) -> Op {
        let (reactor, handle) = (self.key, number(file));
        self.on_disk(Keep::Read(file.clone(), buffer), |op| Event::Read {
            reactor,
            op,
            handle,
            position,
            count,
        })
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn read_fixed(&self, _file: &Arc<OpenFile>, _chunk: Chunk, _range: FixedRange) -> Op {
        panic!("a simulated reactor has no registered memory")
    }

    pub(crate) fn write(&self, file: &Arc<OpenFile>, data: Bytes, position: u64, flags: i32) -> Op {
        let (reactor, handle) = (self.key, number(file));
        let syncs_itself = flags & libc::RWF_DSYNC != 0;
        self.on_disk(Keep::Write(file.clone(), data), |op| Event::Write {
            reactor,
            op,
            handle,
            position,
            syncs_itself,
            then_sync: None,
        })
    }

    pub(crate) fn write_parts(&self, file: &Arc<OpenFile>, parts: Parts, position: u64) -> Op {
        let (reactor, handle) = (self.key, number(file));
        self.on_disk(Keep::WriteParts(file.clone(), parts), |op| Event::Write {
            reactor,
            op,
            handle,
            position,
            syncs_itself: false,
            then_sync: None,
        })
    }

    pub(crate) fn write_then_sync(&self, file: &Arc<OpenFile>, data: Bytes, position: u64) -> (Op, Op) {
        if self.world.planted(super::Planted::SplitPair) {
            return (self.write(file, data, position, 0), self.sync(file, FsyncFlags::DATASYNC));
        }
        let (reactor, handle) = (self.key, number(file));
        let sync = self.begin(Keep::File(file.clone()));
        let write = self.on_disk(Keep::Write(file.clone(), data), |op| Event::Write {
            reactor,
            op,
            handle,
            position,
            syncs_itself: false,
            then_sync: Some(sync),
        });
        (write, Op::new(sync))
    }

    pub(crate) fn sync(&self, file: &Arc<OpenFile>, _flags: FsyncFlags) -> Op {
        let (reactor, handle) = (self.key, number(file));
        let up_to = self.machine.disk.borrow().now();
        self.on_disk(Keep::File(file.clone()), |op| Event::Sync { reactor, op, handle, up_to })
    }

    /// Only here: the ring has none.
    pub(crate) fn sync_file_system(&self, file: &Arc<OpenFile>) -> Op {
        let reactor = self.key;
        let up_to = self.machine.disk.borrow().now();
        self.on_disk(Keep::File(file.clone()), |op| Event::SyncFileSystem { reactor, op, up_to })
    }

    pub(crate) fn allocate(&self, file: &Arc<OpenFile>, position: u64, length: u64) -> Op {
        let handle = number(file);
        self.call(Keep::File(file.clone()), Call::Allocate { handle, position, length })
    }

    pub(crate) fn open(&self, path: &Path, flags: i32) -> io::Result<Op> {
        Ok(self.call(Keep::Nothing, Call::Open { path: checked(path)?, flags }))
    }

    pub(crate) fn make_dir(&self, path: &Path) -> io::Result<Op> {
        Ok(self.call(Keep::Nothing, Call::MakeDir(checked(path)?)))
    }

    pub(crate) fn unlink(&self, path: &Path, flags: i32) -> io::Result<Op> {
        let is_dir = flags & libc::AT_REMOVEDIR != 0;
        Ok(self.call(Keep::Nothing, Call::Unlink { path: checked(path)?, is_dir }))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<Op> {
        Ok(self.call(Keep::Nothing, Call::Rename { from: checked(from)?, to: checked(to)? }))
    }

    pub(crate) fn status(&self, path: &Path) -> io::Result<Op> {
        Ok(self.call(Keep::Path(PathArguments::new(path)?), Call::Status(path.to_path_buf())))
    }

    pub(crate) fn connect(&self, socket: &Rc<Socket>, address: SocketAddr) -> Op {
        let op = self.begin(Keep::Socket(socket.clone()));
        self.world.connect(self.key, op, endpoint(socket), address);
        Op::new(op)
    }

    pub(crate) fn accept(&self, queue: &Rc<AcceptQueue>) {
        let op = self.begin(Keep::Accept(queue.clone()));
        queue.armed(Op::new(op).park());
        self.world.accept(self.key, op, endpoint(queue.listener()), queue);
    }

    pub(crate) fn receive(&self, socket: &Rc<Socket>, _wait_first: bool) -> Op {
        let op = self.begin(Keep::Receive(socket.clone()));
        self.world.receive(self.key, op, endpoint(socket));
        Op::new(op)
    }

    pub(crate) fn receive_into(&self, socket: &Rc<Socket>, buffer: PoolBuffer) -> Op {
        let op = self.begin(Keep::ReceiveInto(socket.clone(), buffer));
        self.world.receive(self.key, op, endpoint(socket));
        Op::new(op)
    }

    pub(crate) fn send(&self, socket: &Rc<Socket>, data: Bytes) -> Op {
        let op = self.begin(Keep::Send(socket.clone(), data));
        self.world.send(self.key, op, endpoint(socket));
        Op::new(op)
    }

    pub(crate) fn send_parts(&self, socket: &Rc<Socket>, parts: Box<SendParts>) -> Op {
        let op = self.begin(Keep::SendParts(socket.clone(), parts));
        self.world.send(self.key, op, endpoint(socket));
        Op::new(op)
    }

    pub(crate) fn writable(&self, socket: &Rc<Socket>) -> Op {
        let op = self.begin(Keep::Socket(socket.clone()));
        self.world.soon(Event::Finish { reactor: self.key, op, result: 0 });
        Op::new(op)
    }
}

fn number(file: &OpenFile) -> u32 {
    file.simulated.as_ref().map_or(0, |handle| handle.number)
}

fn endpoint(socket: &Socket) -> u64 {
    socket.simulated.as_ref().map_or(0, |endpoint| endpoint.id)
}

fn checked(path: &Path) -> io::Result<PathBuf> {
    PathArguments::new(path)?;
    Ok(path.to_path_buf())
}
