//! One connection's produce requests: batches out, acknowledgements in, retries in order.
//!
//! A [`Lane`] has the partitions of one thread that one broker leads. Its task takes at most one batch per ready
//! partition into a request, keeps several requests in flight, and counts latencies when answers come. When something
//! retriable fails (the connection, a partition) and the run allows retries, the lane stops sending, waits until
//! nothing is in flight, connects anew and sends what was not acknowledged, in the old order and with the old
//! sequences, before anything else; so with idempotence nothing is lost, doubled or reordered. Anything else ends the
//! run with the error.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::{Notify, Queue};
use reactor::{Instant, Priority};
use wire::kafka::ErrorCode;
use wire::kafka::batch_builder::NewRecord;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};

use crate::accumulator::{Accumulator, Batch, BatchSettings, Identity, Intended, Template};
use crate::backlog::Backlog;
use crate::client::{ClientError, Cluster, Connection, PartitionLeader, Reply, Topic};
use crate::limits::{PRODUCE_REQUEST_BYTES_MAX, RETRY_PAUSE};
use crate::send_stats::{Counts, SendStats};
use crate::tally::Tally;
use crate::transaction::{Outcome, PRODUCE_MAX, Transaction};

/// How batches are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendSettings {
    pub(crate) batches: BatchSettings,
    pub(crate) acks: i16,
    /// Requests in flight per connection.
    pub(crate) in_flight: usize,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// How long to go on trying after a retriable failure; zero ends the run at the first.
    pub(crate) retry_for: Duration,
}

/// What the clocks say: looked at once for several records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    now: Instant,
    /// Milliseconds since 1970.
    wall_ms: i64,
}

impl Moment {
    /// By the clock for measuring.
    pub(crate) fn at(self) -> Instant {
        self.now
    }

    pub(crate) fn now() -> Self {
        Self { now: reactor::now(), wall_ms: reactor::wall_clock_ms() }
    }
}

/// Where a lane counts what it does.
#[derive(Clone)]
pub(crate) struct Counting {
    pub(crate) tally: Rc<Tally>,
    /// Under which name latencies are counted, from the intended time or from sending to the acknowledgement.
    pub(crate) latency: &'static str,
    pub(crate) done: Done,
}

/// As whom batches are written.
#[derive(Clone, Default)]
pub(crate) struct Producing {
    pub(crate) identity: Option<Identity>,
    /// Partitions are added to it before batches for them are sent.
    pub(crate) transaction: Option<Rc<Transaction>>,
}

/// When a record is where it belongs, and no longer lags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Acknowledged,
    /// Somebody else counts it then.
    Read,
}

/// The sending side of one connection.
pub(crate) struct Lane {
    cluster: Rc<Cluster>,
    topic: Topic,
    /// The partitions, by slot.
    partitions: Vec<PartitionLeader>,
    settings: SendSettings,
    producer: Producing,
    backlog: Rc<Backlog>,
    counting: Counting,
    accumulator: RefCell<Accumulator>,
    /// Batches to send again, before any other.
    again: RefCell<VecDeque<Batch>>,
    changed: Notify,
    finished: Cell<bool>,
    stats: RefCell<SendStats>,
}

/// A request in flight.
struct InFlight {
    batches: Vec<Batch>,
    sent: Instant,
}

/// What a session could not get acknowledged.
#[derive(Default)]
struct Failed {
    /// Sent, in the order of sending.
    batches: Vec<Batch>,
    /// Never sent, because the connection was gone.
    unsent: Vec<Batch>,
    cause: Option<ClientError>,
}

type Answers = RefCell<VecDeque<(InFlight, Result<ProduceResponse, ClientError>)>>;

impl Lane {
    pub(crate) fn new(
        cluster: Rc<Cluster>,
        topic: Topic,
        partitions: Vec<PartitionLeader>,
        settings: SendSettings,
        producer: Producing,
        (backlog, counting): (Rc<Backlog>, Counting),
    ) -> Rc<Self> {
        let accumulator = RefCell::new(Accumulator::new(partitions.len(), settings.batches));
        Rc::new(Self {
            cluster,
            topic,
            partitions,
            settings,
            producer,
            backlog,
            counting,
            accumulator,
            again: RefCell::default(),
            changed: Notify::new(),
            finished: Cell::new(false),
            stats: RefCell::new(SendStats::new()),
        })
    }

