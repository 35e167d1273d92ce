//! The world of a simulation: machines with disks, reactors, what is under way between them, and the order of it all.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::clock;
use super::disk::Disk;
use super::net::Net;
use super::random::Random;
use super::trace::Trace;
use super::{Options, Planted};
use crate::alignment_of;
use crate::driver::Driver;
use crate::executor::{self, Reactor};
use crate::limits::WRITE_PARTS_MAX;
use crate::ring::ops::{Keep, OpId};
use crate::task::Task;

/// Something that happens at its time.
pub(crate) enum Event {
    /// An operation ends with a result that is known already.
    Finish { reactor: u32, op: OpId, result: i32 },
    /// Nobody wants an operation any more.
    Cancel { reactor: u32, op: OpId },
    /// A write reaches the disk.
    Write { reactor: u32, op: OpId, handle: u32, position: u64, syncs_itself: bool, then_sync: Option<OpId> },
    /// A sync ends that began at the change `up_to`.
    Sync { reactor: u32, op: OpId, handle: u32, up_to: u64 },
    /// A sync of the whole disk ends, that began at the change `up_to`.
    SyncFileSystem { reactor: u32, op: OpId, up_to: u64 },
    /// A read looks at the disk.
    Read { reactor: u32, op: OpId, handle: u32, position: u64, count: usize },
    /// Any other call of the file system.
    Call { reactor: u32, op: OpId, call: Call },
    /// A reactor starts beside another.
    Start { machine: u32, boot: u32, main: Main },
    /// Something of the network.
    Net(super::net::NetEvent),
}

/// Makes the main future of a reactor.
pub(crate) type Main = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// A call of the file system.
pub(crate) enum Call {
    Open { path: PathBuf, flags: i32 },
    MakeDir(PathBuf),
    Unlink { path: PathBuf, is_dir: bool },
    Rename { from: PathBuf, to: PathBuf },
    Status(PathBuf),
    Allocate { handle: u32, position: u64, length: u64 },
}

/// A computer: one disk, and the reactors that run on it now.
pub(crate) struct Machine {
    pub(crate) id: u32,
    /// How often it was switched on.
    pub(crate) boot: Cell<u32>,
    pub(crate) disk: RefCell<Disk>,
    /// Blocking calls before the power fails.
    pub(crate) calls_left: Cell<Option<u64>>,
}

pub(super) struct Node {
    pub(super) reactor: Rc<Reactor>,
    pub(super) machine: u32,
    pub(super) main: Task<()>,
}

struct Timed {
    at_ns: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.number).cmp(&(other.at_ns, other.number))
    }
}

