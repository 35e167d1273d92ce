//! The simulator: the same reactors in virtual time, on simulated disks and a simulated network, all on one thread and
//! from one seed.
//!
//! A [`Simulation`] has machines, each with a disk; reactors are started on machines and run the same code as on a ring. The
//! test drives it from outside: it steps, looks, cuts the power, starts again. Time stands still while a task runs, but
//! for what its poll is said to cost, and leaps to the next event when there is nothing to do.
//!
//! **One seed, one trace.** The schedule, the disk and the network draw from streams of their own. Everything that happens
//! goes into a hash ([`Simulation::trace_hash`]); two runs of one seed must have the same. Code that runs in it must not ask
//! the system for time, randomness or the order of a hash map.
//!
//! **Power cuts** ([`Simulation::power_cut`]) take what no sync has made durable, wholly, partly or not at all; writes under way
//! tear by sectors. **Kills** ([`Simulation::kill`]) end the process and leave what the system has.

pub(crate) mod calls;
pub(crate) mod clock;
pub(crate) mod disk;
mod driver;
pub(crate) mod either;
pub(crate) mod net;
mod random;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

pub use disk::{DiskStats, Fault, On};
pub(crate) use driver::Driver;
pub use random::Random;

pub use crate::planted::Planted;

use crate::executor::{self, Reactor};
use crate::ring::file::OpenFile;
use crate::ring::net::Socket;
use crate::task::Priority;
use crate::time::{self, Instant};
use world::{Event, Machine, Node, Stop, World};

/// What a simulation is made from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of everything.
    pub seed: u64,
    /// Virtual time that one poll of a task takes at most, in nanoseconds.
    pub poll_ns_max: u64,
}

impl Options {
    /// The usual ones.
    pub fn new(seed: u64) -> Self {
        Self { seed, poll_ns_max: 8_000 }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

pub(crate) fn current() -> Option<Rc<World>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// True if a simulation runs on this thread.
pub(crate) fn is_running() -> bool {
    clock::now_ns().is_some()
}

pub(crate) fn machine(id: u32) -> Option<Rc<Machine>> {
    current()?.machines.borrow().get(id as usize).cloned()
}

/// The disk under the current reactor, if that is a simulated one; of the first machine, outside of reactors.
pub(crate) fn current_disk() -> Option<DiskOf> {
    let world = current()?;
    let own = executor::try_with(|reactor| Some(reactor?.driver().simulated()?.machine.clone()));
    let machine = own.or_else(|| world.machines.borrow().first().cloned())?;
    Some(DiskOf(machine))
}

/// A machine, seen as its disk.
pub(crate) struct DiskOf(Rc<Machine>);

impl std::ops::Deref for DiskOf {
    type Target = RefCell<disk::Disk>;

    fn deref(&self) -> &Self::Target {
        &self.0.disk
    }
}

/// A poll of a task takes virtual time.
pub(crate) fn spend() {
    if let Some(world) = current() {
        let cost = 100 + world.schedule.below(world.options.poll_ns_max.max(1));
        clock::set(World::now_ns() + cost);
    }
}

/// Sends a range of a simulated file.
pub(crate) async fn send_file(
    socket: &Rc<Socket>,
    file: &Arc<OpenFile>,
    position: u64,
    length: u64,
) -> io::Result<()> {
    let mut at = position;
    let end = position + length;
    while at < end {
        let count = (end - at).min(64 << 10) as usize;
        let buffer = BytesMut::with_capacity(count);
        let read = executor::with(|reactor| reactor.driver().read(file, buffer, count, at));
        let mut bytes = match executor::completed_read(read.await)? {
            bytes if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => bytes,
        };
        at += bytes.len() as u64;
        while !bytes.is_empty() {
            let send = executor::with(|reactor| reactor.driver().send(socket, bytes.clone()));
            let sent = crate::sys::outcome(send.await.result)?;
            bytes::Buf::advance(&mut bytes, sent);
        }
    }
    Ok(())
}

/// Starts a reactor beside the current one, on its machine, within the next steps; it never starts if the machine stops
/// before. Ends when the future that `main` makes returns.
///
/// # Panics
/// Outside a simulated reactor.
pub fn spawn<F, Fut>(main: F)
where
    F: FnOnce() -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let machine = executor::with(|reactor| reactor.driver().simulated().map(|driver| driver.machine.clone()));
    let (Some(world), Some(machine)) = (current(), machine) else { panic!("not on a simulated reactor") };
    let boot = machine.boot.get();
    world.soon(Event::Start { machine: machine.id, boot, main: Box::new(|| Box::pin(main())) });
}

/// Which reactor of a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ReactorId(u32);

fn start<Fut>(world: &Rc<World>, machine: u32, main: impl FnOnce() -> Fut) -> u32
where
    Fut: Future<Output = ()> + 'static,
{
    let key = world.take_key();
    let host = world.machines.borrow()[machine as usize].clone();
    let driver = Driver::new(world.clone(), host, key);
    let seed = world.schedule.next();
    let reactor = Reactor::simulated(driver, seed);
    let main = executor::enter(&reactor, || crate::task::spawn(Priority::Latency, "main", main()));
    world.nodes.borrow_mut().insert(key, Node { reactor, machine, main });
    key
}

/// Which machine of a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MachineId(u32);

/// A simulation on the calling thread; one at a time.
pub struct Simulation {
    world: Rc<World>,
}

impl Simulation {
    /// An empty world.
    ///
    /// # Panics
    /// If one runs on this thread.
    pub fn new(options: Options) -> Self {
        clock::start();
        let world = Rc::new(World::new(options));
        CURRENT.set(Some(world.clone()));
        Self { world }
    }

