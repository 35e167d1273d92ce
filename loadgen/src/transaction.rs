//! The transactions of one thread, one after the other (KIP-98).
//!
//! The order of a transaction: a partition is added to it before the first batch for it is sent ([`Transaction::add`]); all
//! batches are acknowledged before it is ended ([`Transaction::end`]). What the coordinator cannot do yet, and a coordinator
//! that has gone or moved, are tried again for as long as the run allows. Requests are of the versions before KIP-890: every
//! broker since 0.11 speaks them, and what they do is the same.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use reactor::Instant;
use wire::kafka::add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use wire::kafka::end_txn::EndTxnRequest;
use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::init_producer_id::InitProducerIdRequest;
use wire::kafka::{ErrorCode, Request, Str};

use crate::client::{Access, ClientError, Connection};
use crate::limits::{CONCURRENT_PAUSE, RETRY_PAUSE};
use crate::random::Random;

/// Name of the latency from asking to commit until the broker has promised it.
pub(crate) const COMMIT: &str = "commit";
/// The same of aborting.
pub(crate) const ABORT: &str = "abort";

/// Newest versions before KIP-890.
const INIT_PRODUCER_ID_MAX: i16 = 4;
const ADD_PARTITIONS_MAX: i16 = 3;
const END_TXN_MAX: i16 = 4;
pub(crate) const PRODUCE_MAX: i16 = 11;

/// `key_type` of a transactional id.
const TRANSACTIONAL_ID: i8 = 1;

/// When a transaction is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Every {
    Records(u64),
    Time(Duration),
}

/// What transactions are to be like.
#[derive(Clone, Debug)]
pub(crate) struct TransactionPlan {
    pub(crate) prefix: String,
    pub(crate) every: Every,
    /// Part of them that is aborted.
    pub(crate) abort_share: f64,
    pub(crate) timeout_ms: i32,
    pub(crate) seed: u64,
}

/// How one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Aborted,
}

/// A transactional producer.
pub(crate) struct Transaction {
    access: Access,
    retry_for: Duration,
    id: Str,
    topic: Str,
    plan: TransactionPlan,
    coordinator: RefCell<Option<Rc<Connection>>>,
    producer: Cell<(i64, i16)>,
    /// Partitions of the transaction that is open.
    added: RefCell<BTreeSet<i32>>,
    /// Records handed over in it, and when the first was.
    records: Cell<u64>,
    began: Cell<Instant>,
    chance: RefCell<Random>,
}

impl Transaction {
    /// The producer of thread `thread`, fencing off whoever had its id before.
    pub(crate) async fn open(
        access: &Access,
        retry_for: Duration,
        topic: &Str,
        thread: usize,
        plan: TransactionPlan,
    ) -> Result<Rc<Self>, ClientError> {
        let transaction = Rc::new(Self {
            access: access.clone(),
            retry_for,
            id: format!("{}{thread}", plan.prefix).into(),
            topic: topic.clone(),
            chance: RefCell::new(Random::stream(plan.seed, &[3, thread as u64])),
            plan,
            coordinator: RefCell::default(),
            producer: Cell::new((-1, -1)),
            added: RefCell::default(),
            records: Cell::new(0),
            began: Cell::new(reactor::now()),
        });
        let request = InitProducerIdRequest {
            transactional_id: Some(transaction.id.clone()),
            transaction_timeout_ms: transaction.plan.timeout_ms,
            ..InitProducerIdRequest::default()
        };
        let what = "cannot get a producer id for";
        let given = transaction.ask(what, INIT_PRODUCER_ID_MAX, &request, |answer| answer.error_code).await?;
        transaction.producer.set((given.producer_id, given.producer_epoch));
        Ok(transaction)
    }

    /// Id and epoch of the producer.
    pub(crate) fn producer(&self) -> (i64, i16) {
        self.producer.get()
    }

    /// The transactional id.
    pub(crate) fn id(&self) -> &Str {
        &self.id
    }

    /// A record belongs to the transaction.
    pub(crate) fn count(&self, now: Instant) {
        if self.records.get() == 0 {
            self.began.set(now);
        }
        self.records.set(self.records.get() + 1);
    }