/// Everything there is.
pub(crate) struct World {
    pub(super) options: Options,
    pub(super) machines: RefCell<Vec<Rc<Machine>>>,
    pub(super) nodes: RefCell<BTreeMap<u32, Node>>,
    next_key: Cell<u32>,
    events: RefCell<BinaryHeap<Reverse<Timed>>>,
    next_event: Cell<u64>,
    pub(super) net: RefCell<Net>,
    pub(super) trace: Trace,
    pub(super) schedule: Random,
    pub(super) disk_random: Random,
    pub(super) net_random: Random,
    planted: RefCell<BTreeSet<Planted>>,
    /// Times by which the disk is slower than usual.
    pub(super) slowness: Cell<u64>,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let seed = options.seed;
        Self {
            options,
            machines: RefCell::default(),
            nodes: RefCell::default(),
            next_key: Cell::new(1),
            events: RefCell::default(),
            next_event: Cell::new(0),
            net: RefCell::default(),
            trace: Trace::default(),
            schedule: Random::new(seed, "schedule"),
            disk_random: Random::new(seed, "disk"),
            net_random: Random::new(seed, "network"),
            planted: RefCell::default(),
            slowness: Cell::new(1),
        }
    }

    pub(crate) fn planted(&self, bug: Planted) -> bool {
        self.planted.borrow().contains(&bug)
    }

    pub(super) fn plant(&self, bug: Planted) {
        self.planted.borrow_mut().insert(bug);
    }

    pub(super) fn now_ns() -> u64 {
        clock::now_ns().unwrap_or(clock::START_NS)
    }

    pub(super) fn take_key(&self) -> u32 {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        key
    }

    pub(super) fn at(&self, at_ns: u64, event: Event) {
        let number = self.next_event.get();
        self.next_event.set(number + 1);
        self.events.borrow_mut().push(Reverse(Timed { at_ns, number, event }));
    }

    /// Within a few microseconds.
    pub(crate) fn soon(&self, event: Event) {
        let delay = self.schedule.range(200..5_000);
        self.at(Self::now_ns() + delay, event);
    }

    /// After the time that a disk takes: mostly tens of microseconds, at times milliseconds.
    pub(crate) fn after_disk_time(&self, event: Event) {
        let random = &self.disk_random;
        let us = match random.below(100) {
            0 => random.range(1_000..20_000),
            1..=10 => random.range(200..1_000),
            _ => random.range(15..200),
        };
        self.at(Self::now_ns() + us * 1_000 * self.slowness.get() + random.below(1_000), event);
    }

    fn reactor(&self, key: u32) -> Option<(Rc<Reactor>, Rc<Machine>)> {
        let nodes = self.nodes.borrow();
        let node = nodes.get(&key)?;
        let machine = self.machines.borrow()[node.machine as usize].clone();
        Some((node.reactor.clone(), machine))
    }

    /// Ends an operation, as its reactor.
    pub(super) fn finish(&self, key: u32, op: OpId, result: i32) {
        if let Some((reactor, _)) = self.reactor(key) {
            self.trace.note("done", u64::from(key), result as u64);
            finish(&reactor, op, result);
        }
    }

    /// One step: an event whose time has come, a turn of a reactor that has something to do, or else time goes on. False:
    /// nothing will ever happen again.
    pub(super) fn step(&self) -> bool {
        let now = Self::now_ns();
        if self.events.borrow().peek().is_some_and(|Reverse(first)| first.at_ns <= now) {
            let event = self.events.borrow_mut().pop();
            if let Some(Reverse(Timed { event, .. })) = event {
                self.handle(event);
            }
            return true;
        }
        let now = crate::time::now();
        let ready: Vec<(u32, Rc<Reactor>)> = {
            let nodes = self.nodes.borrow();
            let ready = nodes.iter().filter(|(_, node)| node.reactor.wants_turn(now));
            ready.map(|(key, node)| (*key, node.reactor.clone())).collect()
        };
        if !ready.is_empty() {
            let (key, reactor) = self.schedule.pick(&ready);
            self.trace.note("turn", u64::from(*key), 0);
            executor::turn(reactor);
            return true;
        }
        let next_event = self.events.borrow().peek().map(|Reverse(first)| first.at_ns);
        let nodes = self.nodes.borrow();
        let timers = nodes.values().filter_map(|node| node.reactor.next_deadline());
        let next = timers.map(crate::Instant::as_ns).chain(next_event).min();
        if let Some(next) = next {
            clock::set(next.max(Self::now_ns()));
        }
        next.is_some()
    }

    fn handle(&self, event: Event) {
        match event {
            Event::Finish { reactor, op, result } => self.finish(reactor, op, result),
            Event::Cancel { reactor, op } => self.cancel(reactor, op),
            Event::Write { reactor, op, handle, position, syncs_itself, then_sync } => {
                let pair = (op, then_sync);
                self.write(reactor, pair, handle, position, syncs_itself);
            }
            Event::Sync { reactor, op, handle, up_to } => {
                if let Some((_, machine)) = self.reactor(reactor) {
                    let result = machine.disk.borrow_mut().sync(handle, up_to);
                    self.trace.note("sync", u64::from(handle), up_to);
                    self.finish(reactor, op, code(result.map(|()| 0)));
                }
            }
            Event::SyncFileSystem { reactor, op, up_to } => {
                if let Some((_, machine)) = self.reactor(reactor) {
                    let result = machine.disk.borrow_mut().sync_all(up_to);
                    self.trace.note("syncfs", u64::from(machine.id), up_to);
                    self.finish(reactor, op, code(result.map(|()| 0)));
                }
            }
            Event::Read { reactor, op, handle, position, count } => {
                self.read(reactor, op, handle, position, count);
            }
            Event::Call { reactor, op, call } => self.call(reactor, op, call),
            Event::Start { machine, boot, main } => {
                let now = self.machines.borrow()[machine as usize].boot.get();
                if let Some(world) = super::current().filter(|_| now == boot) {
                    super::start(&world, machine, main);
                }
            }
            Event::Net(event) => self.net_event(event),
        }
    }

    fn write(&self, key: u32, pair: (OpId, Option<OpId>), handle: u32, position: u64, syncs_itself: bool) {
        let Some((reactor, machine)) = self.reactor(key) else { return };
        let Some(Written { data, alignment }) = written(&reactor, pair.0) else { return };
        self.trace.note("write", u64::from(handle), position + data.len() as u64);
        let mut disk = machine.disk.borrow_mut();
        let result = disk
            .write(handle, position, &data, alignment)
            .and_then(|change| if syncs_itself { disk.sync_write(handle, change) } else { Ok(()) });
        let up_to = disk.now();
        drop(disk);
        match (pair.1, &result) {
            // The link holds: the sync begins when the write has ended.
            (Some(op), Ok(())) => self.after_disk_time(Event::Sync { reactor: key, op, handle, up_to }),
            (Some(op), Err(_)) => {
                self.soon(Event::Finish { reactor: key, op, result: -libc::ECANCELED });
            }
            (None, _) => {}
        }
        self.finish(key, pair.0, code(result.map(|()| data.len() as i32)));
    }

    fn read(&self, key: u32, op: OpId, handle: u32, position: u64, count: usize) {
        let Some((reactor, machine)) = self.reactor(key) else { return };
        let bytes = machine.disk.borrow_mut().read(handle, position, count);
        let result = bytes.map(|bytes| {
            let driver = reactor.driver();
            let mut ops = driver.ops().borrow_mut();
            if let Some(Keep::Read(_, buffer)) = ops.keep_of(op) {
                for (place, byte) in buffer.spare_capacity_mut().iter_mut().zip(&bytes) {
                    place.write(*byte);
                }
            }
            bytes.len() as i32
        });
        self.finish(key, op, code(result));
    }

    fn call(&self, key: u32, op: OpId, call: Call) {
        let Some((reactor, machine)) = self.reactor(key) else { return };
        let mut disk = machine.disk.borrow_mut();
        let result = match call {
            Call::Open { path, flags } => disk.open(&path, flags).map(|handle| handle as i32),
            Call::MakeDir(path) => disk.make_dir(&path).map(|()| 0),
            Call::Unlink { path, is_dir } => disk.unlink(&path, is_dir).map(|()| 0),
            Call::Rename { from, to } => disk.rename(&from, &to).map(|()| 0),
            Call::Allocate { handle, position, length } => {
                disk.allocate(handle, position, length).map(|()| 0)
            }
            Call::Status(path) => disk.status(&path).map(|length| {
                if let Some(Keep::Path(arguments)) = reactor.driver().ops().borrow_mut().keep_of(op) {
                    let status = &mut arguments.status;
                    status.stx_mode = if length.is_none() { libc::S_IFDIR } else { libc::S_IFREG } as u16;
                    status.stx_size = length.unwrap_or(0);
                    status.stx_blocks = length.unwrap_or(0).div_ceil(4096) * 8;
                    status.stx_mask = libc::STATX_DIOALIGN;
                    status.stx_dio_offset_align = 512;
                    let ms = clock::wall_ms(Self::now_ns());
                    status.stx_mtime.tv_sec = ms / 1000;
                }
                0
            }),
        };
        drop(disk);
        self.finish(key, op, code(result));
    }

    fn cancel(&self, key: u32, op: OpId) {
        let Some((reactor, _)) = self.reactor(key) else { return };
        let waits_for_net = {
            let mut ops = reactor.driver().ops().borrow_mut();
            ops.keep_of(op).is_some_and(|keep| keep.cancel_when_dropped() && !matches!(keep, Keep::Read(..)))
        };
        if waits_for_net && self.net.borrow_mut().forget(key, op) {
            self.finish(key, op, -libc::ECANCELED);
        }
    }

    /// Ends all reactors of a machine. What was on its way to the disk may have reached it, in any part.
    pub(super) fn stop_machine(&self, id: u32, how: Stop) {
        let machine = self.machines.borrow()[id as usize].clone();
        let stopped: Vec<u32> = {
            let nodes = self.nodes.borrow();
            nodes.iter().filter(|(_, node)| node.machine == id).map(|(key, _)| *key).collect()
        };
        self.land_writes(&machine, &stopped, how);
        // The machine's files are closed before destructors of its tasks could close them once more.
        machine.boot.set(machine.boot.get() + 1);
        machine.calls_left.set(None);
        match how {
            Stop::PowerCut => machine.disk.borrow_mut().cut(&self.disk_random),
            Stop::Kill => machine.disk.borrow_mut().close_all(),
        }
        self.drop_connections(&stopped);
        for key in stopped {
            let node = self.nodes.borrow_mut().remove(&key);
            if let Some(node) = node {
                drop(node.main);
                executor::end(&node.reactor);
            }
        }
        self.trace.note("stopped", u64::from(id), u64::from(machine.boot.get()));
    }

    /// Writes in flight when everything stops: each may be done, undone or, at a power cut, torn.
    fn land_writes(&self, machine: &Machine, stopped: &[u32], how: Stop) {
        let mut events = self.events.borrow_mut();
        let all = std::mem::take(&mut *events).into_sorted_vec();
        // Sorted from the latest on, because of `Reverse`.
        for Reverse(timed) in all.into_iter().rev() {
            let key = match &timed.event {
                Event::Write { reactor, .. }
                | Event::Sync { reactor, .. }
                | Event::SyncFileSystem { reactor, .. }
                | Event::Read { reactor, .. }
                | Event::Call { reactor, .. }
                | Event::Finish { reactor, .. }
                | Event::Cancel { reactor, .. } => *reactor,
                Event::Net(_) | Event::Start { .. } => 0,
            };
            if !stopped.contains(&key) {
                events.push(Reverse(timed));
                continue;
            }
            let Event::Write { op, handle, position, .. } = timed.event else { continue };
            let Some(node) = self.nodes.borrow().get(&key).map(|node| node.reactor.clone()) else { continue };
            if let Some(Written { data, .. }) = written(&node, op)
                && (how == Stop::PowerCut || self.disk_random.one_in(2))
            {
                machine.disk.borrow_mut().write_torn(handle, position, &data);
            }
        }
    }

    /// Takes the reactors out whose main future has returned.
    pub(super) fn reap(&self) {
        let ended: Vec<u32> = {
            let nodes = self.nodes.borrow();
            nodes.iter().filter(|(_, node)| node.main.is_finished()).map(|(key, _)| *key).collect()
        };
        for key in ended {
            let node = self.nodes.borrow_mut().remove(&key);
            if let Some(node) = node {
                executor::end(&node.reactor);
            }
        }
    }

    /// Drops everything that belongs to reactors, at the end of the simulation.
    pub(super) fn end(&self) {
        for id in 0..self.machines.borrow().len() {
            self.stop_machine(id as u32, Stop::Kill);
        }
        self.events.borrow_mut().clear();
    }
}

