//! One run: a machine, its lives one after the other, and after each start the comparison of what is there with what must be.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use reactor::planted::Planted;
use reactor::sim::{Fault, MachineId, On, Options, Random, Simulation};
use reactor::{Priority, spawn};
use storage::limits::BLOCK;
use storage::types::{LogId, Offset};
use storage::{DataDir, Store, StoreOptions, StoreStats, place_anew};

use crate::checks;
use crate::model::{Model, shard_of};
use crate::plan::{End, Life, Plan, Trouble, log_config};
use crate::work::{self, Shard};

/// What every batch of runs must have seen, so that it was not idle.
pub(crate) const COUNTED: [&str; 22] = [
    "acknowledged",
    "duplicates",
    "reads",
    "truncated",
    "deleted and created again",
    "rolled",
    "refused for space",
    "resumed after full",
    "power cuts",
    "kills",
    "closes",
    "cuts in recovery",
    "shard changes",
    "ring wrapped",
    "checkpoints",
    "carried",
    "synced together",
    "blocks written in place",
    "made together",
    "poisoned",
    "commits replayed",
    "refused to start",
];

/// What a run has and saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) options: StoreOptions,
    pub(crate) active_logs: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Seen {
    pub(crate) fn new(options: StoreOptions, active_logs: u64) -> Self {
        Self { options, active_logs, counts: COUNTED.iter().map(|what| (*what, 0)).collect() }
    }

    /// Counts one of [`COUNTED`].
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.get_mut(what).expect("it is counted") += count;
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        self.counts[what]
    }

    pub(crate) fn add_all(&mut self, other: &Seen) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = COUNTED.iter().map(|what| format!("{what} {}", self.get(what))).collect();
        f.write_str(&all.join(", "))
    }
}

/// What a run gives.
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) hash: u64,
}

struct Run {
    simulation: Simulation,
    machine: MachineId,
    plan: Plan,
    model: Rc<RefCell<Model>>,
    seen: Rc<RefCell<Seen>>,
    random: Rc<Random>,
    shards_before: Cell<u32>,
    /// A start was refused, as it may be on a disk that fails.
    refused: Rc<Cell<bool>>,
}

/// Runs one seed. Panics when a promise is broken; the last events are printed then.
pub(crate) fn run(seed: u64, planted: Option<Planted>) -> Outcome {
    let plan = Plan::new(seed);
    let simulation = Simulation::new(Options::new(seed));
    if let Some(bug) = planted {
        simulation.plant(bug);
    }
    let machine = simulation.machine(u64::MAX, plan.fua);
    simulation.set_sector(machine, plan.sector);
    let seen = Rc::new(RefCell::new(Seen::new(plan.options.clone(), plan.active_logs)));
    let run = Run {
        simulation,
        machine,
        model: Rc::new(RefCell::new(Model::default())),
        seen,
        random: Rc::new(Random::new(seed, "workload")),
        plan,
        shards_before: Cell::new(0),
        refused: Rc::default(),
    };
    run.make_logs();
    let guard = PrintOnPanic { simulation: &run.simulation, quiet: planted.is_some() };
    for life in run.plan.lives.clone() {
        run.live(&life);
    }
    let last = Life { shards: 1, length_us: 0, end: End::Close, early: false, trouble: Trouble::None };
    run.live(&last);
    drop(guard);
    let seen = run.seen.borrow().clone();
    Outcome { seen, hash: run.simulation.trace_hash() }
}

struct PrintOnPanic<'a> {
    simulation: &'a Simulation,
    quiet: bool,
}

impl Drop for PrintOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.quiet {
            eprintln!("{}", self.simulation.last_events());
        }
    }
}

impl Run {
    fn make_logs(&self) {
        let mut model = self.model.borrow_mut();
        for number in 0..self.plan.active_logs + self.plan.idle_logs {
            let idempotent = self.random.one_in(2);
            model.create(&format!("topic-{number}"), log_config(&self.random), idempotent);
        }
    }

    fn live(&self, life: &Life) {
        say(|| format!("{life:?}"));
        let begin = reactor::now();
        let length = Duration::from_micros(life.length_us);
        self.trouble(life);
        if self.shards_before.replace(life.shards) != life.shards && self.shards_before.get() != 0 {
            self.seen.borrow_mut().add("shard changes", 1);
        }
        let deadline = begin + length;
        let placed = self.lay_out(life);
        let patience = begin + Duration::from_secs(120);
        let until = if life.early { deadline } else { patience };
        self.refused.set(false);
        self.simulation.run_until(until, || placed.get() || self.refused.get());
        let laid_out = placed.get();
        assert!(laid_out || life.early || self.refused.get(), "the folder is not laid out after two minutes");
        let opened = Rc::new(Cell::new(0));
        let closed = Rc::new(Cell::new(0));
        let stop = Rc::new(Cell::new(false));
        if laid_out {
            self.start_shards(life, &opened, &closed, &stop);
            self.simulation.run_until(until, || opened.get() == life.shards || self.refused.get());
            let recovered = opened.get() == life.shards;
            assert!(
                recovered || life.early || self.refused.get(),
                "recovery has not ended after two minutes"
            );
            if life.early {
                self.seen.borrow_mut().add("cuts in recovery", u64::from(!recovered));
            }
            if recovered && life.length_us > 0 {
                let end = reactor::now() + length;
                self.simulation.run_until(end, || false);
                self.after_trouble(life);
            }
        }
        if self.refused.get() {
            self.seen.borrow_mut().add("refused to start", 1);
            self.end(&Life { end: End::Kill, ..life.clone() }, &closed, &stop);
        } else {
            self.end(life, &closed, &stop);
        }
    }