    /// Whether it is to end before another record is handed over.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let records = self.records.get();
        match self.plan.every {
            Every::Records(most) => records >= most,
            Every::Time(longest) => records > 0 && now.since(self.began.get()) >= longest,
        }
    }

    /// When it will be due though no record comes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.plan.every {
            Every::Time(longest) if !self.is_empty() => Some(self.began.get() + longest),
            _ => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.get() == 0
    }

    /// Makes the partitions part of the transaction, those that are not yet.
    pub(crate) async fn add(&self, partitions: impl Iterator<Item = i32>) -> Result<(), ClientError> {
        let partitions: Vec<i32> = {
            let added = self.added.borrow();
            partitions.filter(|partition| !added.contains(partition)).collect()
        };
        if partitions.is_empty() {
            return Ok(());
        }
        let (id, epoch) = self.producer.get();
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.clone(),
            v3_and_below_producer_id: id,
            v3_and_below_producer_epoch: epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: self.topic.clone(),
                partitions: partitions.clone(),
            }],
            ..AddPartitionsToTxnRequest::default()
        };
        self.ask("cannot add partitions to the transaction of", ADD_PARTITIONS_MAX, &request, |answer| {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let mut codes = topics
                .flat_map(|topic| &topic.results_by_partition)
                .map(|result| result.partition_error_code)
                // Refused only because another was.
                .filter(|code| *code != ErrorCode::OperationNotAttempted.code());
            codes.find(|code| *code != 0).unwrap_or(0)
        })
        .await?;
        self.added.borrow_mut().extend(partitions);
        Ok(())
    }

    /// Commits it, or aborts it as chance will, and begins the next.
    pub(crate) async fn end(&self) -> Result<Outcome, ClientError> {
        let aborts = self.chance.borrow_mut().unit() < self.plan.abort_share;
        self.end_as(if aborts { Outcome::Aborted } else { Outcome::Committed }).await
    }

    /// Ends it so, and begins the next.
    pub(crate) async fn end_as(&self, outcome: Outcome) -> Result<Outcome, ClientError> {
        self.records.set(0);
        if self.added.borrow().is_empty() {
            // The coordinator knows nothing of it.
            return Ok(outcome);
        }
        let (id, epoch) = self.producer.get();
        let request = EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: id,
            producer_epoch: epoch,
            committed: outcome == Outcome::Committed,
        };
        self.ask("cannot end the transaction of", END_TXN_MAX, &request, |answer| answer.error_code).await?;
        self.added.borrow_mut().clear();
        Ok(outcome)
    }

    /// Asks the coordinator until it has an answer that is none of passing.
    async fn ask<R: Request>(
        &self,
        what: &str,
        version_max: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let began = reactor::now();
        loop {
            let error = match self.attempt(version_max, request).await {
                Ok(answer) => match code(&answer) {
                    0 => return Ok(answer),
                    code => ClientError::broker(format!("{what} {}", self.id.as_str()), code, None),
                },
                Err(error) => error,
            };
            let concurrent = matches!(&error, ClientError::Broker { code, .. }
                if *code == ErrorCode::ConcurrentTransactions.code());
            if !(concurrent || error.is_retriable()) || began.elapsed() >= self.retry_for {
                return Err(error);
            }
            if concurrent {
                // The one before is still being written to its partitions.
                reactor::sleep(CONCURRENT_PAUSE).await;
            } else {
                self.coordinator.borrow_mut().take();
                reactor::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn attempt<R: Request>(&self, version_max: i16, request: &R) -> Result<R::Response, ClientError> {
        let known = self.coordinator.borrow().clone();
        let connection = match known {
            Some(connection) => connection,
            None => self.find().await?,
        };
        connection.call_at_most(version_max, self.access.timeout, request).await
    }

    /// Connects to the coordinator of the id.
    async fn find(&self) -> Result<Rc<Connection>, ClientError> {
        let asking = Connection::open(&self.access.bootstrap, &self.access.security).await?;
        if asking.version::<AddPartitionsToTxnRequest>().is_err()
            || asking.version::<EndTxnRequest>().is_err()
        {
            let what = format!("{} does not offer transactions", asking.address());
            return Err(ClientError::Usage(what));
        }
        let is_new = asking.version::<FindCoordinatorRequest>()? >= 4;
        let request = FindCoordinatorRequest {
            key: if is_new { Str::default() } else { self.id.clone() },
            key_type: TRANSACTIONAL_ID,
            coordinator_keys: if is_new { vec![self.id.clone()] } else { Vec::new() },
        };
        let found = asking.call_within(self.access.timeout, &request).await?;
        let (code, host, port) = match found.coordinators.first() {
            Some(one) => (one.error_code, one.host.as_str(), one.port),
            None => (found.error_code, found.host.as_str(), found.port),
        };
        if code != 0 {
            let what = format!("cannot find the coordinator of {}", self.id.as_str());
            return Err(ClientError::broker(what, code, None));
        }
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let connection = Rc::new(Connection::open(&address, &self.access.security).await?);
        *self.coordinator.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }
}
