//! `InitProducerId` (key 22): an id for an idempotent or transactional producer (KIP-98, KIP-360). Version 6 is unstable and left out.

use super::types::Str;

messages! {
    api InitProducerId: InitProducerIdRequest -> InitProducerIdResponse, versions 0-5;
    flexible 2+;

    /// Who asks; null `transactional_id` for a producer that is only idempotent.
    struct InitProducerIdRequest {
        transactional_id: Option<Str> [0+],
        transaction_timeout_ms: i32 [0+],
        producer_id: i64 [3+] = -1,
        producer_epoch: i16 [3+] = -1,
    }

    /// The id and epoch to produce with.
    struct InitProducerIdResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        error_code: i16 [0+],
        producer_id: i64 [0+] = -1,
        producer_epoch: i16 [0+],
    }
}
