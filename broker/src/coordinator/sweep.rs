//! The sweep: forgets positions that have expired or whose topic is gone, and groups with nothing left.
//!
//! It goes over the groups in steps, so that no step takes long, and begins again after `offsets_sweep_interval_ms`, or
//! at once when a topic was deleted. Positions with a newer one on its way to the log are left for the next time.

use std::collections::BTreeMap;
use std::ops::Bound;

use wire::kafka::consumer_offsets::OffsetCommitValue;
use wire::kafka::{Str, Uuid};

use super::appends::After;
use super::effects::{Now, TimerKey};
use super::group::{ClassicGroup, GroupState};
use super::group_coordinator::GroupCoordinator;
use super::limits;
use super::records::Record;

/// How far the sweep is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The last group that was looked at; none between sweeps.
    after: Option<Str>,
    /// Topics that are gone, as this sweep knows them.
    gone: BTreeMap<Str, Uuid>,
    /// Topics that went while the sweep was under way; the next one begins at once.
    going: BTreeMap<Str, Uuid>,
}

impl<T> GroupCoordinator<T> {
    /// A topic is deleted: its positions are forgotten soon. Those committed for another topic of the same name, with
    /// another id, stay.
    pub fn topic_deleted(&mut self, name: &Str, id: Uuid, now: Now) {
        self.fx.now = now;
        if self.sweep.going.len() >= limits::DELETED_TOPICS_MAX {
            self.sweep.going.pop_first();
        }
        self.sweep.going.insert(name.detached(), id);
        if self.sweep.after.is_none() {
            self.fx.after(0, TimerKey::Sweep);
        }
    }

    /// One step; sets the timer for the next.
    pub(super) fn sweep_step(&mut self) {
        if self.sweep.after.is_none() {
            self.sweep.gone = std::mem::take(&mut self.sweep.going);
        }
        let mut records = Vec::new();
        let mut dead = Vec::new();
        let mut looked_at = 0;
        let mut last = None;
        for id in self.groups_after(self.sweep.after.clone()) {
            looked_at += 1 + self.offsets.group(&id).map_or(0, super::offsets::GroupOffsets::count);
            self.sweep_group(&id, &mut records, &mut dead);
            last = Some(id);
            if looked_at >= limits::SWEEP_OFFSETS_PER_STEP {
                break;
            }
        }
        if !records.is_empty() {
            self.fx.append(records, After::Sweep { groups: dead });
        }
        let done = looked_at < limits::SWEEP_OFFSETS_PER_STEP;
        self.sweep.after = if done { None } else { last };
        let pause_ms =
            if done && self.sweep.going.is_empty() { self.fx.policy.offsets_sweep_interval_ms } else { 0 };
        self.fx.after(pause_ms, TimerKey::Sweep);
    }

    /// The next groups in order; more than one step can look at are not listed.
    fn groups_after(&self, after: Option<Str>) -> Vec<Str> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.groups.range::<Str, _>((from, Bound::Unbounded));
        range.take(limits::SWEEP_OFFSETS_PER_STEP).map(|(id, _)| id.clone()).collect()
    }

    fn sweep_group(&mut self, id: &Str, records: &mut Vec<Record>, dead: &mut Vec<Str>) {
        let Some(group) = self.groups.get(id).filter(|group| group.state() != GroupState::Dead) else {
            return;
        };
        let (now_ms, retention_ms) = (self.fx.now.wall_ms, self.fx.policy.offsets_retention_ms);
        let gone = &self.sweep.gone;
        let forget = |topic: &str, value: &OffsetCommitValue| {
            is_gone(gone, topic, value) || is_expired(group, topic, value, (now_ms, retention_ms))
        };
        let offsets = self.offsets.group(id);
        let tombstones = offsets.map(|offsets| offsets.tombstones_where(id, forget)).unwrap_or_default();
        let nothing_left = offsets.map_or(0, super::offsets::GroupOffsets::count) == tombstones.len();
        records.extend(tombstones);
        if nothing_left && group.state() == GroupState::Empty && !group.has_pending_members() {
            let mut burial = Vec::new();
            self.bury(id, &mut burial);
            // The positions are in `records` already; what is left is the group's own tombstone.
            records.extend(burial.pop());
            dead.push(id.clone());
        }
    }
}

fn is_gone(gone: &BTreeMap<Str, Uuid>, topic: &str, value: &OffsetCommitValue) -> bool {
    gone.get(topic).is_some_and(|id| value.topic_id.is_zero() || id.is_zero() || value.topic_id == *id)
}

/// Kafka's rules: a group without members keeps its positions for a while after the last one left; one that only keeps
/// positions, and a stable group of consumers that no longer subscribes to the topic, for a while after the commit; other
/// groups for ever. An expiry of the commit's own comes first.
fn is_expired<T>(
    group: &ClassicGroup<T>,
    topic: &str,
    value: &OffsetCommitValue,
    (now_ms, retention_ms): (i64, i64),
) -> bool {
    let is_consumer = group.knows_subscriptions();
    let since_ms = match (group.protocol_type(), group.state()) {
        (None, _) => value.commit_timestamp,
        (Some(_), GroupState::Empty) => group.state_since_ms().unwrap_or(value.commit_timestamp),
        (Some(_), GroupState::Stable) if is_consumer => value.commit_timestamp,
        (Some(_), _) => return false,
    };
    if group.is_subscribed_to(topic) {
        return false;
    }
    if value.expire_timestamp != -1 {
        return now_ms >= value.expire_timestamp;
    }
    now_ms.saturating_sub(since_ms) >= retention_ms
}
