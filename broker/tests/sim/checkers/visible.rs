//! What a consumer saw stays: at its offset there is never another record, and after every cut it is still there, for
//! nothing is shown before it is flushed.

use super::bytes::Stamp;
use super::{Content, Verdict};
use crate::history::Partition;

/// A consumer sees a record.
pub(crate) fn shown(partition: &mut Partition, offset: i64, stamp: Stamp) -> Verdict {
    if let Some(before) = partition.seen.insert(offset, stamp).filter(|before| *before != stamp) {
        return Err(format!("{offset} shows {stamp:?}, and showed {before:?} before"));
    }
    if let Some(acked) = partition.acked.get(&offset).filter(|acked| **acked != stamp) {
        return Err(format!("{offset} shows {stamp:?}, and {acked:?} was acknowledged there"));
    }
    Ok(())
}

/// Everything that was ever shown is there.
pub(crate) fn still_there(partition: &Partition, content: &Content) -> Verdict {
    for (offset, stamp) in partition.seen.range(content.start..) {
        if content.records.get(offset) != Some(stamp) {
            let found = content.records.get(offset);
            return Err(format!(
                "{offset} showed {stamp:?} and now has {found:?}; it ends at {}",
                content.end
            ));
        }
    }
    Ok(())
}

/// An end at or below the last offset that was shown before it was asked for is a loss, seen at once.
pub(crate) fn end(shown: Option<i64>, end: i64) -> Verdict {
    match shown {
        Some(last) if last >= end => Err(format!("{last} was shown, but it ends at {end} now")),
        _ => Ok(()),
    }
}
