//! A log's start moves for a reason: records were asked to be deleted, or the topic retains by size. What was acknowledged as
//! deleted does not come back.

use super::{Content, Verdict};
use crate::history::{Partition, Topic};

/// The log start that a client was told.
pub(crate) fn told(retains: bool, partition: &mut Partition, start: i64) -> Verdict {
    if !retains && start > partition.start_asked {
        return Err(format!(
            "it starts at {start}, records were deleted up to {} only",
            partition.start_asked
        ));
    }
    Ok(())
}

/// A deletion of records before an offset is acknowledged.
pub(crate) fn deleted(partition: &mut Partition, start: i64, before: i64) -> Verdict {
    if start < before {
        return Err(format!("records before {before} are deleted, and it starts at {start}"));
    }
    partition.start_promised = partition.start_promised.max(start);
    Ok(())
}

pub(crate) fn kept(topic: &Topic, partition: &Partition, content: &Content) -> Verdict {
    if content.start < partition.start_promised {
        let promised = partition.start_promised;
        return Err(format!("it starts at {}, and was said to start at {promised}", content.start));
    }
    if !topic.retains && content.start > partition.start_asked {
        let asked = partition.start_asked;
        return Err(format!("it starts at {}, records were deleted up to {asked} only", content.start));
    }
    Ok(())
}
