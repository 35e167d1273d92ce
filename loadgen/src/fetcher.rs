//! One connection's fetches: positions in, batches out.
//!
//! The next fetch leaves as soon as the answer's batch headers are seen, before anybody looks at the records, so the
//! broker works while this thread does. After a retriable failure the fetcher connects anew and goes on from its
//! positions, as long as the run allows; no record is skipped or given twice.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use reactor::Instant;
use wire::kafka::Records;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use wire::kafka::record_batch::{Batch, Batches};

use crate::args::Isolation;
use crate::client::{ClientError, Cluster, Connection, LATEST, PartitionLeader, Reply, Topic};
use crate::limits::RETRY_PAUSE;
use crate::sender::leader_of;
use crate::visible::Visible;

/// How much to ask for, and how long to wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchSettings {
    pub(crate) max_wait: Duration,
    pub(crate) min_bytes: i32,
    pub(crate) max_bytes: i32,
    pub(crate) partition_max_bytes: i32,
    pub(crate) isolation: Isolation,
    /// How long an answer may take beyond `max_wait`.
    pub(crate) timeout: Duration,
    /// How long to go on trying after a retriable failure.
    pub(crate) retry_for: Duration,
}

/// New batches of one partition.
pub(crate) struct Fetched {
    pub(crate) partition: i32,
    pub(crate) batches: Vec<Batch>,
    /// Offsets between them of what consumers are not shown: marks of transactions, and what aborted ones wrote.
    pub(crate) hidden: Vec<Range<i64>>,
}

struct Position {
    leader: PartitionLeader,
    next_offset: i64,
    /// Where the log ended when it was last heard of.
    high_watermark: i64,
    /// Read no further; `i64::MAX` without an end.
    end: i64,
}

/// The reading side of one connection.
pub(crate) struct Fetcher {
    cluster: Rc<Cluster>,
    topic: Topic,
    settings: FetchSettings,
    /// Ascending by partition.
    positions: Vec<Position>,
    connection: Option<Rc<Connection>>,
    pending: Option<Reply<FetchRequest>>,
    failing_since: Option<Instant>,
    requests: u64,
    failures: u64,
}

impl Fetcher {
    /// Reads `partitions` of one leader, each from and to an offset (`i64::MAX`: for ever).
    pub(crate) fn new(
        cluster: Rc<Cluster>,
        topic: Topic,
        settings: FetchSettings,
        partitions: impl IntoIterator<Item = (PartitionLeader, i64, i64)>,
    ) -> Self {
        let position =
            |(leader, next_offset, end)| Position { leader, next_offset, high_watermark: next_offset, end };
        let positions =
            partitions.into_iter().map(position).filter(|position| position.next_offset < position.end);
        let mut positions: Vec<Position> = positions.collect();
        positions.sort_unstable_by_key(|position| position.leader.partition);
        Self {
            cluster,
            topic,
            settings,
            positions,
            connection: None,
            pending: None,
            failing_since: None,
            requests: 0,
            failures: 0,
        }
    }

    /// Reads each partition no further than its end here; those not named as before.
    pub(crate) fn set_ends(&mut self, ends: &HashMap<i32, i64>) {
        for position in &mut self.positions {
            if let Some(end) = ends.get(&position.leader.partition) {
                position.end = *end;
            }
        }
        self.positions.retain(|position| position.next_offset < position.end);
    }

    /// Whether every partition was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.positions.is_empty()
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests that failed so far and were made again.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// Records that the log has and that were not read, as of the newest answers.
    pub(crate) fn lag(&self) -> i64 {
        let behind = |position: &Position| position.high_watermark.min(position.end) - position.next_offset;
        self.positions.iter().map(|position| behind(position).max(0)).sum()
    }

    /// Asks where the logs end now, for who reads so slowly that answers are old news.
    pub(crate) async fn learn_lag(&mut self) -> Result<(), ClientError> {
        let partitions: Vec<PartitionLeader> =
            self.positions.iter().map(|position| position.leader).collect();
        let ends = self.cluster.offsets(&self.topic.name, &partitions, LATEST).await?;
        for position in &mut self.positions {
            if let Some(end) = ends.get(&position.leader.partition) {
                position.high_watermark = *end;
            }
        }
        Ok(())
    }

