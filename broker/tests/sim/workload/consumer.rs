//! Consumers without a group: from the beginning or the end, with and without fetch sessions, waiting or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use reactor::sim::Random;
use wire::kafka::ErrorCode;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::kafka::{Records, Str, Uuid};

use super::{pause, pick_partition};
use crate::checkers::bytes::Stamp;
use crate::checkers::{order, starts, visible};
use crate::client::{Client, Lost};
use crate::history::Shared;

pub(super) const FETCH_VERSION: i16 = 15;
pub(super) const EARLIEST: i64 = -2;
pub(super) const LATEST: i64 = -1;

pub(crate) async fn run(shared: Shared, index: u64) {
    let name = format!("consumer-{index}");
    let random = shared.random(&name);
    let mut client = Client::new(shared.address, &name);
    while shared.is_busy() {
        pause(&random, 3_000).await;
        let mut positions = BTreeMap::new();
        let from = *random.pick(&[EARLIEST, LATEST]);
        for _ in 0..random.range(1..6) {
            let Some((topic, partition)) = pick_partition(&shared, &random) else { continue };
            if let Ok(Some(offset)) = list_offset(&shared, &mut client, (topic, partition), from).await {
                positions.insert((topic, partition), offset);
            }
        }
        if !positions.is_empty() {
            let mut reading =
                Reading { shared: &shared, positions, session: random.one_in(2).then(Session::default) };
            for _ in 0..random.range(5..60) {
                if !shared.is_busy() || reading.positions.is_empty() {
                    break;
                }
                if reading.fetch(&random, &mut client).await.is_err() {
                    reading.session = reading.session.map(|_| Session::default());
                    pause(&random, 10_000).await;
                }
            }
        }
    }
}

/// What the broker remembers of a fetch session (KIP-227).
#[derive(Default)]
struct Session {
    id: i32,
    epoch: i32,
    /// Positions as the broker knows them.
    known: BTreeMap<(usize, i32), i64>,
}

struct Reading<'a> {
    shared: &'a Shared,
    positions: BTreeMap<(usize, i32), i64>,
    session: Option<Session>,
}

impl Reading<'_> {
    async fn fetch(&mut self, random: &Random, client: &mut Client) -> Result<(), Lost> {
        if !client.is_connected() {
            self.session = self.session.take().map(|_| Session::default());
        }
        let request = self.request(random);
        let answer = client.ask(FETCH_VERSION, &request).await?;
        if answer.error_code != 0 {
            // The session is unknown, after a restart or an eviction: begin another.
            self.session = self.session.take().map(|_| Session::default());
            return Ok(());
        }
        if let Some(session) = &mut self.session {
            session.id = answer.session_id;
            session.epoch += 1;
            if session.id == 0 {
                self.session = None;
            }
        }
        for topic in answer.responses {
            for data in topic.partitions {
                self.take(client, topic.topic_id, data).await?;
            }
        }
        Ok(())
    }

    fn request(&mut self, random: &Random) -> FetchRequest {
        let partition_max_bytes = *random.pick(&[1, 5_000, 100_000, 1 << 20]);
        let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in &self.positions {
            let unchanged =
                self.session.as_ref().and_then(|session| session.known.get(&(*topic, *partition)));
            if unchanged == Some(offset) {
                continue;
            }
            let asked = FetchPartition {
                partition: *partition,
                fetch_offset: *offset,
                partition_max_bytes,
                ..Default::default()
            };
            topics.entry(self.shared.history().topics[*topic].id).or_default().push(asked);
        }
        if let Some(session) = &mut self.session {
            session.known = self.positions.clone();
        }
        let (session_id, session_epoch) =
            self.session.as_ref().map_or((0, -1), |session| (session.id, session.epoch));
        let topics = topics.into_iter().map(|(topic_id, partitions)| FetchTopic {
            topic_id,
            partitions,
            ..Default::default()
        });
        FetchRequest {
            max_wait_ms: *random.pick(&[0, 5, 50]),
            min_bytes: 1,
            max_bytes: *random.pick(&[20_000, 1 << 20]),
            session_id,
            session_epoch,
            topics: topics.collect(),
            ..Default::default()
        }
    }

    async fn take(&mut self, client: &mut Client, topic: Uuid, data: PartitionData) -> Result<(), Lost> {
        let find = |(index, _): &&(usize, i32)| self.shared.history().topics[*index].id == topic;
        let found =
            self.positions.keys().filter(|(_, partition)| *partition == data.partition_index).find(find);
        let Some(&at) = found else { return Ok(()) };
        let from = self.positions[&at];
        if data.error_code == ErrorCode::OffsetOutOfRange.code() {
            // Below the log's start, one hopes.
            match start_above(self.shared, client, at, from).await? {
                Some(start) => self.positions.insert(at, start),
                None => self.positions.remove(&at),
            };
            return Ok(());
        }
        // No plan fails a segment, so every record that is there can be read.
        let (code, at_offset) = (data.error_code, from);
        assert_ne!(
            code,
            ErrorCode::KafkaStorageError.code(),
            "{at:?} is sound and cannot be read at {at_offset}"
        );
        if data.error_code != 0 {
            if !self.shared.history().is_live(at.0) {
                self.positions.remove(&at);
            }
            return Ok(());
        }
        let records = take_records(self.shared, at, from, &data);
        self.positions.insert(at, records.last().map_or(from, |(offset, _)| offset + 1));
        Ok(())
    }
}

