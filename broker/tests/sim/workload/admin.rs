//! The one client that makes topics, deletes them and makes them again, adds partitions, and deletes records. One, so that
//! it knows what is there.

use reactor::sim::Random;
use wire::kafka::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use wire::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::kafka::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic};
use wire::kafka::{ErrorCode, Str, Uuid};

use super::pause;
use crate::checkers::starts;
use crate::client::Client;
use crate::history::{Existence, Partition, Shared, Topic};

const TOPICS: [&str; 4] = ["orders", "events", "audit", "metrics"];
const PARTITIONS_MAX: usize = 6;

/// What a topic is made with.
struct New {
    name: &'static str,
    partitions: i32,
    retains: bool,
}

struct Admin {
    shared: Shared,
    random: Random,
    client: Client,
}

pub(crate) async fn run(shared: Shared, idle_partitions: i32) {
    let client = Client::new(shared.address, "admin");
    let mut admin = Admin { random: shared.random("admin"), shared, client };
    if idle_partitions > 0 {
        admin.create(New { name: "idle", partitions: idle_partitions, retains: false }).await;
    }
    while admin.shared.is_busy() {
        let missing: Vec<&'static str> = {
            let history = admin.shared.history();
            let is_there = |name: &str| history.live().any(|(_, topic)| topic.name == name);
            TOPICS.into_iter().filter(|name| !is_there(name)).collect()
        };
        match admin.random.below(10) {
            0..4 if !missing.is_empty() => {
                let new = New {
                    name: admin.random.pick::<&str>(&missing),
                    partitions: admin.random.range(1..4) as i32,
                    retains: admin.random.one_in(3),
                };
                admin.create(new).await;
            }
            4 => admin.delete().await,
            5 => admin.more_partitions().await,
            6..9 => admin.delete_records().await,
            _ => {}
        }
        let longest_us = if missing.len() == TOPICS.len() { 1_000 } else { 60_000 };
        pause(&admin.random, longest_us).await;
    }
}

