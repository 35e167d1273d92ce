//! The control plane as shards see it: through its client and its images.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use wire::kafka::{ErrorCode, Str};

use super::commands::{
    AlterConfigs, Assignment, ConfigChange, ConfigOperation, CreatedTopic, Mode, MorePartitions, NewTopic,
    Refusal, TopicKey,
};
use super::{Control, ControlClient, ControlError, ControlOptions, ControlThread, Loaded};
use crate::config::{BrokerConfig, Settings};
use crate::metadata::ids::ShardId;
use crate::metadata::image::{LogStatus, MetadataImage, TopicChange};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn options(dir: &Path, shards: u32, settings: &[(&str, &str)]) -> ControlOptions {
    let mut texts = Settings::default();
    for (name, value) in settings {
        texts.set(name, value, None).unwrap();
    }
    ControlOptions { config: Arc::new(BrokerConfig::new(texts).unwrap()), dir: dir.to_owned(), shards }
}

/// A control plane on its thread.
struct Running {
    image: Arc<MetadataImage>,
    shards_before: u32,
    thread: ControlThread,
}

impl Running {
    fn of(control: Control) -> Self {
        let (image, shards_before) = (Arc::clone(control.image()), control.shards_before);
        Self { image, shards_before, thread: ControlThread::start(control, None).unwrap() }
    }

    fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    fn client(&self) -> ControlClient {
        self.thread.client()
    }

    fn stop(self) {
        self.thread.stop();
    }
}

/// A control plane whose shards apply every image at once.
fn start(dir: &Path, shards: u32, settings: &[(&str, &str)]) -> Running {
    let mut control = Control::open(Loaded::open(&options(dir, shards, settings)).unwrap()).unwrap();
    for shard in 0..control.image().shards() {
        let updates = control.subscribe(ShardId(shard)).unwrap();
        std::thread::spawn(move || {
            while let Ok(update) = updates.recv_blocking() {
                update.applied();
            }
        });
    }
    Running::of(control)
}

fn topic(name: &str, partitions: i32, factor: i16) -> NewTopic {
    NewTopic {
        name: Str::from(name.to_owned()),
        partitions,
        replication_factor: factor,
        ..NewTopic::default()
    }
}

fn create(control: &Running, new: NewTopic) -> Result<CreatedTopic, Refusal> {
    wait(control.client().create_topics(vec![new], Mode::Apply)).unwrap().remove(0)
}

fn alter(
    control: &Running,
    kind: i8,
    name: &str,
    operations: &[(&str, i8, Option<&str>)],
) -> Result<(), Refusal> {
    let operations = operations.iter().map(|&(name, operation, value)| ConfigOperation {
        name: Str::from(name.to_owned()),
        operation,
        value: value.map(|value| Str::from(value.to_owned())),
    });
    let alter = AlterConfigs {
        resource_type: kind,
        resource_name: Str::from(name.to_owned()),
        change: ConfigChange::Incremental(operations.collect()),
    };
    wait(control.client().alter_configs(vec![alter], Mode::Apply)).unwrap().remove(0)
}

