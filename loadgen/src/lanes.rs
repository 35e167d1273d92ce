//! All lanes of one thread: its partitions, spread over the brokers that lead them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority, Task};
use wire::kafka::batch_builder::NewRecord;

use crate::accumulator::{Identity, Template};
use crate::arrivals::Arrivals;
use crate::backlog::Backlog;
use crate::client::{ClientError, Cluster, PartitionLeader};
use crate::limits::{INTERRUPTED_GRACE, PRODUCE_REQUEST_BYTES_MAX, STOP_LOOK, UNACKNOWLEDGED_BYTES_MAX};
use crate::records::RecordSource;
use crate::send_stats::SendStats;
use crate::sender::{Counting, Lane, Moment, Producing, SendSettings};
use crate::tally::{Expected, Goal, Tally};
use crate::threads::Share;
use crate::transaction::{ABORT, COMMIT, Outcome, Transaction, TransactionPlan};

/// Records generated before the rest of the thread gets a turn.
const RECORDS_PER_TURN: u32 = 256;

/// Records of a closed loop written between two looks at the clock; they count as handed over at the first.
const RECORDS_PER_LOOK: u64 = 16;

/// What is promised of each record.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    /// Nothing: what is sent again may be written twice.
    None,
    /// Producer id and sequences: it is written once.
    Idempotent,
    /// And with others of its transaction, or not at all.
    Transactional(TransactionPlan),
}

/// The sending side of one thread.
pub(crate) struct Lanes {
    by_leader: Vec<Rc<Lane>>,
    /// Lane and slot of each partition, in the order in which records go round.
    places: Vec<(usize, usize)>,
    tasks: Vec<Task<Result<SendStats, ClientError>>>,
    backlog: Rc<Backlog>,
    backlog_bytes_max: usize,
    tally: Rc<Tally>,
    /// Of the records that are being written.
    moment: Cell<Moment>,
    transaction: Option<Rc<Transaction>>,
    /// Why the transaction could not be ended.
    failed: RefCell<Option<ClientError>>,
}

/// When to stop writing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) records: u64,
    pub(crate) after: Option<Duration>,
}

impl Stop {
    /// Where a thread's share of the goal ends.
    pub(crate) fn of(goal: Goal, share: &Share) -> Self {
        Self {
            records: goal.records.map_or(u64::MAX, |records| share.part_of(records)),
            after: goal.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }

    /// Whether the time of what began then is over.
    pub(crate) fn is_late(&self, began: Instant) -> bool {
        self.after.is_some_and(|after| began.elapsed() >= after)
    }
}

impl Lanes {
    /// Opens a lane per leader of the share's partitions and starts their tasks.
    pub(crate) async fn open(
        cluster: &Rc<Cluster>,
        share: &Share,
        settings: SendSettings,
        promise: Promise,
        counting: Counting,
    ) -> Result<Self, ClientError> {
        let partitions = &share.partitions;
        let producer = produce_as(cluster, share, settings, promise).await?;
        let backlog = Rc::new(Backlog::default());
        let mut by_leader: BTreeMap<i32, Vec<PartitionLeader>> = BTreeMap::new();
        let mut places = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let group = by_leader.entry(partition.leader).or_default();
            places.push((partition.leader, group.len()));
            group.push(*partition);
        }
        let leaders: Vec<i32> = by_leader.keys().copied().collect();
        let lane_of = |leader| leaders.iter().position(|known| *known == leader).unwrap_or_default();
        let places = places.into_iter().map(|(leader, slot)| (lane_of(leader), slot)).collect();
        let tally = counting.tally.clone();
        let lane = |group| {
            let ours = (backlog.clone(), counting.clone());
            Lane::new(cluster.clone(), share.topic.clone(), group, settings, producer.clone(), ours)
        };
        let lanes: Vec<Rc<Lane>> = by_leader.into_values().map(lane).collect();
        let task = |lane: &Rc<Lane>| reactor::spawn(Priority::Latency, "send-batches", lane.clone().run());
        let tasks = lanes.iter().map(task).collect();
        // Enough that every lane always has its next requests at hand.
        let wanted = lanes.len() * (settings.in_flight + 2) * PRODUCE_REQUEST_BYTES_MAX;
        let backlog_bytes_max = wanted.min(UNACKNOWLEDGED_BYTES_MAX);
        let moment = Cell::new(Moment::now());
        let (transaction, failed) = (producer.transaction, RefCell::default());
        Ok(Self {
            by_leader: lanes,
            places,
            tasks,
            backlog,
            backlog_bytes_max,
            tally,
            moment,
            transaction,
            failed,
        })
    }

