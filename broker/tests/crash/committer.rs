//! A group that commits one offset after the other while the broker dies and comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::support::records::client_config;

/// How long the answer of a coordinator is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was acknowledged, what was tried, and what still waits for its answer.
pub struct Committer {
    consumer: BaseConsumer<Answers>,
    topic: String,
    tried: i64,
}

#[derive(Default)]
struct Answers(Mutex<Answered>);

#[derive(Clone, Copy, Default)]
struct Answered {
    count: i64,
    acked: Option<i64>,
}

impl ClientContext for Answers {}

impl ConsumerContext for Answers {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut answered = self.0.lock().unwrap();
        answered.count += 1;
        if let (Ok(()), Offset::Offset(offset)) = (result, offsets.elements()[0].offset()) {
            answered.acked = Some(offset);
        }
    }
}

impl Committer {
    pub fn new(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = client_config(bootstrap, settings);
        config
            .set("group.id", "committer")
            .set("enable.auto.commit", "false")
            .set("socket.timeout.ms", "5000");
        let consumer = config.create_with_context(Answers::default()).unwrap();
        Self { consumer, topic: topic.to_owned(), tried: 0 }
    }

    fn answered(&self) -> Answered {
        *self.consumer.context().0.lock().unwrap()
    }

    /// One commit at a time; never blocks for long, whatever became of the broker.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.answered().count == self.tried {
                self.tried += 1;
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&self.topic, 0, Offset::Offset(self.tried)).unwrap();
                self.consumer.commit(&list, CommitMode::Async).unwrap();
            }
            let message = self.consumer.poll(Duration::from_millis(2));
            assert!(message.is_none_or(|m| m.is_err()), "a message without an assignment");
        }
    }

    /// The group's offset is the last acknowledged one, or one that was tried after it.
    pub fn check(&self) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let deadline = Instant::now() + PATIENCE;
        let committed = loop {
            match self.consumer.committed_offsets(list.clone(), Duration::from_secs(5)) {
                Ok(committed) => break committed.find_partition(&self.topic, 0).unwrap().offset(),
                Err(error) => assert!(Instant::now() < deadline, "committed offsets: {error}"),
            }
        };
        let acked = self.answered().acked;
        match committed {
            Offset::Offset(offset) => {
                assert!(offset >= acked.unwrap_or(0), "{offset} is committed, {acked:?} was acknowledged");
                assert!(offset <= self.tried, "{offset} is committed, {} was the last tried", self.tried);
            }
            other => assert_eq!((acked, other), (None, Offset::Invalid), "committed offset"),
        }
    }
}
