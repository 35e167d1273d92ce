//! `DeleteRecords`: moves the start of logs (KIP-107). Answered when the new start is durable.

use std::rc::Rc;

use wire::kafka::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use wire::kafka::error_code::ErrorCode;

use super::partitions::{each, on_partition};
use super::reply::Response;
use super::table::answer_paced;
use super::{Context, Incoming, Refusal};

/// Answers a `DeleteRecords` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: DeleteRecordsRequest,
) -> Result<Response, Refusal> {
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let internal = context.shard.image().topic(&topic.name).is_some_and(|known| known.internal);
        let results = each(&topic.partitions, |asked| async move {
            let offset = asked.offset;
            let moved = if internal {
                Err(ErrorCode::InvalidTopicException)
            } else {
                on_partition(context, &topic.name, asked.partition_index, move |partition| async move {
                    partition.delete_records(offset).await
                })
                .await
            };
            DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: moved.unwrap_or(-1),
                error_code: moved.err().unwrap_or(ErrorCode::None).code(),
            }
        });
        topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions: results.await });
    }
    answer_paced(request, &DeleteRecordsResponse { topics, ..Default::default() }).await
}