    /// The next batches; none when the broker had nothing new for as long as it was to wait.
    pub(crate) async fn next(&mut self) -> Result<Vec<Fetched>, ClientError> {
        loop {
            let error = match self.attempt().await {
                Ok(fetched) => {
                    self.failing_since = None;
                    return Ok(fetched);
                }
                Err(error) => error,
            };
            let since = *self.failing_since.get_or_insert_with(reactor::now);
            if !error.is_retriable() || since.elapsed() >= self.settings.retry_for {
                return Err(error);
            }
            self.failures += 1;
            self.pending = None;
            self.connection = None;
            self.cluster.forget_connection();
            reactor::sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt(&mut self) -> Result<Vec<Fetched>, ClientError> {
        let reply = match self.pending.take() {
            Some(reply) => reply,
            None => self.send().await?,
        };
        let limit = self.settings.max_wait + self.settings.timeout;
        let response = reactor::timeout(limit, reply.wait()).await.unwrap_or_else(|_| {
            let address = self
                .connection
                .as_ref()
                .map_or_else(String::new, |connection| connection.address().to_owned());
            Err(ClientError::Timeout { address, what: "Fetch".to_owned() })
        })?;
        self.requests += 1;
        let fetched = self.take(response)?;
        self.positions.retain(|position| position.next_offset < position.end);
        if !self.positions.is_empty() {
            // A failure to send shows again at the next call.
            self.pending = self.send().await.ok();
        }
        Ok(fetched)
    }

    async fn send(&mut self) -> Result<Reply<FetchRequest>, ClientError> {
        let connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => self.connect().await?,
        };
        let partition = |position: &Position| FetchPartition {
            partition: position.leader.partition,
            fetch_offset: position.next_offset,
            partition_max_bytes: self.settings.partition_max_bytes,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: self.settings.max_wait.as_millis() as i32,
            min_bytes: self.settings.min_bytes,
            max_bytes: self.settings.max_bytes,
            isolation_level: self.settings.isolation.level(),
            topics: vec![FetchTopic {
                topic: self.topic.name.clone(),
                topic_id: self.topic.id,
                partitions: self.positions.iter().map(partition).collect(),
            }],
            ..FetchRequest::default()
        };
        connection.send(&request).await
    }

    async fn connect(&mut self) -> Result<Rc<Connection>, ClientError> {
        let topic = self.cluster.topic(&self.topic.name).await?;
        let partitions: Vec<PartitionLeader> =
            self.positions.iter().map(|position| position.leader).collect();
        let connection = self.cluster.connect_to(leader_of(&topic, &partitions)?).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// The new batches of an answer; moves the positions behind them.
    fn take(&mut self, response: FetchResponse) -> Result<Vec<Fetched>, ClientError> {
        if response.error_code != 0 {
            return Err(ClientError::broker("cannot fetch", response.error_code, None));
        }
        let mut all = Vec::new();
        for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            let place = self
                .positions
                .binary_search_by_key(&data.partition_index, |position| position.leader.partition);
            // Asked for, but read to its end meanwhile.
            let Ok(place) = place else { continue };
            let position = &mut self.positions[place];
            if data.error_code != 0 {
                let name = self.topic.name.as_str();
                let what =
                    format!("cannot fetch {name}-{} at {}", data.partition_index, position.next_offset);
                return Err(ClientError::broker(what, data.error_code, None));
            }
            position.high_watermark = data.high_watermark;
            let Records::Bytes(parts) = data.records else { continue };
            let mut fetched =
                Fetched { partition: data.partition_index, batches: Vec::new(), hidden: Vec::new() };
            let mut visible = Visible::new(data.aborted_transactions.unwrap_or_default());
            for part in parts {
                position.take(part, &mut visible, &mut fetched).map_err(|why| {
                    ClientError::Corrupt(format!(
                        "{}-{}: {why}",
                        self.topic.name.as_str(),
                        data.partition_index
                    ))
                })?;
            }
            if !(fetched.batches.is_empty() && fetched.hidden.is_empty()) {
                all.push(fetched);
            }
        }
        Ok(all)
    }
}

impl Position {
    /// Takes the batches that end behind the position; the last may be cut and is fetched again.
    fn take(&mut self, bytes: Bytes, visible: &mut Visible, out: &mut Fetched) -> Result<(), String> {
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            let shows = visible.shows(&batch)?;
            let (first, next) = (batch.header.base_offset, batch.header.next_offset());
            if next <= self.next_offset {
                continue;
            }
            self.next_offset = next;
            if shows {
                out.batches.push(batch);
            } else {
                out.hidden.push(first..next);
            }
        }
        Ok(())
    }
}