/// How a machine stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    PowerCut,
    Kill,
}

/// What a write under way writes, as it is in memory now, and how what it writes is aligned in memory, each part of it.
struct Written {
    data: Bytes,
    alignment: usize,
}

fn written(reactor: &Reactor, op: OpId) -> Option<Written> {
    match reactor.driver().ops().borrow_mut().keep_of(op) {
        Some(Keep::Write(_, data)) => Some(Written { data: data.clone(), alignment: alignment_of(data) }),
        Some(Keep::WriteParts(_, parts)) => {
            let parts = parts.list();
            let first = &parts[..parts.len().min(WRITE_PARTS_MAX)];
            let alignment = first.iter().map(|part| alignment_of(part)).min()?;
            Some(Written { data: first.concat().into(), alignment })
        }
        _ => None,
    }
}

/// Ends an operation of a reactor, whose wakers then run as on its thread.
pub(super) fn finish(reactor: &Rc<Reactor>, op: OpId, result: i32) {
    executor::enter(reactor, || {
        if let Driver::Sim(driver) = reactor.driver()
            && driver.ops().borrow_mut().keep_of(op).is_some()
        {
            driver.complete(op, result);
        }
    });
}

fn code(result: io::Result<i32>) -> i32 {
    result.unwrap_or_else(|error| -error.raw_os_error().unwrap_or(libc::EIO))
}