    /// What goes wrong with the disk in this life.
    fn trouble(&self, life: &Life) {
        let after = self.random.range(5..400);
        let fault = |on, path: &str| Fault { on, path: path.into(), errno: 5, after, times: 1 };
        match life.trouble {
            Trouble::None => {}
            Trouble::RingFails => {
                let on = if self.random.one_in(2) { On::Write } else { On::Sync };
                self.simulation.fail(self.machine, fault(on, "ring-"));
            }
            Trouble::SegmentFails => {
                let on = if self.random.one_in(2) { On::Write } else { On::Sync };
                let after = self.random.below(20);
                let errno = self.plan.segment_errno;
                self.simulation.fail(self.machine, Fault { after, errno, ..fault(on, "/topics/") });
            }
            Trouble::Full => {
                let room = self.plan.options.free_bytes_min + self.random.range(0..400 << 10);
                self.simulation.set_capacity(self.machine, self.simulation.used(self.machine) + room);
            }
            Trouble::Slow => self.simulation.slow_disks(20),
        }
    }

    /// After a full disk there is room again, and appends are taken without a restart.
    fn after_trouble(&self, life: &Life) {
        if life.trouble != Trouble::Full || life.early {
            return;
        }
        self.simulation.set_capacity(self.machine, u64::MAX);
        if self.seen.borrow().get("refused for space") > 0 {
            let before = self.seen.borrow().get("acknowledged");
            let patience = reactor::now() + Duration::from_secs(20);
            let resumed =
                self.simulation.run_until(patience, || self.seen.borrow().get("acknowledged") > before + 3);
            assert!(resumed, "nothing is acknowledged 20 s after there is room again");
            self.seen.borrow_mut().add("resumed after full", 1);
        }
    }

    /// Lays the folder out for the life's number of shards, on a reactor of its own, as a broker does.
    fn lay_out(&self, life: &Life) -> Rc<Cell<bool>> {
        let done = Rc::new(Cell::new(false));
        let (placed, options) = (done.clone(), self.plan.options.clone());
        let (catalog, shards) = (self.model.borrow().catalog(), life.shards);
        let (may_refuse, refused) = (life.trouble != Trouble::None, self.refused.clone());
        self.simulation.start(self.machine, move || async move {
            let placing = async {
                let dir = DataDir::open(&options.data_dir).await?;
                let place = |id: LogId| shard_of(id.0, shards);
                place_anew(&dir, &options, &catalog, shards, place).await
            };
            match placing.await {
                Ok(_) => placed.set(true),
                Err(error) if may_refuse => refused.set(error.to_string().len() > 10),
                Err(error) => panic!("the folder is refused: {error}"),
            }
        });
        done
    }

    fn start_shards(
        &self,
        life: &Life,
        opened: &Rc<Cell<u32>>,
        closed: &Rc<Cell<u32>>,
        stop: &Rc<Cell<bool>>,
    ) {
        for index in 0..life.shards {
            let shared = (opened.clone(), closed.clone(), stop.clone());
            let (model, seen, random) = (self.model.clone(), self.seen.clone(), self.random.clone());
            let options = StoreOptions { shard: index, ..self.plan.options.clone() };
            let (shards, producers) = (life.shards, self.plan.producers);
            let (may_refuse, refused) = (life.trouble != Trouble::None, self.refused.clone());
            self.simulation.start(self.machine, move || async move {
                let (opened, closed, stop) = shared;
                let catalog = model.borrow().catalog();
                let (store, report) = match Store::open(options.clone(), &catalog).await {
                    Ok(opened) => opened,
                    Err(error) if may_refuse => return refused.set(error.to_string().len() > 10),
                    Err(error) => panic!("shard {index} does not start: {error}"),
                };
                checks::bounds::recovery(&report, &options);
                seen.borrow_mut().add("commits replayed", report.commits);
                let shard = Shard { index, shards, store, model, random, seen };
                compare(&shard).await;
                opened.set(opened.get() + 1);
                for _ in 0..producers {
                    spawn(Priority::Latency, "produce", work::produce(shard.clone())).detach();
                }
                for _ in 0..2 {
                    spawn(Priority::Latency, "consume", work::consume(shard.clone())).detach();
                }
                spawn(Priority::Latency, "disturb", work::disturb(shard.clone())).detach();
                let mut stats = StoreStats::default();
                while !stop.get() {
                    reactor::sleep(Duration::from_millis(1)).await;
                    take_counters(&shard, &mut stats);
                }
                close(&shard).await;
                closed.set(closed.get() + 1);
            });
        }
    }