#[test]
fn an_answer_comes_after_every_shard_applied_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = Control::open(Loaded::open(&options(dir.path(), 2, &[])).unwrap()).unwrap();
    let updates: Vec<_> = (0..2).map(|shard| control.subscribe(ShardId(shard)).unwrap()).collect();
    assert!(control.subscribe(ShardId(0)).is_none() && control.subscribe(ShardId(2)).is_none());
    let control = Running::of(control);
    let client = control.client();
    let asking = std::thread::spawn(move || wait(client.create_topics(vec![topic("a", 4, 1)], Mode::Apply)));
    let first = updates[0].recv_blocking().unwrap();
    let second = updates[1].recv_blocking().unwrap();
    first.applied();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!asking.is_finished());
    let image = Arc::clone(&second.image);
    assert!(matches!(&second.changes[..], [TopicChange::Created(topic)] if &*topic.name == "a"));
    second.applied();
    let created = asking.join().unwrap().unwrap().remove(0).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (4, 1));
    let shards: Vec<_> = image.topic("a").unwrap().partitions.iter().map(|each| each.shard.0).collect();
    assert_eq!(shards, [0, 1, 0, 1]);
    drop(updates);
    control.stop();
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 2, &[]);
    let cluster = control.image().cluster_id().clone();
    assert_eq!(cluster.len(), 22);
    let kept = create(&control, topic("kept", 3, -1)).unwrap();
    let gone = create(&control, topic("gone", 1, 1)).unwrap();
    alter(&control, 2, "kept", &[("retention.ms", 0, Some("5"))]).unwrap();
    alter(&control, 4, "", &[("log.segment.bytes", 0, Some("1048576"))]).unwrap();
    let ids = wait(control.client().allocate_producer_ids()).unwrap();
    let deleted = wait(control.client().delete_topics(vec![TopicKey::Id(gone.id)])).unwrap();
    assert_eq!(&*deleted[0].as_ref().unwrap().name, "gone");
    control.stop();

    let control = start(dir.path(), 2, &[]);
    let image = Arc::clone(control.image());
    assert_eq!((image.cluster_id(), control.shards_before), (&cluster, 2));
    let topic_kept = image.topic("kept").unwrap();
    assert_eq!((topic_kept.id, topic_kept.partitions.len()), (kept.id, 3));
    assert_eq!((topic_kept.config.retention_ms, topic_kept.config.segment_bytes), (5, 1_048_576));
    assert!(image.topic("gone").is_none());
    let last = image.next_log();
    assert_eq!(image.log_status(storage::types::LogId(last.0 - 1)), LogStatus::Deleted);
    assert_eq!(wait(control.client().allocate_producer_ids()).unwrap().first, ids.first + ids.count);
    let again = create(&control, topic("gone", 1, 1)).unwrap();
    assert_ne!(again.id, gone.id);
    control.stop();
}

#[test]
fn topics_are_refused_with_the_codes_and_words_of_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[]);
    create(&control, topic("a.b", -1, -1)).unwrap();
    let refused = |new: NewTopic| create(&control, new).unwrap_err();
    let cases = [
        (topic("a.b", 1, 1), ErrorCode::TopicAlreadyExists, "Topic 'a.b' already exists."),
        (
            topic("a_b", 1, 1),
            ErrorCode::InvalidTopicException,
            "Topic 'a_b' collides with existing topic: a.b",
        ),
        (topic("..", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: '..' is not allowed"),
        (
            topic("c", 0, 1),
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        ),
        (
            topic("c", 1, 0),
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            topic("c", 1, 3),
            ErrorCode::InvalidReplicationFactor,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
             because only 1 broker(s) are registered.",
        ),
        (
            topic("c", 10_001, 1),
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        ),
        (
            topic("c", i32::MAX, 1),
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        ),
    ];
    for (new, code, message) in cases {
        assert_eq!(refused(new), Refusal::new(code, message));
    }
    let config = |name: &'static str, value: Option<&'static str>| NewTopic {
        configs: vec![(Str::from(name), value.map(Str::from))],
        ..topic("c", 1, 1)
    };
    assert_eq!(refused(config("retention.ms", Some("x"))).code, ErrorCode::InvalidConfig);
    assert_eq!(
        refused(config("retention.ms", None)).message,
        "Null value not supported for topic configs: retention.ms"
    );
    assert!(
        refused(config("cleanup.policy", Some("compact"))).message.contains("compact is not supported yet")
    );
    let twice =
        wait(control.client().create_topics(vec![topic("d", 1, 1), topic("d", 1, 1)], Mode::Apply)).unwrap();
    assert!(twice.iter().all(|each| each.as_ref().unwrap_err().message == "Duplicate topic name."));
    let dry = wait(control.client().create_topics(vec![topic("d", 2, 1)], Mode::ValidateOnly)).unwrap();
    assert_eq!(dry[0].as_ref().unwrap().partitions, 2);
    create(&control, topic("d", 1, 1)).unwrap();
    control.stop();
}

#[test]
fn one_request_cannot_create_partitions_without_bound_in_small_parts() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[("num.partitions", "4000")]);
    let all = vec![topic("a", -1, 1), topic("b", -1, 1), topic("c", -1, 1)];
    let outcomes = wait(control.client().create_topics(all, Mode::Apply)).unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    assert_eq!(outcomes[2].as_ref().unwrap_err().code, ErrorCode::PolicyViolation);
    let names = ["d", "e", "f"].map(Str::from).to_vec();
    let outcomes = wait(control.client().ensure_topics(names)).unwrap();
    assert_eq!(outcomes[2].as_ref().unwrap_err().code, ErrorCode::PolicyViolation);
    control.stop();
}

