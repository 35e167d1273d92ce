//! The machines of a run: the broker's, whose lives begin and end, and the clients'.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use broker::config::BrokerConfig;
use broker::start::Recovered;
use broker::start::simulated::{self, Broker};
use reactor::Instant;
use reactor::sim::{Fault, MachineId, On, Options, Simulation};
use storage::StoreStats;

use crate::checkers::bounds::Bounds;
use crate::checkers::recovery::{self, Start};
use crate::checkers::{Verdict, budgets};
use crate::history::{Counts, Shared};
use crate::plan::{End, Plan};
use crate::workload;

/// Room on the broker's disk, as long as nobody fills it.
const DISK_BYTES: u64 = 4 << 30;
/// Steps between two looks at the shards.
const STEPS_A_LOOK: u64 = 64;
/// Virtual time that anything may take that must end.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the process of the broker says.
#[derive(Default)]
struct Process {
    started: Option<Result<Vec<Recovered>, String>>,
    stopped: bool,
}

pub(crate) struct Cluster {
    pub(crate) sim: Simulation,
    broker: MachineId,
    clients: MachineId,
    config: BrokerConfig,
    address: SocketAddr,
    process: Rc<RefCell<Process>>,
    stop: Option<Sender<()>>,
    shards: u32,
    shards_before: u32,
    began: Instant,
    read_before: u64,
    slowness: u32,
    steps: u64,
    bounds: Bounds,
    /// Of the shards of this life, as last seen.
    stats: Vec<StoreStats>,
    pub(crate) shared: Shared,
}

impl Cluster {
    pub(crate) fn new(plan: &Plan) -> Self {
        let sim = Simulation::new(Options::new(plan.seed));
        let broker = sim.machine(DISK_BYTES, plan.fua);
        let clients = sim.machine(DISK_BYTES, None);
        let address: SocketAddr = ([127, 0, 0, 1], 9092).into();
        Self {
            sim,
            broker,
            clients,
            config: plan.config.clone(),
            address,
            process: Rc::default(),
            stop: None,
            shards: 0,
            shards_before: 0,
            began: reactor::now(),
            read_before: 0,
            slowness: 1,
            steps: 0,
            bounds: Bounds::default(),
            stats: Vec::new(),
            shared: Shared::new(plan.seed, address),
        }
    }

    /// Lets the clients begin.
    pub(crate) fn start_clients(&self, plan: Plan) {
        let shared = self.shared.clone();
        self.sim.start(self.clients, move || async move {
            workload::start(&shared, &plan);
            std::future::pending::<()>().await;
        });
    }

    /// Reads and judges everything; the contents.
    pub(crate) fn read_all(&mut self) -> workload::reader::Contents {
        let (shared, place) = (self.shared.clone(), Rc::new(RefCell::new(None)));
        let read = place.clone();
        self.sim.start(self.clients, move || async move {
            let contents = workload::reader::read_all(&shared).await;
            *read.borrow_mut() = Some(contents);
        });
        self.run_until("everything is read", || place.borrow().is_some());
        place.take().unwrap_or_default()
    }

    /// Begins a life of the broker. Nothing has happened yet when this returns.
    pub(crate) fn begin(&mut self, shards: u32) {
        let (stop, stopping): (Sender<()>, Receiver<()>) = async_channel::bounded(1);
        self.process = Rc::default();
        self.stop = Some(stop);
        if self.shards != 0 && self.shards != shards {
            self.count("core-count changes", 1);
        }
        (self.shards_before, self.shards) = (self.shards, shards);
        self.began = reactor::now();
        self.read_before = self.sim.disk_stats(self.broker).read_bytes;
        self.stats.clear();
        let (process, config, address) = (self.process.clone(), self.config.clone(), self.address);
        self.sim.start(self.broker, move || async move {
            match Broker::start(config, address, shards).await {
                Ok(broker) => {
                    process.borrow_mut().started = Some(Ok(broker.recovered().to_vec()));
                    let _ = stopping.recv().await;
                    broker.stop().await;
                    process.borrow_mut().stopped = true;
                }
                Err(error) => {
                    process.borrow_mut().started = Some(Err(error.to_string()));
                    // What was started by then ends by itself.
                    std::future::pending::<()>().await;
                }
            }
        });
    }

    /// Whether the broker has started, or why not.
    fn started(&self) -> Option<Result<Vec<Recovered>, String>> {
        self.process.borrow().started.clone()
    }

    /// As [`Self::wait_until_started`]; false: the power failed before.
    pub(crate) fn wait_until_started_or_dark(&mut self) -> bool {
        while self.process.borrow().started.is_none() {
            if self.sim.power_has_failed(self.broker) {
                return false;
            }
            self.step();
            if self.began.elapsed() > PATIENCE {
                self.fail(&format!("the broker has not started in {PATIENCE:?}"));
            }
        }
        // What fails for want of power is no failure.
        let dark = self.sim.power_has_failed(self.broker);
        if !dark {
            self.wait_until_started();
        }
        !dark
    }

    /// Waits until clients can connect, and judges how long that took.
    pub(crate) fn wait_until_started(&mut self) {
        let process = self.process.clone();
        self.run_until("the broker starts", || process.borrow().started.is_some());
        match self.started() {
            Some(Ok(recovered)) => {
                let replayed = recovered.iter().map(|shard| shard.report.commits).sum();
                self.count("commits replayed", replayed);
                let shards = u64::from(self.shards.max(self.shards_before));
                let start = Start {
                    took: self.began.elapsed(),
                    read_bytes: self.sim.disk_stats(self.broker).read_bytes - self.read_before,
                    ring_bytes: shards * self.config.store.commit_log_bytes,
                    slowness: self.slowness,
                };
                self.judge(recovery::bounded(start));
            }
            Some(Err(why)) => self.fail(&format!("the broker does not start: {why}")),
            None => {}
        }
    }