    /// Adds a machine with an empty disk of `capacity` bytes. `fua`: what its disk says of forced unit access.
    pub fn machine(&self, capacity: u64, fua: Option<bool>) -> MachineId {
        let mut machines = self.world.machines.borrow_mut();
        let id = machines.len() as u32;
        let disk = RefCell::new(disk::Disk::new(capacity, fua));
        let (boot, calls_left) = (Cell::new(0), Cell::new(None));
        machines.push(Rc::new(Machine { id, boot, disk, calls_left }));
        MachineId(id)
    }

    /// What direct writes to a machine's disk must be multiples of, 512 bytes at first.
    pub fn set_sector(&self, machine: MachineId, bytes: u64) {
        self.world.machines.borrow()[machine.0 as usize].disk.borrow_mut().sector = bytes;
    }

    /// Starts a reactor on a machine; it ends when the future that `main` makes returns.
    pub fn start<F, Fut>(&self, machine: MachineId, main: F) -> ReactorId
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = ()> + 'static,
    {
        ReactorId(start(&self.world, machine.0, main))
    }

    /// True when a reactor has ended, by itself or with its machine.
    pub fn has_ended(&self, reactor: ReactorId) -> bool {
        self.world.nodes.borrow().get(&reactor.0).is_none_or(|node| node.main.is_finished())
    }

    /// Does the next thing. False: nothing will ever happen again.
    pub fn step(&self) -> bool {
        let goes_on = self.world.step();
        self.world.reap();
        goes_on
    }

    /// Steps until `done` says so (true), or the time is up or nothing happens any more (false).
    pub fn run_until(&self, deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
        while !done() {
            if time::now() >= deadline || !self.step() {
                return done();
            }
        }
        true
    }

    /// Cuts the power of a machine: its reactors are gone, and so is what was not durable, or a part of it.
    pub fn power_cut(&self, machine: MachineId) {
        self.world.stop_machine(machine.0, Stop::PowerCut);
    }

    /// Lets the power of a machine fail after so many more calls that block ([`crate::blocking`]): it does none from then on,
    /// and the test, which asks [`power_has_failed`](Self::power_has_failed) after each step, cuts it for good.
    pub fn fail_power_after_calls(&self, machine: MachineId, calls: u64) {
        self.world.machines.borrow()[machine.0 as usize].calls_left.set(Some(calls));
    }

    /// True when those calls are used up, until the machine is stopped.
    pub fn power_has_failed(&self, machine: MachineId) -> bool {
        self.world.machines.borrow()[machine.0 as usize].calls_left.get() == Some(0)
    }

    /// Kills the process on a machine: its reactors are gone, what the system has of their writes stays.
    pub fn kill(&self, machine: MachineId) {
        self.world.stop_machine(machine.0, Stop::Kill);
    }

    /// Breaks one connection, if there is any.
    pub fn cut_a_connection(&self) {
        let all = self.world.net.borrow().established();
        if !all.is_empty() {
            let id = *self.world.net_random.pick(&all);
            self.world.reset(id);
        }
    }

    /// Plants a bug.
    pub fn plant(&self, bug: Planted) {
        self.world.plant(bug);
    }

    /// Makes all disks slower by a factor from now on.
    pub fn slow_disks(&self, factor: u64) {
        self.world.slowness.set(factor.max(1));
    }

    fn disk<T>(&self, machine: MachineId, f: impl FnOnce(&mut disk::Disk) -> T) -> T {
        let machine = self.world.machines.borrow()[machine.0 as usize].clone();
        let mut disk = machine.disk.borrow_mut();
        f(&mut disk)
    }

    /// Adds a rule by which operations on a machine's disk fail.
    pub fn fail(&self, machine: MachineId, fault: Fault) {
        self.disk(machine, |disk| disk.faults.add(fault));
    }

    /// Removes all such rules.
    pub fn heal(&self, machine: MachineId) {
        self.disk(machine, |disk| disk.faults.clear());
    }

    /// Changes the size of a disk, in bytes.
    pub fn set_capacity(&self, machine: MachineId, capacity: u64) {
        self.disk(machine, |disk| disk.set_capacity(capacity));
    }

    /// Bytes in use on a disk.
    pub fn used(&self, machine: MachineId) -> u64 {
        self.disk(machine, |disk| disk.used())
    }

    /// Counters of a disk.
    pub fn disk_stats(&self, machine: MachineId) -> DiskStats {
        self.disk(machine, |disk| disk.stats)
    }

    /// All files on a disk and their lengths, in order of their paths.
    pub fn files(&self, machine: MachineId) -> Vec<(String, u64)> {
        self.disk(machine, |disk| disk.files())
    }

    /// Turns one bit of a file over, on the medium.
    pub fn flip_bit(&self, machine: MachineId, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        self.disk(machine, |disk| disk.flip(path, position, bit))
    }

    /// A hash of everything that has happened.
    pub fn trace_hash(&self) -> u64 {
        self.world.trace.hash()
    }

    /// How many things have happened.
    pub fn events(&self) -> u64 {
        self.world.trace.count()
    }

    /// Notes something of the test's own in the trace.
    pub fn note(&self, what: &'static str, subject: u64, detail: u64) {
        self.world.trace.note(what, subject, detail);
    }

    /// The last events, to be printed.
    pub fn last_events(&self) -> impl fmt::Display + '_ {
        &self.world.trace
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.world.end();
        CURRENT.set(None);
        clock::stop();
    }
}
