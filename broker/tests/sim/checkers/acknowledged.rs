//! No acknowledged record is lost: it is at the offset that the answer named, as long as the log keeps that offset.

use super::bytes::Stamp;
use super::{Content, Verdict};
use crate::history::{Delivery, Partition};

/// A batch of a writer is acknowledged, its first record at an offset; −1: a duplicate whose place is forgotten.
pub(crate) fn acknowledged(partition: &mut Partition, base: i64, first: Stamp, count: u32) -> Verdict {
    if let Some(writer) = partition.writers.get_mut(&first.writer) {
        if writer.delivery == Delivery::Idempotent && writer.acked != first.number {
            return Err(format!("{first:?} is acknowledged after {} records", writer.acked));
        }
        writer.acked += count;
    }
    if base < 0 {
        return Ok(());
    }
    for index in 0..count {
        let (offset, stamp) = (base + i64::from(index), Stamp { number: first.number + index, ..first });
        if let Some(other) = partition.acked.insert(offset, stamp).filter(|other| *other != stamp) {
            return Err(format!("{stamp:?} and {other:?} are both acknowledged at {offset}"));
        }
        if let Some(other) = partition.seen.get(&offset).filter(|other| **other != stamp) {
            return Err(format!("{stamp:?} is acknowledged at {offset}, which showed {other:?}"));
        }
    }
    Ok(())
}

/// Everything that was ever acknowledged is there.
pub(crate) fn still_there(partition: &Partition, content: &Content) -> Verdict {
    for (offset, stamp) in partition.acked.range(content.start..) {
        if content.records.get(offset) != Some(stamp) {
            let found = content.records.get(offset);
            return Err(format!(
                "{stamp:?} was acknowledged at {offset}, where there is {found:?} now; it ends at {}",
                content.end
            ));
        }
    }
    Ok(())
}
