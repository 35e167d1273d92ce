//! `InitProducerId`: an id for an idempotent producer. Ids come in blocks from the control thread.

use std::cell::Cell;
use std::rc::Rc;

use wire::kafka::ErrorCode;
use wire::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::control::ControlClient;
use crate::control::commands;

/// Ids that were handed to this shard and not yet given out. What is left at a stop is never used.
#[derive(Default)]
pub struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
}

impl ProducerIds {
    async fn take(&self, control: &ControlClient) -> Result<i64, ErrorCode> {
        loop {
            let next = self.next.get();
            if next < self.end.get() {
                self.next.set(next + 1);
                return Ok(next);
            }
            let block = control.allocate_producer_ids().await;
            let commands::ProducerIds { first, count } =
                block.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
            // Another request may have fetched a block meanwhile; its rest is dropped, ids are plenty.
            self.next.set(first);
            self.end.set(first + count);
        }
    }
}

/// Answers with a fresh id in epoch 0.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: InitProducerIdRequest,
) -> Result<Response, Refusal> {
    // Either both of id and epoch are given or none (KIP-360); a producer that is not transactional gets a new id.
    let consistent = (body.producer_id == -1) == (body.producer_epoch == -1);
    let id = match body.transactional_id {
        None if consistent => context.producer_ids.take(&context.control).await,
        _ => Err(ErrorCode::InvalidRequest),
    };
    let body = match id {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        },
    };
    answer(request, &body)
}
