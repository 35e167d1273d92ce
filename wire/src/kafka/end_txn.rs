//! `EndTxn` (key 26): commits or aborts a transaction (KIP-98). From version 5 the broker gives a new epoch for the next one
//! (KIP-890).

use super::types::Str;

messages! {
    api EndTxn: EndTxnRequest -> EndTxnResponse, versions 0-5;
    flexible 3+;

    /// Which transaction, and how it ends.
    struct EndTxnRequest {
        transactional_id: Str [0+],
        producer_id: i64 [0+],
        producer_epoch: i16 [0+],
        /// False: aborted.
        committed: bool [0+],
    }

    /// Whether it has ended.
    struct EndTxnResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        error_code: i16 [0+],
        producer_id: i64 [5+ ignorable] = -1,
        producer_epoch: i16 [5+ ignorable] = -1,
    }
}
