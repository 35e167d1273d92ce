//! All lanes of one thread: its partitions, spread over the brokers that lead them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority, Task};
use wire::kafka::batch_builder::NewRecord;

use crate::accumulator::Template;
use crate::arrivals::Arrivals;
use crate::backlog::Backlog;
use crate::client::{ClientError, Cluster, PartitionLeader};
use crate::limits::{INTERRUPTED_GRACE, PRODUCE_REQUEST_BYTES_MAX, STOP_LOOK, UNACKNOWLEDGED_BYTES_MAX};
use crate::records::RecordSource;
use crate::send_stats::SendStats;
use crate::sender::{Counting, Lane, SendSettings};
use crate::tally::{Expected, Goal, Tally};
use crate::threads::Share;

/// Records generated before the rest of the thread gets a turn.
const RECORDS_PER_TURN: u32 = 256;

/// Whether writes carry a producer id and sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idempotence {
    On,
    Off,
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
        idempotence: Idempotence,
        counting: Counting,
    ) -> Result<Self, ClientError> {
        let partitions = &share.partitions;
        let producer = match idempotence {
            Idempotence::On => Some(cluster.init_producer_id().await?),
            Idempotence::Off => None,
        };
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
            Lane::new(cluster.clone(), share.topic.clone(), group, settings, producer, ours)
        };
        let lanes: Vec<Rc<Lane>> = by_leader.into_values().map(lane).collect();
        let task = |lane: &Rc<Lane>| reactor::spawn(Priority::Latency, "send-batches", lane.clone().run());
        let tasks = lanes.iter().map(task).collect();
        // Enough that every lane always has its next requests at hand.
        let wanted = lanes.len() * (settings.in_flight + 2) * PRODUCE_REQUEST_BYTES_MAX;
        let backlog_bytes_max = wanted.min(UNACKNOWLEDGED_BYTES_MAX);
        Ok(Self { by_leader: lanes, places, tasks, backlog, backlog_bytes_max, tally })
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
        self.by_leader[lane].push(slot, record, intended);
    }

    /// The place of a record: by its key, or the next in the round.
    pub(crate) fn place(&self, key: Option<u64>, round: u64) -> usize {
        (key.unwrap_or(round) % self.places.len() as u64) as usize
    }

    /// Waits until there is room for more; `false` when a lane has failed or the run is to end. Batches that linger go on
    /// being sent.
    pub(crate) async fn wait_for_room(&self) -> bool {
        loop {
            match self.backlog.is_below(self.backlog_bytes_max) {
                Some(true) => return true,
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
        for number in 0..stop.records {
            if stop.is_late(began) || self.tally.must_stop() || !self.wait_for_room().await {
                return;
            }
            write(self, number, reactor::now());
            if reactor::should_yield() {
                reactor::yield_now().await;
            }
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
            let now = reactor::now();
            let until = end.map_or(now, |end| end.min(now));
            for _ in 0..RECORDS_PER_TURN {
                if number == stop.records {
                    return false;
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
        for (mut task, lane) in self.tasks.into_iter().zip(&self.by_leader) {
            let done = match self.tally.unless_stopped(&mut task).await {
                Some(done) => Some(done),
                // What is in flight may come yet; what does not is not waited for.
                None => reactor::timeout(INTERRUPTED_GRACE, task).await.ok(),
            };
            stats.add(done.unwrap_or_else(|| Ok(lane.take_stats()))?);
        }
        Ok(stats)
    }
}
