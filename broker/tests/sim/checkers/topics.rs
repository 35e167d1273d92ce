//! Topics that were acknowledged as made are there, with their partitions; those acknowledged as deleted are not, whatever
//! happened to the metadata log in between.

use std::collections::BTreeMap;

use wire::kafka::Uuid;

use super::Verdict;
use crate::history::{Existence, Topic};

/// What Metadata lists: partitions by topic id.
pub(crate) fn listed(topics: &[Topic], listed: &BTreeMap<Uuid, usize>) -> Verdict {
    for topic in topics {
        let found = listed.get(&topic.id);
        let right = match topic.existence {
            Existence::Live => found == Some(&topic.partitions.len()),
            Existence::Deleting => true,
            Existence::Deleted => found.is_none(),
        };
        if !right {
            let expected = topic.partitions.len();
            return Err(format!(
                "{} is {:?} with {expected} partitions, {found:?} are listed",
                topic.name, topic.existence
            ));
        }
    }
    Ok(())
}