    /// Lets a moment come, or the power fail before. True: the machine still runs.
    pub(crate) fn run_for(&mut self, time: Duration) -> bool {
        let deadline = reactor::now() + time;
        while reactor::now() < deadline && !self.sim.power_has_failed(self.broker) {
            if !self.step() {
                break;
            }
        }
        !self.sim.power_has_failed(self.broker)
    }

    fn run_until(&mut self, what: &str, done: impl Fn() -> bool) {
        let deadline = reactor::now() + PATIENCE;
        while !done() && self.shared.history().broken.is_none() {
            if reactor::now() > deadline || !self.step() {
                self.fail(&format!("in {PATIENCE:?} it did not happen that {what}"));
            }
        }
        self.fail_if_broken();
    }

    /// Waits until all clients have left.
    pub(crate) fn wait_for_clients(&mut self) {
        let clients = self.shared.clients.clone();
        self.run_until("all clients end what they began", || clients.get() == 0);
    }

    fn step(&mut self) -> bool {
        let goes_on = self.sim.step();
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_A_LOOK) {
            self.look();
        }
        goes_on
    }

    /// Looks at the shards from inside.
    fn look(&mut self) {
        let shards = simulated::shards();
        let verdict: Verdict = shards.iter().try_for_each(|shard| {
            budgets::look(&self.config, shard)?;
            self.bounds.look(shard)
        });
        if !shards.is_empty() {
            self.stats = shards.iter().map(|shard| shard.store.stats()).collect();
            let full = self.stats.iter().filter(|stats| stats.no_space).count() as u64;
            self.count("looks at a full disk", full);
            let segments = shards.iter().flat_map(|shard| shard.partitions());
            let rolled = segments.filter(|partition| partition.log.segment_count() > 1).count() as u64;
            let mut history = self.shared.history_mut();
            let most = history.counts.0.entry("rolled partitions").or_default();
            *most = rolled.max(*most);
        }
        drop(shards);
        self.judge(verdict);
        self.fail_if_broken();
    }

    /// Ends the life of the broker.
    pub(crate) fn end(&mut self, how: End) {
        self.look();
        let recovers = self.process.borrow().started.is_none();
        match how {
            End::PowerCut | End::PowerCutInControl => {
                self.sim.power_cut(self.broker);
                self.count("power cuts", 1);
                self.count("cuts during recovery", u64::from(recovers));
            }
            End::Kill => {
                self.sim.kill(self.broker);
                self.count("kills", 1);
            }
            End::Stop => self.stop(),
        }
        self.sim.heal(self.broker);
        self.sim.set_capacity(self.broker, DISK_BYTES);
        self.slow_disk(1);
        self.count_stats();
    }

    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.try_send(());
        }
        let process = self.process.clone();
        self.run_until("the broker stops", || process.borrow().stopped);
        // The process has ended, the machine goes on.
        self.sim.kill(self.broker);
        self.count("stops", 1);
    }

    fn count_stats(&mut self) {
        for stats in std::mem::take(&mut self.stats) {
            self.count("ring wraps", stats.commits.bytes / stats.ring_bytes.max(1));
            self.count("checkpoints", stats.checkpoints);
            self.count("blocks carried forward", stats.carried);
            self.count("rings poisoned", u64::from(stats.poisoned));
        }
    }

    /// Lets the power fail after so many calls of the control plane's to its files.
    pub(crate) fn fail_power_after_calls(&self, calls: u64) {
        self.sim.fail_power_after_calls(self.broker, calls);
    }

    /// Leaves so much room on the disk.
    pub(crate) fn fill_disk(&self, left: u64) {
        self.sim.set_capacity(self.broker, self.sim.used(self.broker) + left);
    }

    pub(crate) fn empty_disk(&self) {
        self.sim.set_capacity(self.broker, DISK_BYTES);
    }

    pub(crate) fn slow_disk(&mut self, factor: u32) {
        self.slowness = factor;
        self.sim.slow_disks(u64::from(factor));
    }

    /// One sync of files whose paths have this part fails, after some that do not.
    pub(crate) fn fail_a_sync(&self, path: &str, after: u64) {
        let fault = Fault { on: On::Sync, path: path.to_owned(), errno: 5, after, times: 1 };
        self.sim.fail(self.broker, fault);
    }

    fn judge(&self, verdict: Verdict) {
        self.shared.history_mut().judge(verdict);
    }

    pub(crate) fn count(&self, what: &'static str, count: u64) {
        self.shared.history_mut().counts.add(what, count);
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.shared.history().counts.clone();
        let disk = self.sim.disk_stats(self.broker);
        counts.add("writes without room", disk.no_space);
        counts.add("failed operations", disk.failed);
        counts
    }

    pub(crate) fn fail_if_broken(&self) {
        let broken = self.shared.history().broken.clone();
        if let Some(why) = broken {
            self.fail(&why);
        }
    }

    fn fail(&self, why: &str) -> ! {
        let seed = self.shared.seed;
        for shard in simulated::shards() {
            eprintln!(
                "shard {}: {:?}, {:?}",
                shard.index,
                shard.store.stats(),
                shard.request_budget.snapshot()
            );
        }
        panic!(
            "seed {seed}: {why}\n\nthe last events:\n{}\nto repeat it: SEED={seed} cargo test -p broker --test sim one_seed\n",
            self.sim.last_events()
        );
    }
}
