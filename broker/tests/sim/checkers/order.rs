//! Offsets are dense and in order: what a fetch gives begins where it was asked to, and nothing is left out or comes twice.

use ::bytes::Bytes;
use wire::kafka::Uuid;
use wire::kafka::record::Records;
use wire::kafka::record_batch::Batches;

use super::bytes::{self, Stamp};
use crate::history::Partition;

/// Bytes that a batch may have when decompressed.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The records from `from` on in what a fetch from there gave.
pub(crate) fn records(
    topic: Uuid,
    index: i32,
    partition: &Partition,
    from: i64,
    fetched: Bytes,
) -> Result<Vec<(i64, Stamp)>, String> {
    let mut found = Vec::new();
    let mut next = None;
    for batch in Batches::new(fetched) {
        let batch = batch.map_err(|error| format!("at {from}: {error}"))?;
        batch.header.verify_crc(&batch.bytes).map_err(|error| format!("at {from}: {error}"))?;
        let base = batch.header.base_offset;
        match next {
            None if base > from || batch.header.last_offset() < from => {
                return Err(format!("the batch of {base} answers a fetch from {from}"));
            }
            Some(next) if base != next => {
                return Err(format!("the batch of {base} follows, not that of {next}"));
            }
            _ => {}
        }
        next = Some(batch.header.next_offset());
        let mut offset = base;
        for record in Records::new(&batch, BATCH_BYTES_MAX).map_err(|error| format!("at {base}: {error}"))? {
            let record = record.map_err(|error| format!("at {offset}: {error}"))?;
            if record.offset != offset {
                return Err(format!("the record of {} follows, not that of {offset}", record.offset));
            }
            let value = record.value.unwrap_or_default();
            let stamp = bytes::check(topic, index, partition, &value);
            let stamp = stamp.map_err(|why| format!("at {offset}: {why}"))?;
            if offset >= from {
                found.push((offset, stamp));
            }
            offset += 1;
        }
        if Some(offset) != next {
            return Err(format!("the batch of {base} ends before {offset}"));
        }
    }
    Ok(found)
}
