//! The real shell over a real log: what the log refuses midway.

use std::rc::Rc;
use std::sync::Arc;

use reactor::Builder;
use storage::types::{LeaderEpoch, LogId};
use storage::{Catalog, Direct, LogConfig, LogSpec, Store, StoreOptions};
use wire::kafka::delete_groups::DeletableGroupResult;
use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use wire::kafka::offset_fetch::OffsetFetchRequestGroup;
use wire::kafka::{ErrorCode, Str, Uuid};

use crate::config::Settings;
use crate::coordinator::host::GroupHost;
use crate::coordinator::{Caller, GroupPolicy, Reply};
use crate::metadata::topic_config::{Layers, Overrides};
use crate::shard::PartitionId;
use crate::shard::partition::Partition;

/// The longest name that a key has room for.
fn longest(start: &str) -> Str {
    format!("{start:x<32767}").into()
}

/// A partition whose log takes batches of up to two fifths of its ring, 475,136 bytes.
async fn partition(dir: &std::path::Path) -> Rc<Partition> {
    let spec = LogSpec { id: LogId(1), name: "__consumer_offsets-0".into(), config: LogConfig::default() };
    let catalog = Catalog { live: [(spec.id, spec.clone())].into(), issued_max: LogId(1) };
    let options = StoreOptions {
        commit_log_bytes: (72 << 10) + 17 * (64 << 10),
        ring_first_file_bytes: 72 << 10,
        ring_file_bytes: 64 << 10,
        free_bytes_min: 0,
        direct: Direct::Off,
        ..StoreOptions::new(dir, 0)
    };
    let (store, _) = Store::open(options, &catalog).await.unwrap();
    let log = store.create_log(spec).unwrap();
    let none = Overrides::new();
    let started = Settings::default();
    let config = Layers { topic: &none, node: &none, cluster: &none, started: &started }.resolve().unwrap();
    let id = PartitionId { topic: Uuid([1; 16]), index: 0 };
    Rc::new(Partition::new(id, store, log, Arc::new(config), LeaderEpoch(0)))
}

async fn open(partition: &Rc<Partition>) -> Rc<GroupHost> {
    let host = GroupHost::start(partition.clone(), GroupPolicy::default());
    while host.look(|_, _| ()).is_err() {
        reactor::sleep(std::time::Duration::from_millis(1)).await;
    }
    host
}

async fn commit(host: &Rc<GroupHost>, group: &Str, topic: Str) {
    let partition = OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: topic, partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: group.clone(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let caller = Caller { api_version: 9, ..Caller::default() };
    let answer =
        host.ask(|coordinator, token, now| coordinator.commit(&caller, &request, token, now)).await.unwrap();
    let Reply::OffsetCommit(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

/// The topics that the group has positions of.
fn topics(host: &Rc<GroupHost>, group: &Str) -> Vec<Str> {
    let request = OffsetFetchRequestGroup { group_id: group.clone(), topics: None, ..Default::default() };
    let answer = host.look(|coordinator, _| coordinator.fetch(&request)).unwrap();
    answer.topics.into_iter().map(|topic| topic.name).collect()
}

#[test]
fn after_a_deletion_that_the_log_refuses_midway_the_state_is_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let run = move || async move {
        let partition = partition(&path).await;
        let host = open(&partition).await;
        let group = longest("group");
        for topic in 0..14 {
            commit(&host, &group, longest(&format!("topic-{topic:02}"))).await;
        }
        // Seven tombstones to a batch: the first fits, the second has the group's own behind it and is too large.
        let names = [group.clone()];
        let answer = host.ask(|coordinator, token, now| coordinator.delete_groups(&names, token, now)).await;
        let Ok(Reply::DeleteGroups(results)) = answer else { panic!("{answer:?}") };
        let code = ErrorCode::NotCoordinator.code();
        assert_eq!(results, [DeletableGroupResult { group_id: group.clone(), error_code: code }]);
        assert_eq!(host.look(|_, _| ()), Err(ErrorCode::CoordinatorLoadInProgress));
        while host.look(|_, _| ()).is_err() {
            reactor::sleep(std::time::Duration::from_millis(1)).await;
        }
        let left = topics(&host, &group);
        assert_eq!(left.len(), 7, "the first batch is in the log");
        assert_eq!(left, topics(&open(&partition).await, &group), "as another coordinator reads it");
        // It goes on.
        commit(&host, &group, "after".into()).await;
        assert_eq!(topics(&host, &group).len(), 8);
        assert_eq!(topics(&open(&partition).await, &group).len(), 8);
    };
    Builder::new("test").run(run).unwrap();
}
