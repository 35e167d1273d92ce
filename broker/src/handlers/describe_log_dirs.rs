//! `DescribeLogDirs`: bytes on disk by partition (KIP-113), asked of every shard of the broker.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use futures_util::future::join_all;
use wire::kafka::Str;
use wire::kafka::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::shard::PartitionId;

/// Answers a `DescribeLogDirs` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: DescribeLogDirsRequest,
) -> Result<Response, Refusal> {
    let wanted = wanted(&body);
    let sizes = context
        .shards_of_broker()
        .map(|shard| context.on_shard(shard, |owner| async move { owner.shard.log_sizes().await }));
    let mut topics: BTreeMap<Str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let image = context.shard.image();
    for (id, bytes) in join_all(sizes).await.into_iter().flatten().flatten() {
        let PartitionId { topic, index } = id;
        let Some(topic) = image.topic_by_id(&topic) else { continue };
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&(topic.name.clone(), index))) {
            topics.entry(topic.name.clone()).or_default().push(DescribeLogDirsPartition {
                partition_index: index,
                partition_size: bytes as i64,
                offset_lag: 0,
                is_future_key: false,
            });
        }
    }
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic { name, partitions }
    });
    let dir = context.config.data_dir();
    let space = reactor::fs::space(dir).ok();
    let result = DescribeLogDirsResult {
        error_code: 0,
        log_dir: Str::from(dir.display().to_string()),
        topics: topics.collect(),
        total_bytes: space.map_or(-1, |space| space.total_bytes as i64),
        usable_bytes: space.map_or(-1, |space| space.free_bytes as i64),
        is_cordoned: false,
    };
    answer(request, &DescribeLogDirsResponse { results: vec![result], ..Default::default() })
}

/// The partitions asked for; `None` for all.
fn wanted(body: &DescribeLogDirsRequest) -> Option<HashSet<(Str, i32)>> {
    let topics = body.topics.as_ref()?;
    let pairs = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.clone(), *partition)));
    Some(pairs.collect())
}
