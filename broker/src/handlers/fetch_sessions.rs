//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, the consumer names only
//! what changed, and an answer names only partitions that have something to say.
//!
//! Sessions live on the shard that accepted the connection. A consumer whose session is not found (it reconnected
//! to another shard, or was evicted) starts a new one, as it would with Kafka.

use std::cell::RefCell;
use std::collections::BTreeMap;

use indexmap::IndexMap;
use reactor::{Instant, Pace};
use wire::kafka::error_code::ErrorCode;
use wire::kafka::fetch::{FetchRequest, PartitionData};
use wire::kafka::types::{Str, Uuid};

use crate::limits;

/// Which partition of a fetch: by name up to version 12, by id from 13 on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FetchKey {
    /// Empty from version 13 on.
    pub name: Str,
    /// Zero up to version 12.
    pub topic_id: Uuid,
    /// Index of the partition.
    pub partition: i32,
}

impl FetchKey {
    /// The same key without the frame that it came in.
    fn detached(&self) -> FetchKey {
        FetchKey { name: self.name.detached(), ..*self }
    }
}

/// What the consumer last asked of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSpec {
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Bytes wanted at most, except that one whole batch is always given.
    pub bytes_max: i32,
    /// Leader epoch that the consumer knows, or -1.
    pub current_leader_epoch: i32,
    /// Epoch of the last record that it has, or -1.
    pub last_fetched_epoch: i32,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    spec: FetchSpec,
    high_watermark: i64,
    log_start_offset: i64,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_ids: bool,
    partitions: IndexMap<FetchKey, Cached>,
    /// Place of the partition that comes first in the next answer: the one behind the last that had records, so that a busy
    /// partition does not starve those behind it.
    first: usize,
    used: Instant,
}

/// How an answer relates to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every partition is named, the session id is 0.
    Sessionless,
    /// Every partition is named and a session begins.
    New,
    /// Only partitions with news are named.
    Incremental(i32),
}

/// What to fetch, in order, and how to answer.
#[derive(Debug)]
pub struct Plan {
    /// How the answer relates to a session.
    pub mode: Mode,
    /// What to read.
    pub partitions: Vec<(FetchKey, FetchSpec)>,
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    slots: usize,
}

const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// A session in use within this time keeps its slot.
const EVICTION_SECONDS: u64 = 120;

impl FetchSessions {
    /// `slots` is `max.incremental.fetch.session.cache.slots`.
    pub fn new(slots: usize) -> FetchSessions {
        FetchSessions { sessions: BTreeMap::new(), slots }
    }

    /// Reads the request against the session it names and brings that session up to date.
    pub async fn plan(all: &RefCell<Self>, request: &FetchRequest, version: i16) -> Result<Plan, ErrorCode> {
        let asked = asked(request).await;
        if request.session_epoch == INITIAL_EPOCH || request.session_epoch == FINAL_EPOCH {
            all.borrow_mut().sessions.remove(&request.session_id);
            let mode = if request.session_epoch == FINAL_EPOCH { Mode::Sessionless } else { Mode::New };
            return Ok(Plan { mode, partitions: asked });
        }
        let id = request.session_id;
        let count = all.borrow_mut().update(request, asked, version)?;
        let mut partitions = Vec::with_capacity(count);
        let mut pace = Pace::every(64);
        while partitions.len() < count {
            let next = all.borrow().sessions.get(&id).and_then(|session| session.at(partitions.len()));
            // Given up by a request on another connection.
            partitions.push(next.ok_or(ErrorCode::FetchSessionIdNotFound)?);
            pace.step().await;
        }
        Ok(Plan { mode: Mode::Incremental(id), partitions })
    }

