//! Snapshots: the live records written once more, so that the log before them can go.
//!
//! A snapshot is taken in parts while requests are served. That is sound because each part holds what is durable in its
//! groups and, after it, what is staged before it; and whatever changes later is in the log behind it.
//! When the last part is durable, the log may start where the first one began.

use std::collections::BTreeMap;
use std::ops::Bound;

use wire::kafka::Str;

use super::appends::AppendId;
use super::group_coordinator::GroupCoordinator;
use super::limits;
use super::records::Record;

/// Records since the last snapshot.
#[derive(Debug, Default)]
pub(super) struct Growth {
    pub(super) appended: u64,
    running: bool,
}

/// A part of a snapshot.
#[derive(Debug, PartialEq)]
pub struct SnapshotPart {
    /// Records to be appended; may be empty.
    pub records: Vec<Record>,
    /// Where the next part begins; `None` when this was the last.
    pub next: Option<Str>,
}

impl<T> GroupCoordinator<T> {
    /// Durable records that a snapshot would have.
    pub fn live_records(&self) -> u64 {
        (self.groups.len() + self.offsets.committed_count()) as u64
    }

    /// Whether the log has become much longer than what it says.
    pub fn wants_snapshot(&self) -> bool {
        let worth = limits::SNAPSHOT_APPENDED_MIN.max(2 * self.live_records());
        !self.growth.running && self.growth.appended >= worth
    }

    /// A snapshot begins at the log's end; records from now on count for the next one.
    pub fn snapshot_begins(&mut self) {
        self.growth = Growth { appended: 0, running: true };
    }

    /// The snapshot is durable and the log was cut, or it was given up: then another is asked for in time.
    pub fn snapshot_ends(&mut self) {
        self.growth.running = false;
    }

    /// The part that begins after the group `after` (`None`: with the first), of about `records_max` records; groups are
    /// not split. To be staged before anything else is.
    ///
    /// `unstaged` is the first append that was given out and is not staged yet, if there is one: it will lie behind the
    /// part in the log. What is staged and not yet durable is in the part; so a refusal to stage must be reported before
    /// the next part is taken, or the part would hold what the log refused.
    pub fn snapshot(
        &self,
        after: Option<&Str>,
        records_max: usize,
        unstaged: Option<AppendId>,
    ) -> SnapshotPart {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut on_their_way: BTreeMap<&Str, Vec<&Record>> = BTreeMap::new();
        for record in self.fx.appends.records(unstaged) {
            on_their_way.entry(record.group()).or_default().push(record);
        }
        let mut records = Vec::new();
        for (id, group) in self.groups.range::<Str, _>((from, Bound::Unbounded)) {
            if let Some(value) = &group.persisted {
                records.push(Record::Group(id.clone(), Some(value.clone())));
            }
            if let Some(offsets) = self.offsets.group(id) {
                records.extend(offsets.records(id));
            }
            records.extend(on_their_way.remove(id).into_iter().flatten().cloned());
            if records.len() >= records_max {
                return SnapshotPart { records, next: Some(id.clone()) };
            }
        }
        SnapshotPart { records, next: None }
    }
}
