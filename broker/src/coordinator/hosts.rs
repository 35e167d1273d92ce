//! The group hosts of one shard: one for each partition of `__consumer_offsets` that the shard owns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::GroupPolicy;
use super::host::GroupHost;
use crate::shard::partition::Partition;

/// Hosts by index of their partition.
pub struct GroupHosts {
    policy: GroupPolicy,
    hosts: RefCell<BTreeMap<i32, Rc<GroupHost>>>,
}

impl GroupHosts {
    /// No host yet.
    pub fn new(policy: GroupPolicy) -> GroupHosts {
        GroupHosts { policy, hosts: RefCell::default() }
    }

    /// Begins to host the groups of a partition, unless they are hosted already.
    pub fn take(&self, partition: &Rc<Partition>) {
        self.hosts
            .borrow_mut()
            .entry(partition.id.index)
            .or_insert_with(|| GroupHost::start(partition.clone(), self.policy.clone()));
    }

    /// The host of a partition.
    pub fn get(&self, index: i32) -> Option<Rc<GroupHost>> {
        self.hosts.borrow().get(&index).cloned()
    }

    /// Every host.
    pub fn all(&self) -> Vec<Rc<GroupHost>> {
        self.hosts.borrow().values().cloned().collect()
    }

    /// Groups of all hosts.
    pub fn group_count(&self) -> usize {
        self.hosts.borrow().values().map(|host| host.group_count()).sum()
    }

    /// Gives all of them up: `__consumer_offsets` is deleted, or the shard stops.
    pub fn stop_all(&self) {
        for host in self.hosts.take().into_values() {
            host.stop();
        }
    }
}