    fn end(&self, life: &Life, closed: &Rc<Cell<u32>>, stop: &Rc<Cell<bool>>) {
        match life.end {
            End::PowerCut => {
                self.seen.borrow_mut().add("power cuts", 1);
                self.simulation.power_cut(self.machine);
            }
            End::Kill => {
                self.seen.borrow_mut().add("kills", 1);
                self.simulation.kill(self.machine);
            }
            End::Close => {
                self.seen.borrow_mut().add("closes", 1);
                stop.set(true);
                let patience = reactor::now() + Duration::from_secs(120);
                let all = || closed.get() == life.shards;
                assert!(self.simulation.run_until(patience, all), "not closed after two minutes");
                self.simulation.kill(self.machine);
            }
        }
        self.simulation.heal(self.machine);
        self.simulation.slow_disks(1);
        self.simulation.set_capacity(self.machine, u64::MAX);
        for log in self.model.borrow_mut().live.values_mut() {
            log.offline = false;
            if let Some(producer) = &mut log.idempotent {
                producer.busy = false;
            }
        }
    }
}

/// Tells what happens, when `SIM_VERBOSE` is set.
pub(crate) fn say(what: impl FnOnce() -> String) {
    if std::env::var_os("SIM_VERBOSE").is_some() {
        eprintln!("{:>14.3} us  {}", reactor::now().as_ns() as f64 / 1e3 - 1e6, what());
    }
}

/// After a recovery: every log of the shard is as promised, and every batch in it is read and compared.
async fn compare(shard: &Shard) {
    let ids = shard.model.borrow().on_shard(shard.index, shard.shards);
    for id in ids {
        let spec = match shard.model.borrow().live.get(&id) {
            Some(log) => log.spec.clone(),
            None => continue,
        };
        let log = shard.store.create_log(spec).expect("the store is open");
        {
            let mut model = shard.model.borrow_mut();
            let Some(known) = model.live.get_mut(&id) else { continue };
            say(|| format!("log {id} is there from {} to {}", log.start_offset(), log.end_offset()));
            checks::lost::settle(known, log.end_offset().0);
            assert_eq!(log.flushed_offset(), log.end_offset(), "log {id}: recovered and not flushed");
            checks::ends::check(known, &log);
            checks::duplicates::check(known);
            // What was in flight is decided now.
            known.start = log.start_offset().0;
            known.start_max = known.start;
        }
        let mut from = log.start_offset();
        while from < log.flushed_offset() {
            let read = log.read(from, 100_000, Offset::MAX).await;
            let bytes = match read {
                Ok(read) => read.into_bytes().await.expect("files have what they promise"),
                Err(error) => panic!("log {id}: cannot be read at {from}: {error}"),
            };
            let mut model = shard.model.borrow_mut();
            let Some(known) = model.live.get_mut(&id) else { break };
            let next = checks::bytes::check(known, from.0, bytes);
            assert!(next > from.0, "log {id}: nothing at {from} of {}", log.flushed_offset());
            checks::shown::note(known, next, log.flushed_offset().0);
            from = Offset(next);
        }
    }
}

fn take_counters(shard: &Shard, before: &mut StoreStats) {
    let stats = shard.store.stats();
    let mut seen = shard.seen.borrow_mut();
    let laps = |stats: &StoreStats| stats.commits.bytes / stats.ring_bytes.max(1);
    seen.add("ring wrapped", laps(&stats).saturating_sub(laps(before)));
    seen.add("checkpoints", stats.checkpoints - before.checkpoints);
    seen.add("carried", stats.carried - before.carried);
    seen.add("synced together", stats.synced_together - before.synced_together);
    let in_place = |stats: &StoreStats| (stats.writeback_bytes - stats.writeback_copied_bytes) / BLOCK;
    seen.add("blocks written in place", in_place(&stats) - in_place(before));
    seen.add("made together", stats.made_together - before.made_together);
    seen.add("poisoned", u64::from(stats.poisoned && !before.poisoned));
    *before = stats;
}

/// A clean end: everything staged is durable.
async fn close(shard: &Shard) {
    let ids = shard.model.borrow().on_shard(shard.index, shard.shards);
    if shard.store.close().await.is_err() {
        return;
    }
    let mut model = shard.model.borrow_mut();
    for id in ids {
        let Some(known) = model.live.get_mut(&id) else { continue };
        for batch in &mut known.batches {
            batch.acknowledged |= known.truncating.is_none() && !known.offline;
        }
    }
}
