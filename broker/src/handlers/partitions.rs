//! APIs that ask one thing of many partitions: each goes to its owner, answers come back in request order.

use std::future::Future;
use std::rc::Rc;

use futures_util::future::join_all;
use wire::kafka::error_code::ErrorCode;
use wire::kafka::{Str, Uuid};

use super::Context;
use crate::limits;
use crate::shard::partition::Partition;

/// Runs `work` on the owner of one partition.
pub async fn on_partition<T, F, Fut>(
    context: &Rc<Context>,
    topic: &Str,
    index: i32,
    work: F,
) -> Result<T, ErrorCode>
where
    T: Send + 'static,
    F: FnOnce(Rc<Partition>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, ErrorCode>> + 'static,
{
    let target = context.resolve(topic, Uuid::ZERO, index, false).map_err(|elsewhere| elsewhere.code)?;
    context
        .on_shard(target.shard, move |owner| async move {
            let partition = owner.shard.partition(target.id).ok_or(ErrorCode::NotLeaderOrFollower)?;
            work(partition).await
        })
        .await
        .unwrap_or(Err(ErrorCode::NotLeaderOrFollower))
}

/// Asks every partition of a topic in a request, many at once, and rests in between.
pub async fn each<'a, P, T, Fut>(partitions: &'a [P], ask: impl Fn(&'a P) -> Fut) -> Vec<T>
where
    Fut: Future<Output = T>,
{
    let mut answers = Vec::with_capacity(partitions.len());
    for some in partitions.chunks(limits::PARTITIONS_ASKED_AT_ONCE) {
        answers.extend(join_all(some.iter().map(&ask)).await);
        reactor::give_way().await;
    }
    answers
}
