//! `OffsetForLeaderEpoch`: where an epoch of leadership ended, so that a consumer finds a truncation (KIP-320).

use std::rc::Rc;

use wire::kafka::error_code::ErrorCode;
use wire::kafka::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use super::partitions::{each, on_partition};
use super::reply::Response;
use super::table::answer_paced;
use super::{Context, Incoming, Refusal};

/// Answers an `OffsetForLeaderEpoch` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: OffsetForLeaderEpochRequest,
) -> Result<Response, Refusal> {
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let ends = each(&topic.partitions, |asked| async move {
            let (current, wanted) = (asked.current_leader_epoch, asked.leader_epoch);
            let end = on_partition(context, &topic.topic, asked.partition, move |partition| async move {
                partition.check_epoch(current)?;
                Ok(partition.epoch_end(wanted))
            })
            .await;
            let (error, (leader_epoch, end_offset)) = match end {
                Ok(end) => (ErrorCode::None, end),
                Err(code) => (code, (-1, -1)),
            };
            EpochEndOffset { error_code: error.code(), partition: asked.partition, leader_epoch, end_offset }
        });
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions: ends.await });
    }
    answer_paced(request, &OffsetForLeaderEpochResponse { topics, ..Default::default() }).await
}