    pub(crate) fn partition(&self, slot: usize) -> i32 {
        self.partitions[slot].partition
    }

    /// Number that the next record of the partition gets.
    pub(crate) fn next_number(&self, slot: usize) -> u64 {
        self.accumulator.borrow().next_number(slot)
    }

    /// Hands over, at `moment`, a record that was due at `intended`.
    pub(crate) fn push(&self, slot: usize, record: NewRecord<'_>, intended: Instant, moment: Moment) {
        let record = NewRecord { timestamp: moment.wall_ms, ..record };
        self.backlog.grow(1, record.value.map_or(0, <[u8]>::len) as u64);
        if let Some(transaction) = &self.producer.transaction {
            transaction.count(moment.now);
        }
        self.counting.tally.hand_over(1);
        let mut accumulator = self.accumulator.borrow_mut();
        if accumulator.push(slot, &record, intended, moment.now) {
            self.changed.notify_all();
        }
    }

    /// Hands over a whole batch.
    pub(crate) fn push_template(&self, slot: usize, template: &Template) {
        self.backlog.grow(u64::from(template.records()), template.value_bytes());
        self.counting.tally.hand_over(u64::from(template.records()));
        let mut accumulator = self.accumulator.borrow_mut();
        accumulator.push_template(slot, template, reactor::wall_clock_ms(), reactor::now());
        self.changed.notify_all();
    }