    /// Brings the session up to date; how many partitions it has.
    fn update(
        &mut self,
        request: &FetchRequest,
        asked: Vec<(FetchKey, FetchSpec)>,
        version: i16,
    ) -> Result<usize, ErrorCode> {
        let Some(session) = self.sessions.get_mut(&request.session_id) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_ids != (version >= 13) {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.update(request, asked);
        if session.partitions.len() > limits::FETCH_SESSION_PARTITIONS_MAX {
            self.sessions.remove(&request.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        session.used = reactor::now();
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        Ok(session.partitions.len())
    }

    /// Begins a session over what was asked and answered. 0: all slots are in use.
    pub async fn begin(all: &RefCell<Self>, plan: &Plan, answers: &[PartitionData], version: i16) -> i32 {
        if plan.partitions.is_empty() || plan.partitions.len() > limits::FETCH_SESSION_PARTITIONS_MAX {
            return 0;
        }
        if !all.borrow_mut().has_slot() {
            return 0;
        }
        let mut partitions = IndexMap::with_capacity(plan.partitions.len());
        let mut pace = Pace::every(32);
        let mut topic = Str::default();
        for ((key, spec), answer) in plan.partitions.iter().zip(answers) {
            if topic != key.name {
                topic = key.name.detached();
            }
            let cached = Cached {
                spec: *spec,
                high_watermark: answer.high_watermark,
                log_start_offset: answer.log_start_offset,
            };
            partitions.insert(FetchKey { name: topic.clone(), ..*key }, cached);
            pace.step().await;
        }
        let session =
            Session { epoch: 1, uses_ids: version >= 13, partitions, first: 0, used: reactor::now() };
        all.borrow_mut().insert(session)
    }

    fn has_slot(&mut self) -> bool {
        self.sessions.len() < self.slots || self.evict()
    }

    fn insert(&mut self, session: Session) -> i32 {
        if !self.has_slot() {
            return 0;
        }
        let mut id = 0;
        while id == 0 || self.sessions.contains_key(&id) {
            id = (reactor::random_u64() as i32) & i32::MAX;
        }
        self.sessions.insert(id, session);
        id
    }

    /// Whether an incremental answer names this partition; remembers what it says.
    pub fn has_news(&mut self, id: i32, key: &FetchKey, answer: &PartitionData) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return true };
        let Some((index, _, cached)) = session.partitions.get_full_mut(key) else { return true };
        let has_records = !answer.records.is_empty();
        let news = has_records
            || answer.error_code != 0
            || cached.high_watermark != answer.high_watermark
            || cached.log_start_offset != answer.log_start_offset;
        cached.high_watermark = answer.high_watermark;
        cached.log_start_offset = answer.log_start_offset;
        if answer.error_code != 0 {
            // Named again in the next answer, also when nothing but the error went away.
            cached.high_watermark = -1;
        }
        if has_records {
            session.first = index + 1;
        }
        news
    }

    fn evict(&mut self) -> bool {
        let now = reactor::now();
        let oldest =
            self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, s)| (*id, s.used));
        match oldest {
            Some((id, used)) if now.since(used).as_secs() >= EVICTION_SECONDS => {
                self.sessions.remove(&id);
                true
            }
            _ => false,
        }
    }
}

impl Session {
    /// The partition at a place of the order in which they are read now.
    fn at(&self, place: usize) -> Option<(FetchKey, FetchSpec)> {
        let count = self.partitions.len();
        let (key, cached) = self.partitions.get_index((self.first + place) % count.max(1))?;
        Some((key.clone(), cached.spec))
    }

    fn update(&mut self, request: &FetchRequest, asked: Vec<(FetchKey, FetchSpec)>) {
        for (key, spec) in asked {
            let cached = Cached { spec, high_watermark: -1, log_start_offset: -1 };
            self.partitions.entry(key.detached()).and_modify(|known| known.spec = spec).or_insert(cached);
        }
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                let key =
                    FetchKey { name: topic.topic.clone(), topic_id: topic.topic_id, partition: *partition };
                self.partitions.shift_remove(&key);
            }
        }
    }
}

async fn asked(request: &FetchRequest) -> Vec<(FetchKey, FetchSpec)> {
    let mut asked = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    let mut pace = Pace::every(64);
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = FetchKey {
                name: topic.topic.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
            };
            let spec = FetchSpec {
                fetch_offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            asked.push((key, spec));
            pace.step().await;
        }
    }
    asked
}