/// Where to go on after a position that is out of range: at the log's start, which must be above it. `None`: the topic is
/// gone.
async fn start_above(
    shared: &Shared,
    client: &mut Client,
    at: (usize, i32),
    from: i64,
) -> Result<Option<i64>, Lost> {
    let Some(start) = list_offset(shared, client, at, EARLIEST).await? else { return Ok(None) };
    let Some(end) = list_offset(shared, client, at, LATEST).await? else { return Ok(None) };
    let mut history = shared.history_mut();
    if history.is_live(at.0) && start <= from && from > end {
        let place = history.place(at.0, at.1);
        history.judge(Err(format!("{place}: consumed up to {from}, now it is {start} to {end}")));
    }
    Ok(Some(start.max(0)))
}

/// Judges what a partition gave from a position on, and gives the records; none when a rule was broken.
pub(super) fn take_records(
    shared: &Shared,
    at: (usize, i32),
    from: i64,
    data: &PartitionData,
) -> Vec<(i64, Stamp)> {
    let fetched = match &data.records {
        Records::Bytes(parts) => Bytes::from(parts.concat()),
        Records::Null | Records::External { .. } => Bytes::new(),
    };
    let mut history = shared.history_mut();
    let (place, id, retains) = {
        let topic = &history.topics[at.0];
        (history.place(at.0, at.1), topic.id, topic.retains)
    };
    let partition = history.partition(at.0, at.1);
    let judged = order::records(id, at.1, partition, from, fetched).and_then(|records| {
        let next = records.last().map_or(from, |(offset, _)| offset + 1);
        starts::told(retains, partition, data.log_start_offset)?;
        if next > data.high_watermark {
            return Err(format!(
                "{next} follows what was shown, the high watermark is {}",
                data.high_watermark
            ));
        }
        for (offset, stamp) in &records {
            visible::shown(partition, *offset, *stamp)?;
        }
        Ok(records)
    });
    match judged {
        Ok(records) => {
            history.counts.add("consumed", records.len() as u64);
            records
        }
        Err(why) => {
            history.judge(Err(format!("{place}: {why}")));
            Vec::new()
        }
    }
}

/// The first or the last offset of a partition; `None` when the topic is gone, or not there for now.
pub(super) async fn list_offset(
    shared: &Shared,
    client: &mut Client,
    at: (usize, i32),
    timestamp: i64,
) -> Result<Option<i64>, Lost> {
    let name = Str::from(shared.history().topics[at.0].name.clone());
    let shown = shared.history_mut().partition(at.0, at.1).seen.last_key_value().map(|(last, _)| *last);
    let partition = ListOffsetsPartition { partition_index: at.1, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name, partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = client.ask(7, &request).await?;
    let answer = &answer.topics[0].partitions[0];
    // The name may mean another topic by now.
    if answer.error_code != 0 || !shared.history().is_live(at.0) {
        return Ok(None);
    }
    if timestamp == LATEST {
        let mut history = shared.history_mut();
        let place = history.place(at.0, at.1);
        let verdict = visible::end(shown, answer.offset);
        history.judge(verdict.map_err(|why| format!("{place}: {why}")));
    }
    Ok(Some(answer.offset))
}