    /// When [`Lane::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.accumulator.borrow().next_deadline()
    }

    /// Sends batches that have lingered long enough.
    pub(crate) fn expire(&self, now: Instant) {
        if self.accumulator.borrow_mut().expire(now) {
            self.changed.notify_all();
        }
    }

    /// Sends also what is incomplete: the transaction is to end.
    pub(crate) fn flush(&self) {
        self.accumulator.borrow_mut().flush();
        self.changed.notify_all();
    }

    /// The transaction of what was acknowledged has ended.
    pub(crate) fn settle_transaction(&self, outcome: Outcome) {
        self.stats.borrow_mut().settle(outcome);
    }

    /// No more records come: the lane's task ends when all are acknowledged.
    pub(crate) fn finish(&self) {
        self.accumulator.borrow_mut().flush();
        self.finished.set(true);
        self.changed.notify_all();
    }

    /// The lane's task: sends until finished and answers the figures, or fails.
    pub(crate) async fn run(self: Rc<Self>) -> Result<SendStats, ClientError> {
        let mut failing_since: Option<(Instant, u64)> = None;
        loop {
            let Err(error) = self.session().await else { break };
            self.counting.tally.count_error();
            let records = self.stats.borrow().records;
            // The patience starts anew whenever something was acknowledged in between.
            let since = match failing_since {
                Some((since, before)) if before == records => since,
                _ => reactor::now(),
            };
            failing_since = Some((since, records));
            if !error.is_retriable() || since.elapsed() >= self.settings.retry_for {
                self.backlog.fail();
                return Err(error);
            }
            self.cluster.forget_connection();
            reactor::sleep(RETRY_PAUSE).await;
        }
        Ok(self.take_stats())
    }

    /// The figures so far; they begin anew.
    pub(crate) fn take_stats(&self) -> SendStats {
        self.stats.replace(SendStats::new())
    }

    /// Sends over one connection until all is done or something fails.
    async fn session(self: &Rc<Self>) -> Result<(), ClientError> {
        let connection = self.connect().await?;
        let answers: Rc<Answers> = Rc::default();
        let replies = Rc::new(Queue::new(self.settings.in_flight));
        let collect = collect(self.clone(), replies.clone(), answers.clone());
        let collector = reactor::spawn(Priority::Latency, "collect-acks", collect);
        let mut in_flight = 0;
        let mut failed = Failed::default();
        let ended = loop {
            while let Some((request, answer)) = pop(&answers) {
                in_flight -= 1;
                self.settle(request, answer, &mut failed);
            }
            if failed.cause.is_some() {
                if in_flight == 0 {
                    break failed.cause.take().map_or(Ok(()), Err);
                }
            } else if in_flight < self.settings.in_flight {
                let batches = self.take_batches()?;
                if !batches.is_empty() {
                    match self.send(&connection, batches).await {
                        Ok(Some((request, reply))) => {
                            in_flight += 1;
                            // There is room: the queue holds as many as may be in flight.
                            let _ = replies.push((request, reply)).await;
                        }
                        Ok(None) => {}
                        Err((batches, error)) => {
                            failed.unsent = batches;
                            failed.cause = Some(error);
                        }
                    }
                    continue;
                }
                if in_flight == 0 && self.finished.get() && self.accumulator.borrow().is_empty() {
                    break connection.flush().await;
                }
            }
            self.changed.notified().await;
        };
        replies.close();
        collector.await;
        self.stats.borrow_mut().retries += failed.batches.len() as u64;
        // What failed was sent before what still waits to be sent again.
        for batch in failed.batches.into_iter().chain(failed.unsent).rev() {
            self.again.borrow_mut().push_front(batch);
        }
        ended
    }

    async fn connect(&self) -> Result<Rc<Connection>, ClientError> {
        let topic = self.cluster.topic(&self.topic.name).await?;
        self.cluster.connect_to(leader_of(&topic, &self.partitions)?).await
    }

    /// The batches of the next request: at most one per partition, as Kafka wants it.
    fn take_batches(&self) -> Result<Vec<Batch>, ClientError> {
        let (mut batches, mut bytes) = (Vec::<Batch>::new(), 0);
        let mut again = self.again.borrow_mut();
        while let Some(batch) = again.front() {
            if batches.iter().any(|taken| taken.slot == batch.slot) || !fits(bytes, batch) {
                return Ok(batches);
            }
            bytes += batch.bytes.len();
            batches.extend(again.pop_front());
        }
        let retrying = !batches.is_empty();
        let mut accumulator = self.accumulator.borrow_mut();
        let mut taken_slots = vec![false; self.partitions.len()];
        while !retrying
            && bytes < PRODUCE_REQUEST_BYTES_MAX
            && accumulator.next_slot().is_some_and(|slot| !taken_slots[slot])
        {
            let taken = accumulator.take(self.producer.identity);
            let taken =
                taken.map_err(|error| ClientError::Usage(format!("cannot build a batch: {error}")))?;
            let Some(batch) = taken else { break };
            bytes += batch.bytes.len();
            taken_slots[batch.slot] = true;
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Puts a request in flight; `None` when it is not answered and so already counts as acknowledged.
    async fn send(
        &self,
        connection: &Connection,
        batches: Vec<Batch>,
    ) -> Result<Option<(InFlight, Reply<ProduceRequest>)>, (Vec<Batch>, ClientError)> {
        let data = |batch: &Batch| PartitionProduceData {
            index: self.partition(batch.slot),
            records: Some(batch.bytes.clone()),
        };
        if let Some(transaction) = &self.producer.transaction
            && let Err(error) = transaction.add(batches.iter().map(|batch| self.partition(batch.slot))).await
        {
            return Err((batches, error));
        }
        let request = ProduceRequest {
            transactional_id: self.producer.transaction.as_ref().map(|transaction| transaction.id().clone()),
            acks: self.settings.acks,
            timeout_ms: self.settings.timeout.as_millis() as i32,
            topic_data: vec![TopicProduceData {
                name: self.topic.name.clone(),
                topic_id: self.topic.id,
                partition_data: batches.iter().map(data).collect(),
            }],
        };
        let sent = reactor::now();
        self.stats.borrow_mut().requests += 1;
        self.counting.tally.count_request();
        if self.settings.acks == 0 {
            if let Err(error) = connection.send_unanswered(&request).await {
                return Err((batches, error));
            }
            for batch in &batches {
                self.acknowledge(batch, sent);
            }
            return Ok(None);
        }
        let sending = match &self.producer.transaction {
            Some(_) => connection.send_at_most(PRODUCE_MAX, &request).await,
            None => connection.send(&request).await,
        };
        match sending {
            Ok(reply) => Ok(Some((InFlight { batches, sent }, reply))),
            Err(error) => Err((batches, error)),
        }
    }

    fn acknowledge(&self, batch: &Batch, sent: Instant) {
        let partition = self.partition(batch.slot);
        let now = reactor::now();
        let Counting { tally, latency, done } = &self.counting;
        match &batch.intended {
            Intended::Sending => tally.record(latency, now.since(sent), u64::from(batch.records)),
            Intended::Each(times) => tally
                .record_each(latency, times.iter().map(|(due, count)| (now.since(*due), u64::from(*count)))),
        }
        tally.count_records(u64::from(batch.records), batch.value_bytes);
        if *done == Done::Acknowledged {
            tally.finish_records(u64::from(batch.records));
        }
        let counts = if self.producer.transaction.is_some() { Counts::WhenCommitted } else { Counts::Now };
        self.stats.borrow_mut().acknowledge(partition, batch, counts, now);
        self.backlog.shrink(u64::from(batch.records), batch.value_bytes);
    }

    /// Counts what an answer acknowledges; adds what must be sent again, and why, to `failed`.
    fn settle(&self, request: InFlight, answer: Result<ProduceResponse, ClientError>, failed: &mut Failed) {
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                failed.batches.extend(request.batches);
                failed.cause.get_or_insert(error);
                return;
            }
        };
        let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let outcomes: HashMap<i32, _> = partitions.map(|outcome| (outcome.index, outcome)).collect();
        for batch in request.batches {
            let partition = self.partition(batch.slot);
            let Some(outcome) = outcomes.get(&partition) else {
                let what = format!("the answer to Produce lacks partition {partition}");
                failed.cause = Some(ClientError::Corrupt(what));
                failed.batches.push(batch);
                continue;
            };
            let code = outcome.error_code;
            // A duplicate is there already: an earlier attempt was written, its answer lost.
            if code == 0 || code == ErrorCode::DuplicateSequenceNumber.code() {
                self.acknowledge(&batch, request.sent);
                self.accumulator.borrow_mut().give_back(batch);
                continue;
            }
            // What followed a failed batch of its partition had to fail too, and does not say why.
            let followed = failed.batches.iter().any(|earlier| earlier.slot == batch.slot);
            if !(followed && code == ErrorCode::OutOfOrderSequenceNumber.code()) {
                let what = format!("cannot produce to {}-{partition}", self.topic.name.as_str());
                let error = ClientError::broker(what, code, outcome.error_message.as_deref());
                // An error that ends the run is not hidden by one that would not.
                if failed.cause.as_ref().is_none_or(ClientError::is_retriable) {
                    failed.cause = Some(error);
                }
            }
            failed.batches.push(batch);
        }
    }
}

