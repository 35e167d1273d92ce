//! What clients did and saw: the facts that the checkers judge.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use reactor::sim::Random;
use wire::kafka::Uuid;

use crate::checkers::bytes::Stamp;

/// How strictly a writer's records are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// Each record once, in the order of numbers.
    Idempotent,
    /// An acknowledged record at its offset; one without an answer may be there or not.
    Plain,
}

/// One writer to one partition.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) delivery: Delivery,
    /// Records sent: their numbers are below this.
    pub(crate) sent: u32,
    /// Records acknowledged.
    pub(crate) acked: u32,
}

/// One partition of one topic.
#[derive(Default, Debug)]
pub(crate) struct Partition {
    /// Acknowledged records by offset.
    pub(crate) acked: BTreeMap<i64, Stamp>,
    /// Records that a consumer saw, by offset.
    pub(crate) seen: BTreeMap<i64, Stamp>,
    pub(crate) writers: BTreeMap<u32, Writer>,
    /// The largest offset before which records were asked to be deleted.
    pub(crate) start_asked: i64,
    /// The largest log start that was acknowledged or seen.
    pub(crate) start_promised: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Existence {
    Live,
    /// A deletion was asked for; it may have happened.
    Deleting,
    Deleted,
}

/// One topic: what has its id. Another of the same name is another topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) existence: Existence,
    /// Retention may drop records.
    pub(crate) retains: bool,
    pub(crate) idle: bool,
    pub(crate) partitions: Vec<Partition>,
}

/// A position that a group committed.
#[derive(Default, Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) acked: i64,
    pub(crate) sent: i64,
}

/// By group, topic and partition.
pub(crate) type Positions = BTreeMap<(String, usize, i32), Position>;

/// What must have happened in a batch of runs, or it tested less than it says.
#[derive(Default, Clone, Debug)]
pub(crate) struct Counts(pub(crate) BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }
}

/// Everything so far.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) topics: Vec<Topic>,
    pub(crate) positions: Positions,
    pub(crate) counts: Counts,
    writers: u32,
    /// The first rule that was broken.
    pub(crate) broken: Option<String>,
}

impl History {
    pub(crate) fn new_writer(&mut self, topic: usize, partition: i32, delivery: Delivery) -> u32 {
        self.writers += 1;
        let writer = Writer { delivery, sent: 0, acked: 0 };
        let id = self.writers;
        self.partition(topic, partition).writers.insert(id, writer);
        id
    }

    pub(crate) fn partition(&mut self, topic: usize, partition: i32) -> &mut Partition {
        &mut self.topics[topic].partitions[partition as usize]
    }

    /// A name for messages.
    pub(crate) fn place(&self, topic: usize, partition: i32) -> String {
        let topic = &self.topics[topic];
        format!("{}-{partition} of {:?}", topic.name, topic.id)
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = (usize, &Topic)> {
        self.topics.iter().enumerate().filter(|(_, topic)| topic.existence == Existence::Live)
    }

    pub(crate) fn is_live(&self, topic: usize) -> bool {
        self.topics[topic].existence == Existence::Live
    }

    pub(crate) fn judge(&mut self, verdict: Result<(), String>) {
        if let Err(why) = verdict {
            self.broken.get_or_insert(why);
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// Clients do what they like.
    Busy,
    /// Clients end what they have begun and leave.
    Draining,
}

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) address: SocketAddr,
    history: Rc<RefCell<History>>,
    phase: Rc<Cell<Phase>>,
    /// Clients that have not left.
    pub(crate) clients: Rc<Cell<u32>>,
}

impl Shared {
    pub(crate) fn new(seed: u64, address: SocketAddr) -> Self {
        Self {
            seed,
            address,
            history: Rc::default(),
            phase: Rc::new(Cell::new(Phase::Busy)),
            clients: Rc::default(),
        }
    }

    pub(crate) fn history(&self) -> Ref<'_, History> {
        self.history.borrow()
    }

    pub(crate) fn history_mut(&self) -> RefMut<'_, History> {
        self.history.borrow_mut()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.phase.get() == Phase::Busy
    }

    pub(crate) fn random(&self, name: &str) -> Random {
        Random::new(self.seed, name)
    }
}
