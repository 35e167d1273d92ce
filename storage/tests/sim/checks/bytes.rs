//! Bytes as sent, in order, without gaps.

use bytes::Bytes;
use wire::kafka::record_batch::Batches;

use crate::model::ModelLog;

/// Checks what a read from `from` gave, whose last batch may be cut; answers the offset behind the last whole batch.
pub(crate) fn check(log: &ModelLog, from: i64, bytes: Bytes) -> i64 {
    let id = log.spec.id;
    let mut next = None;
    for batch in Batches::new(bytes) {
        // A cut last batch, which a client drops too.
        let Ok(batch) = batch else { break };
        let header = &batch.header;
        if let Err(error) = header.verify_crc(&batch.bytes) {
            panic!("log {id}: the batch at {} is damaged: {error}", header.base_offset);
        }
        match next {
            None => assert!(
                header.base_offset <= from && header.last_offset() >= from,
                "log {id}: a read from {from} begins with {} to {}",
                header.base_offset,
                header.last_offset()
            ),
            Some(next) => assert_eq!(header.base_offset, next, "log {id}: a gap or a step back"),
        }
        let expected = log.batch_at(header.base_offset);
        let expected =
            expected.unwrap_or_else(|| panic!("log {id}: nothing was staged at {}", header.base_offset));
        assert_eq!(
            (header.crc, header.next_offset()),
            (expected.crc, expected.next),
            "log {id}: other bytes than were sent at {}",
            header.base_offset
        );
        next = Some(header.next_offset());
    }
    next.unwrap_or(from)
}