fn fits(bytes: usize, batch: &Batch) -> bool {
    bytes == 0 || bytes + batch.bytes.len() <= PRODUCE_REQUEST_BYTES_MAX
}

fn pop(answers: &Answers) -> Option<(InFlight, Result<ProduceResponse, ClientError>)> {
    answers.borrow_mut().pop_front()
}

/// Waits for answers in the order of their requests.
async fn collect(
    lane: Rc<Lane>,
    replies: Rc<Queue<(InFlight, Reply<ProduceRequest>)>>,
    answers: Rc<Answers>,
) {
    while let Some((request, reply)) = replies.pop().await {
        let answer = reactor::timeout(lane.settings.timeout, reply.wait()).await;
        let answer = answer.unwrap_or_else(|_| {
            let address = lane.topic.name.as_str().to_owned();
            Err(ClientError::Timeout {
                address: format!("the leader of {address}"),
                what: "Produce".to_owned(),
            })
        });
        answers.borrow_mut().push_back((request, answer));
        lane.changed.notify_all();
    }
}

/// The one broker that leads `partitions` now.
pub(crate) fn leader_of(topic: &Topic, partitions: &[PartitionLeader]) -> Result<i32, ClientError> {
    let leader = |ours: &PartitionLeader| {
        let place = topic.partitions.binary_search_by_key(&ours.partition, |found| found.partition);
        place.ok().map(|place| topic.partitions[place].leader)
    };
    let mut leaders = partitions.iter().filter_map(leader);
    let first =
        leaders.next().ok_or_else(|| ClientError::Usage("the topic lost its partitions".to_owned()))?;
    if leaders.any(|leader| leader != first) {
        let what = "partitions of one connection have got different leaders: start the run anew";
        return Err(ClientError::Usage(what.to_owned()));
    }
    Ok(first)
}
