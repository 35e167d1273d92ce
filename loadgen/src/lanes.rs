//! All lanes of one thread: its partitions, spread over the brokers that lead them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority, Task};

use crate::accumulator::Template;
use crate::arrivals::Arrivals;
use crate::backlog::Backlog;
use crate::client::{ClientError, Cluster, PartitionLeader, Topic};
use crate::limits::{PRODUCE_REQUEST_BYTES_MAX, UNACKNOWLEDGED_BYTES_MAX};
use crate::send_stats::SendStats;
use crate::sender::{Lane, SendSettings};

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
}

/// When to stop writing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) records: u64,
    pub(crate) after: Option<Duration>,
}

impl Lanes {
    /// Opens a lane per leader of `partitions` and starts their tasks.
    pub(crate) async fn open(
        cluster: &Rc<Cluster>,
        topic: &Topic,
        partitions: &[PartitionLeader],
        settings: SendSettings,
        idempotence: Idempotence,
    ) -> Result<Self, ClientError> {
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
        let lane =
            |group| Lane::new(cluster.clone(), topic.clone(), group, settings, producer, backlog.clone());
        let lanes: Vec<Rc<Lane>> = by_leader.into_values().map(lane).collect();
        let task = |lane: &Rc<Lane>| reactor::spawn(Priority::Latency, "send-batches", lane.clone().run());
        let tasks = lanes.iter().map(task).collect();
        // Enough that every lane always has its next requests at hand.
        let wanted = lanes.len() * (settings.in_flight + 2) * PRODUCE_REQUEST_BYTES_MAX;
        let backlog_bytes_max = wanted.min(UNACKNOWLEDGED_BYTES_MAX);
        Ok(Self { by_leader: lanes, places, tasks, backlog, backlog_bytes_max })
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.places.len()
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
    pub(crate) fn push(&self, index: usize, value: &[u8], intended: Instant) {
        let (lane, slot) = self.places[index];
        self.by_leader[lane].push(slot, value, intended);
    }

    /// Waits until there is room for more; `false` when a lane has failed. Batches that linger go on being sent.
    pub(crate) async fn wait_for_room(&self) -> bool {
        loop {
            match self.backlog.is_below(self.backlog_bytes_max) {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
            let now = reactor::now();
            match self.expire(now) {
                // Whether an acknowledgement or the deadline came makes no difference here.
                Some(deadline) => drop(reactor::timeout(deadline.since(now), self.backlog.changed()).await),
                None => self.backlog.changed().await,
            }
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
    pub(crate) async fn flood(&self, template: &Template, value: &[u8], stop: Stop) {
        let began = reactor::now();
        let (mut left, mut index) = (stop.records, 0);
        while left > 0 && stop.after.is_none_or(|after| began.elapsed() < after) {
            if !self.wait_for_room().await {
                return;
            }
            let whole = u64::from(template.records());
            if left >= whole {
                let (lane, slot) = self.places[index];
                self.by_leader[lane].push_template(slot, template);
                left -= whole;
            } else {
                for _ in 0..left {
                    self.push(index, value, reactor::now());
                }
                left = 0;
            }
            index = (index + 1) % self.places.len();
            if reactor::should_yield() {
                reactor::yield_now().await;
            }
        }
    }

    /// Writes a record at each arrival, round the partitions. `write` is told the place and the intended time, and
    /// pushes it.
    pub(crate) async fn pace(
        &self,
        mut arrivals: Arrivals,
        stop: Stop,
        mut write: impl FnMut(&Self, usize, Instant),
    ) {
        let began = reactor::now();
        let (mut left, mut index) = (stop.records, 0);
        while left > 0 && stop.after.is_none_or(|after| began.elapsed() < after) {
            let now = reactor::now();
            for _ in 0..RECORDS_PER_TURN {
                let Some(intended) = arrivals.take(now).filter(|_| left > 0) else { break };
                write(self, index, intended);
                index = (index + 1) % self.places.len();
                left -= 1;
            }
            let due = arrivals.next_due();
            let next = self.expire(now).map_or(due, |deadline| deadline.min(due));
            if !self.wait_for_room().await {
                return;
            }
            if next > now && left > 0 {
                reactor::sleep_until(next).await;
            } else {
                reactor::yield_now().await;
            }
        }
    }

    /// No more records come: waits until all are acknowledged.
    pub(crate) async fn finish(self) -> Result<SendStats, ClientError> {
        self.by_leader.iter().for_each(|lane| lane.finish());
        let mut stats = SendStats::new();
        for task in self.tasks {
            stats.add(task.await?);
        }
        Ok(stats)
    }
}