#[test]
fn a_request_full_of_names_is_answered_in_one_pass() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[]);
    let keys = (0..200_000).map(|n| TopicKey::Name(Str::from(format!("t{}", n / 2)))).collect();
    let outcomes = wait(control.client().delete_topics(keys)).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().message == "Duplicate topic name."));
    control.stop();
}

#[test]
fn manual_assignments_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[]);
    let with = |rows: &[(i32, &[i32])]| NewTopic {
        assignments: rows
            .iter()
            .map(|(partition, nodes)| Assignment { partition: *partition, brokers: nodes.to_vec() })
            .collect(),
        ..topic("m", -1, -1)
    };
    let code = |new: NewTopic| create(&control, new).unwrap_err().code;
    assert_eq!(code(with(&[(0, &[2])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(with(&[(0, &[1, 1])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(with(&[(0, &[])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(with(&[(1, &[1])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(with(&[(0, &[1]), (0, &[1])])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(code(NewTopic { partitions: 1, ..with(&[(0, &[1])]) }), ErrorCode::InvalidRequest);
    assert_eq!(create(&control, with(&[(1, &[1]), (0, &[1])])).unwrap().partitions, 2);
    control.stop();
}

#[test]
fn partitions_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 2, &[]);
    create(&control, topic("p", 2, 1)).unwrap();
    let grow = |name: &'static str, count, assignments: Option<Vec<Vec<i32>>>| {
        let more = MorePartitions { topic: Str::from(name), count, assignments };
        wait(control.client().create_partitions(vec![more], Mode::Apply)).unwrap().remove(0)
    };
    let text = |outcome: Result<(), Refusal>| outcome.unwrap_err().message;
    assert_eq!(text(grow("p", 2, None)), "Topic already has 2 partition(s).");
    assert_eq!(
        text(grow("p", -1, None)),
        "The topic p currently has 2 partition(s); -1 would not be an increase."
    );
    assert_eq!(grow("q", 3, None).unwrap_err().code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        text(grow("p", 4, Some(vec![vec![1]]))),
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
    );
    grow("p", 4, None).unwrap();
    grow("p", 5, Some(vec![vec![1]])).unwrap();
    control.stop();
    let image = Arc::clone(start(dir.path(), 2, &[]).image());
    assert_eq!(image.shard_loads(), [3, 2]);
}

#[test]
fn settings_change_one_by_one_or_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[]);
    create(&control, topic("t", 1, 1)).unwrap();
    let name = "follower.replication.throttled.replicas";
    alter(&control, 2, "t", &[(name, 0, Some("0:1")), ("retention.ms", 0, Some("1"))]).unwrap();
    alter(&control, 2, "t", &[(name, 2, Some("0:2,0:1"))]).unwrap();
    alter(&control, 2, "t", &[(name, 3, Some("0:1")), ("retention.ms", 1, None)]).unwrap();
    let refused = |kind, resource: &str, name, operation, value| {
        let refusal = alter(&control, kind, resource, &[(name, operation, value)]).unwrap_err();
        (refusal.code, refusal.message)
    };
    let (code, text) = refused(2, "t", "retention.ms", 2, Some("1"));
    assert_eq!(
        (code, text.as_str()),
        (ErrorCode::InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST.")
    );
    assert_eq!(refused(2, "u", "retention.ms", 0, Some("1")).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refused(2, "t", "nope", 0, Some("1")).1, "Unknown topic config name: nope");
    assert_eq!(refused(2, "t", "cleanup.policy", 2, Some("compact")).0, ErrorCode::InvalidConfig);
    assert_eq!(
        refused(4, "1", "node.id", 0, Some("2")).1,
        "Cannot update these configs dynamically: Set(node.id)"
    );
    assert_eq!(refused(4, "x", "log.roll.ms", 0, Some("2")).1, "Node id must be an integer, but it is: x");
    assert_eq!(refused(32, "g", "x", 0, Some("2")).0, ErrorCode::InvalidRequest);
    let all = AlterConfigs {
        resource_type: 2,
        resource_name: Str::from("t"),
        change: ConfigChange::Replace(vec![(Str::from("segment.ms"), Some(Str::from("7")))]),
    };
    let before = wait(control.client().alter_configs(vec![all.clone()], Mode::ValidateOnly)).unwrap();
    assert!(before[0].is_ok());
    control.stop();
    let control = start(dir.path(), 1, &[]);
    assert_eq!(control.image().topic("t").unwrap().overrides.get(name).unwrap(), "0:2");
    wait(control.client().alter_configs(vec![all], Mode::Apply)).unwrap().remove(0).unwrap();
    control.stop();
    let image = Arc::clone(start(dir.path(), 1, &[]).image());
    let overrides: Vec<_> = image.topic("t").unwrap().overrides.iter().collect();
    assert_eq!(overrides, [(&"segment.ms".to_owned(), &"7".to_owned())]);
}

#[test]
fn the_brokers_own_topics_fit_one_node_and_are_kept_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 2, &[("offsets.topic.num.partitions", "7")]);
    let names = vec![Str::from("__consumer_offsets"), Str::from("x"), Str::from("a/b")];
    let first = wait(control.client().ensure_topics(names.clone())).unwrap();
    let offsets = first[0].as_ref().unwrap();
    assert_eq!((offsets.partitions, offsets.replication_factor), (7, 1));
    assert_eq!(offsets.overrides.get("retention.ms").unwrap(), "-1");
    assert_eq!(first[1].as_ref().unwrap().partitions, 1);
    assert_eq!(first[2].as_ref().unwrap_err().code, ErrorCode::InvalidTopicException);
    let second = wait(control.client().ensure_topics(names)).unwrap();
    assert_eq!(second[0], first[0]);
    control.stop();
}

#[test]
fn deletion_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[("delete.topic.enable", "false")]);
    create(&control, topic("a", 1, 1)).unwrap();
    let outcome =
        wait(control.client().delete_topics(vec![TopicKey::Name(Str::from("a"))])).unwrap().remove(0);
    assert_eq!(outcome.unwrap_err().code, ErrorCode::TopicDeletionDisabled);
    control.stop();
}

#[test]
fn another_number_of_shards_moves_no_more_than_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 2, &[]);
    create(&control, topic("a", 8, 1)).unwrap();
    control.stop();
    for (shards, loads) in [(4, vec![2, 2, 2, 2]), (1, vec![8, 0, 0, 0]), (3, vec![3, 3, 2, 0])] {
        let control = start(dir.path(), shards, &[]);
        assert_eq!(control.image().shards(), shards);
        let found = control.image().shard_loads();
        assert_eq!(&loads[..found.len()], found);
        control.stop();
    }
}

#[test]
fn another_nodes_data_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), 1, &[]).stop();
    let error = Loaded::open(&options(dir.path(), 1, &[("node.id", "2")])).unwrap_err();
    assert!(matches!(&error, ControlError::OtherNode { .. }));
    assert_eq!(error.to_string(), "the data folder belongs to node 1, not to node.id=2");
}

#[test]
fn a_stopped_control_plane_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path(), 1, &[]);
    let client = control.client();
    control.stop();
    let refusal = wait(client.allocate_producer_ids()).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::BrokerNotAvailable);
}
