//! What an idempotent producer sent is there once, in the order of its numbers, up to the last that was acknowledged.

use std::collections::BTreeMap;

use super::{Content, Verdict};
use crate::history::{Delivery, Partition};

pub(crate) fn none(partition: &Partition, content: &Content) -> Verdict {
    // The number that must come next, by writer. Records before the log's start are gone with it.
    let mut next: BTreeMap<u32, u32> = BTreeMap::new();
    for (offset, stamp) in &content.records {
        let Some(writer) = partition.writers.get(&stamp.writer) else { continue };
        if writer.delivery != Delivery::Idempotent {
            continue;
        }
        let expected = next.get(&stamp.writer).copied();
        let expected = expected.unwrap_or(if content.start == 0 { 0 } else { stamp.number });
        if stamp.number != expected {
            return Err(format!("at {offset} {stamp:?} comes, and {expected} should"));
        }
        next.insert(stamp.writer, stamp.number + 1);
    }
    for (id, writer) in &partition.writers {
        let found = next.get(id).copied();
        let missing = match found {
            Some(found) => found < writer.acked,
            None => writer.acked > 0 && content.start == 0,
        };
        if writer.delivery == Delivery::Idempotent && missing {
            return Err(format!("writer {id} has {found:?} records, {} were acknowledged", writer.acked));
        }
    }
    Ok(())
}