impl Admin {
    /// Until it is there, or the run drains before anything is known of it.
    async fn create(&mut self, new: New) {
        let mut configs = vec![("segment.bytes", (1 << 20).to_string())];
        if new.retains {
            configs.push(("retention.bytes", self.random.range(100_000..2_000_000).to_string()));
        }
        let configs = configs.into_iter().map(|(name, value)| CreatableTopicConfig {
            name: Str::from(name),
            value: Some(Str::from(value)),
        });
        let topic = CreatableTopic {
            name: Str::from(new.name),
            num_partitions: new.partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let ask = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        loop {
            let answer = self.client.ask(7, &ask).await;
            let code = answer.as_ref().map(|answer| super::code(answer.topics[0].error_code));
            match (&answer, code) {
                (Ok(answer), Ok(ErrorCode::None)) => return self.created(&new, answer.topics[0].topic_id),
                // An earlier request of this loop was carried out without its answer.
                (_, Ok(ErrorCode::TopicAlreadyExists)) => {
                    if let Some(id) = self.find(new.name).await {
                        return self.created(&new, id);
                    }
                }
                _ => {}
            }
            pause(&self.random, 20_000).await;
        }
    }

    fn created(&self, new: &New, id: Uuid) {
        let mut history = self.shared.history_mut();
        history.counts.add("topics made", 1);
        if history.topics.iter().any(|topic| topic.id == id) {
            history.judge(Err(format!("{} has the id {id:?} of an earlier topic", new.name)));
        }
        if history.topics.iter().any(|topic| topic.name == new.name) {
            history.counts.add("topics made again", 1);
        }
        history.topics.push(Topic {
            name: new.name.to_owned(),
            id,
            existence: Existence::Live,
            retains: new.retains,
            idle: new.name == "idle",
            partitions: (0..new.partitions).map(|_| Partition::default()).collect(),
        });
    }

    async fn find(&mut self, name: &str) -> Option<Uuid> {
        let topic = MetadataRequestTopic { name: Some(Str::from(name.to_owned())), ..Default::default() };
        let ask = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = self.client.ask(12, &ask).await.ok()?;
        let found = answer.topics.first().filter(|topic| topic.error_code == 0)?;
        Some(found.topic_id)
    }

    fn pick(&self) -> Option<usize> {
        let history = self.shared.history();
        let topics: Vec<usize> =
            history.live().filter(|(_, topic)| !topic.idle).map(|(index, _)| index).collect();
        (!topics.is_empty()).then(|| *self.random.pick(&topics))
    }

    /// Until it is gone: the id makes sure that a late repetition hits nothing else.
    async fn delete(&mut self) {
        let Some(index) = self.pick() else { return };
        let topic_id = self.shared.history().topics[index].id;
        self.shared.history_mut().topics[index].existence = Existence::Deleting;
        let topic = DeleteTopicState { name: None, topic_id };
        let ask = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        loop {
            if let Ok(answer) = self.client.ask(6, &ask).await {
                let code = super::code(answer.responses[0].error_code);
                if matches!(code, ErrorCode::None | ErrorCode::UnknownTopicId) {
                    break;
                }
            }
            pause(&self.random, 20_000).await;
        }
        let mut history = self.shared.history_mut();
        history.topics[index].existence = Existence::Deleted;
        history.counts.add("topics deleted", 1);
    }

    async fn more_partitions(&mut self) {
        let Some(index) = self.pick() else { return };
        let (name, count) = {
            let history = self.shared.history();
            let topic = &history.topics[index];
            (Str::from(topic.name.clone()), topic.partitions.len() + 1)
        };
        if count > PARTITIONS_MAX {
            return;
        }
        let topic = CreatePartitionsTopic { name, count: count as i32, assignments: None };
        let ask = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        loop {
            if let Ok(answer) = self.client.ask(3, &ask).await {
                let code = super::code(answer.results[0].error_code);
                // It has as many already: by an earlier request of this loop.
                if matches!(code, ErrorCode::None | ErrorCode::InvalidPartitions) {
                    break;
                }
            }
            pause(&self.random, 20_000).await;
        }
        let mut history = self.shared.history_mut();
        history.topics[index].partitions.push(Partition::default());
        history.counts.add("partitions added", 1);
    }

    /// Up to an offset that was shown. Asked for by name, so it is repeated until it is answered, before the name can mean
    /// another topic.
    async fn delete_records(&mut self) {
        let Some(index) = self.pick() else { return };
        let (name, at, offset) = {
            let mut history = self.shared.history_mut();
            let name = Str::from(history.topics[index].name.clone());
            let at = self.random.below(history.topics[index].partitions.len() as u64) as i32;
            let partition = history.partition(index, at);
            let Some((last, _)) = partition.seen.last_key_value() else { return };
            let offset = self.random.below(*last as u64 + 2) as i64;
            partition.start_asked = partition.start_asked.max(offset);
            (name, at, offset)
        };
        let partition = DeleteRecordsPartition { partition_index: at, offset };
        let topic = DeleteRecordsTopic { name, partitions: vec![partition] };
        let ask = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 };
        loop {
            if let Ok(answer) = self.client.ask(2, &ask).await {
                let answer = &answer.topics[0].partitions[0];
                if answer.error_code == 0 {
                    let mut history = self.shared.history_mut();
                    history.counts.add("records deleted", 1);
                    let verdict = starts::deleted(history.partition(index, at), answer.low_watermark, offset);
                    let place = history.place(index, at);
                    history.judge(verdict.map_err(|why| format!("{place}: {why}")));
                    return;
                }
                if answer.error_code == ErrorCode::OffsetOutOfRange.code() {
                    let mut history = self.shared.history_mut();
                    let place = history.place(index, at);
                    history.judge(Err(format!("{place}: {offset} was shown, and is out of range now")));
                    return;
                }
            }
            pause(&self.random, 20_000).await;
        }
    }
}