    /// The partition at this place of the round.
    pub(crate) fn partition(&self, index: usize) -> i32 {
        let (lane, slot) = self.places[index];
        self.by_leader[lane].partition(slot)
    }

    /// Number that the next record of that partition gets.
    pub(crate) fn next_number(&self, index: usize) -> u64 {
        let (lane, slot) = self.places[index];
        self.by_leader[lane].next_number(slot)
    }

    /// Hands over a record of that partition, due at `intended`.
    pub(crate) fn push(&self, index: usize, record: NewRecord<'_>, intended: Instant) {
        let (lane, slot) = self.places[index];
        self.by_leader[lane].push(slot, record, intended, self.moment.get());
    }

    /// The place of a record: by its key, or the next in the round.
    pub(crate) fn place(&self, key: Option<u64>, round: u64) -> usize {
        (key.unwrap_or(round) % self.places.len() as u64) as usize
    }

    /// Whether the next record belongs to another transaction.
    fn transaction_is_full(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.is_due(self.moment.get().at()))
    }

    /// Waits until all is acknowledged and ends the transaction; `false` when that cannot be.
    async fn end_transaction(&self) -> bool {
        let Some(transaction) = &self.transaction else { return true };
        self.by_leader.iter().for_each(|lane| lane.flush());
        loop {
            match self.backlog.is_empty() {
                Some(true) => break,
                Some(false) if !self.tally.must_stop() => {}
                _ => return false,
            }
            // Whether an acknowledgement or the time came makes no difference here.
            let _ = reactor::timeout(STOP_LOOK, self.backlog.changed()).await;
        }
        let asked = reactor::now();
        match transaction.end().await {
            Ok(outcome) => {
                count_end(&self.tally, outcome, asked);
                self.by_leader.iter().for_each(|lane| lane.settle_transaction(outcome));
                self.moment.set(Moment::now());
                true
            }
            Err(error) => {
                *self.failed.borrow_mut() = Some(error);
                false
            }
        }
    }

    /// Waits until there is room for more; `false` when a lane has failed or the run is to end. Batches that linger go on
    /// being sent.
    pub(crate) async fn wait_for_room(&self) -> bool {
        if self.transaction_is_full() && !self.end_transaction().await {
            return false;
        }
        loop {
            match self.backlog.is_below(self.backlog_bytes_max) {
                Some(true) => {
                    self.moment.set(Moment::now());
                    return true;
                }
                Some(false) if self.tally.must_stop() => return false,
                Some(false) => {}
                None => return false,
            }
            let now = reactor::now();
            let wait = self.expire(now).map_or(STOP_LOOK, |deadline| deadline.since(now).min(STOP_LOOK));
            // Whether an acknowledgement or the time came makes no difference here.
            let _ = reactor::timeout(wait, self.backlog.changed()).await;
        }
    }

    /// Sends batches that have lingered long enough; says when the next will have.
    fn expire(&self, now: Instant) -> Option<Instant> {
        for lane in &self.by_leader {
            lane.expire(now);
        }
        self.by_leader.iter().filter_map(|lane| lane.next_deadline()).min()
    }

    /// Writes full batches as fast as they are acknowledged, round the partitions; the last of them record by record.
    pub(crate) async fn flood(&self, templates: &[Template], source: &mut RecordSource, stop: Stop) {
        let began = reactor::now();
        let (mut left, mut round) = (stop.records, 0_u64);
        while left > 0 && !stop.is_late(began) && !self.tally.must_stop() {
            if !self.wait_for_room().await {
                return;
            }
            let index = self.place(None, round);
            let template = &templates[round as usize % templates.len()];
            let whole = u64::from(template.records());
            if left >= whole {
                let (lane, slot) = self.places[index];
                self.by_leader[lane].push_template(slot, template);
                left -= whole;
            } else {
                for _ in 0..left {
                    source.draw();
                    self.push(index, source.record(), reactor::now());
                }
                left = 0;
            }
            round += 1;
            if reactor::should_yield() {
                reactor::yield_now().await;
            }
        }
    }

    /// Writes records one by one as fast as they are acknowledged. `write` is told which it is and the time, and pushes
    /// it.
    pub(crate) async fn crowd(&self, stop: Stop, mut write: impl FnMut(&Self, u64, Instant)) {
        let began = reactor::now();
        let mut number = 0;
        while number < stop.records {
            if stop.is_late(began) || self.tally.must_stop() || !self.wait_for_room().await {
                return;
            }
            let (now, turn_end) = (reactor::now(), stop.records.min(number + RECORDS_PER_LOOK));
            while number < turn_end
                && self.backlog.is_below(self.backlog_bytes_max) == Some(true)
                && !self.transaction_is_full()
            {
                write(self, number, now);
                number += 1;
            }
            reactor::give_way().await;
        }
    }

    /// Writes a record at each arrival. `write` is told which it is and the intended time, and pushes it.
    pub(crate) async fn pace(
        &self,
        mut arrivals: Arrivals,
        stop: Stop,
        mut write: impl FnMut(&Self, u64, Instant),
    ) {
        // What is due right at the end is not of this run.
        let end = stop.after.map(|after| Instant::from_ns((arrivals.start() + after).as_ns() - 1));
        self.tally.expect(Expected { arrivals: arrivals.clone(), left: stop.records, end });
        let mut number = 0;
        let mut take = |arrivals: &mut Arrivals| {
            self.moment.set(Moment::now());
            let now = reactor::now();
            let until = end.map_or(now, |end| end.min(now));
            for _ in 0..RECORDS_PER_TURN {
                if number == stop.records {
                    return false;
                }
                if self.transaction_is_full() {
                    break;
                }
                let Some(intended) = arrivals.take(until) else { break };
                write(self, number, intended);
                number += 1;
            }
            number < stop.records && end.is_none_or(|end| now < end)
        };
        while take(&mut arrivals) && self.wait_for_next(&arrivals, end).await {}
        self.tally.expect_no_more();
    }

    /// Waits until the next record is due and there is room for it, or the end has come; `false`: no more are to be
    /// written.
    async fn wait_for_next(&self, arrivals: &Arrivals, end: Option<Instant>) -> bool {
        if !self.wait_for_room().await {
            return false;
        }
        let Some(due) = arrivals.next_due() else { return false };
        let now = reactor::now();
        let next = self.expire(now).map_or(due, |deadline| deadline.min(due));
        let transaction = self.transaction.as_ref().and_then(|transaction| transaction.deadline());
        let next = transaction.map_or(next, |deadline| deadline.min(next));
        let next = end.map_or(next, |end| next.min(end));
        if next > now {
            self.tally.sleep_until(next).await;
        } else {
            reactor::yield_now().await;
        }
        !self.tally.must_stop()
    }

    /// No more records come: waits until all are acknowledged.
    pub(crate) async fn finish(self) -> Result<SendStats, ClientError> {
        self.by_leader.iter().for_each(|lane| lane.finish());
        let mut stats = SendStats::new();
        let mut whole = true;
        for (mut task, lane) in self.tasks.into_iter().zip(&self.by_leader) {
            let done = match self.tally.unless_stopped(&mut task).await {
                Some(done) => Some(done),
                // What is in flight may come yet; what does not is not waited for.
                None => reactor::timeout(INTERRUPTED_GRACE, task).await.ok(),
            };
            whole &= done.is_some();
            stats.add(done.unwrap_or_else(|| Ok(lane.take_stats()))?);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some(transaction) = self.transaction.filter(|transaction| !transaction.is_empty()) {
            let asked = reactor::now();
            // What was interrupted is not whole, and so is not to be.
            let outcome =
                if whole { transaction.end().await? } else { transaction.end_as(Outcome::Aborted).await? };
            count_end(&self.tally, outcome, asked);
            stats.settle(outcome);
        }
        Ok(stats)
    }
}

fn count_end(tally: &Tally, outcome: Outcome, asked: Instant) {
    let name = if outcome == Outcome::Committed { COMMIT } else { ABORT };
    tally.record(name, asked.elapsed(), 1);
}

/// The producer of a thread, as `promise` needs one.
async fn produce_as(
    cluster: &Cluster,
    share: &Share,
    settings: SendSettings,
    promise: Promise,
) -> Result<Producing, ClientError> {
    match promise {
        Promise::None => Ok(Producing::default()),
        Promise::Idempotent => {
            let (id, epoch) = cluster.init_producer_id().await?;
            let identity = Some(Identity { id, epoch, transactional: false });
            Ok(Producing { identity, transaction: None })
        }
        Promise::Transactional(plan) => {
            let (access, topic) = (cluster.access(), &share.topic.name);
            let transaction =
                Transaction::open(access, settings.retry_for, topic, share.thread, plan).await?;
            let (id, epoch) = transaction.producer();
            let identity = Some(Identity { id, epoch, transactional: true });
            Ok(Producing { identity, transaction: Some(transaction) })
        }
    }
}
