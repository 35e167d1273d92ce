//! How many connections the node has, in all and by address, where that is limited.
//!
//! A limit holds for the node and not for a shard, so one shard counts for all: shard 0 the total, and for each address
//! the shard that its hash names. Nothing is asked of another shard when there is no limit.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;

use crate::metadata::ids::ShardId;

/// What this shard counts for the node.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    total: Cell<u64>,
    by_address: RefCell<HashMap<IpAddr, u64>>,
}

impl ConnectionCounts {
    /// The shard that counts all connections.
    pub const TOTAL: ShardId = ShardId(0);

    /// The shard that counts the connections of an address.
    pub fn shard_of(address: IpAddr, shards: u32) -> ShardId {
        let bytes = match address {
            IpAddr::V4(address) => address.to_bits().to_be_bytes().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        ShardId(crc32c::crc32c(&bytes) % shards)
    }

    /// Counts one more connection unless there are `max`.
    pub fn enter(&self, max: u64) -> bool {
        let free = self.total.get() < max;
        self.total.set(self.total.get() + u64::from(free));
        free
    }

    /// One connection less.
    pub fn leave(&self) {
        self.total.set(self.total.get().saturating_sub(1));
    }

    /// Counts one more connection of an address unless there are `max`.
    pub fn enter_from(&self, address: IpAddr, max: u64) -> bool {
        let mut all = self.by_address.borrow_mut();
        let count = all.get(&address).copied().unwrap_or(0);
        if count >= max {
            return false;
        }
        all.insert(address, count + 1);
        true
    }

    /// One connection of an address less.
    pub fn leave_from(&self, address: IpAddr) {
        let mut all = self.by_address.borrow_mut();
        if let Some(count) = all.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_forgotten_with_its_last_connection() {
        let counts = ConnectionCounts::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        assert!(counts.enter_from(address, 2) && counts.enter_from(address, 2));
        assert!(!counts.enter_from(address, 2));
        counts.leave_from(address);
        assert!(counts.enter_from(address, 2));
        counts.leave_from(address);
        counts.leave_from(address);
        assert!(counts.by_address.borrow().is_empty());
        assert!(!counts.enter_from(address, 0));
    }

    #[test]
    fn the_total_is_bounded() {
        let counts = ConnectionCounts::default();
        assert!(counts.enter(1) && !counts.enter(1));
        counts.leave();
        assert!(counts.enter(1));
    }
}
