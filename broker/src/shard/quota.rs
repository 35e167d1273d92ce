//! What clients with quotas have used, and how long they are held back for it.
//!
//! A quota holds for a client id on the whole node, however its connections lie on shards: one shard, which the hash of the
//! id names, counts for all. A client may use up a second's worth at once; what it takes beyond is a debt, and it is held
//! back until the rate has paid it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use reactor::Instant;

use crate::limits;
use crate::metadata::client_quotas::Quota;
use crate::metadata::ids::ShardId;

/// What this shard counts for the node.
#[derive(Debug, Default)]
pub struct QuotaBuckets(RefCell<HashMap<(Quota, String), Bucket>>);

/// What one client may still use at once; below zero, what it owes.
#[derive(Debug)]
struct Bucket {
    bytes: f64,
    counted: Instant,
}

impl Bucket {
    fn earn(&mut self, rate: f64, now: Instant) {
        let earned = now.since(self.counted).as_secs_f64() * rate;
        self.bytes = (self.bytes + earned).min(rate);
        self.counted = now;
    }
}

impl QuotaBuckets {
    /// The shard that counts for a client id.
    pub fn shard_of(client_id: &str, shards: u32) -> ShardId {
        ShardId(crc32c::crc32c(client_id.as_bytes()) % shards)
    }

    /// Counts bytes of a client that may use `rate` a second; for how long it is to be held back.
    pub fn charge(&self, quota: Quota, client_id: &str, rate: f64, bytes: usize, now: Instant) -> Duration {
        let mut buckets = self.0.borrow_mut();
        if buckets.len() >= limits::QUOTA_CLIENTS_MAX {
            // Who owes nothing for a second is as one who was never here.
            let recent = |bucket: &Bucket| now.since(bucket.counted) < Duration::from_secs(1);
            buckets.retain(|_, bucket| bucket.bytes < 0.0 || recent(bucket));
        }
        let full = buckets.len() >= limits::QUOTA_CLIENTS_MAX;
        let mut key = (quota, client_id.to_owned());
        if full && !buckets.contains_key(&key) {
            // They share one: too strict for them, and bounded.
            key.1.clear();
        }
        let bucket = buckets.entry(key).or_insert(Bucket { bytes: rate, counted: now });
        bucket.earn(rate, now);
        bucket.bytes -= bytes as f64;
        let owed_seconds = (-bucket.bytes / rate).max(0.0);
        Duration::from_secs_f64(owed_seconds.min(limits::THROTTLE_MAX.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 1000.0;

    fn charge(buckets: &QuotaBuckets, client_id: &str, bytes: usize, now: Instant) -> u128 {
        buckets.charge(Quota::ProducerByteRate, client_id, RATE, bytes, now).as_millis()
    }

    #[test]
    fn a_second_is_free_and_what_is_beyond_is_waited_for() {
        let (buckets, start) = (QuotaBuckets::default(), reactor::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(charge(&buckets, "a", 1000, at(0)), 0);
        assert_eq!(charge(&buckets, "a", 500, at(0)), 500);
        assert_eq!(charge(&buckets, "b", 1000, at(0)), 0, "each client has its own");
        assert_eq!(charge(&buckets, "a", 1000, at(1)), 500);
        assert_eq!(charge(&buckets, "a", 1000, at(100)), 0, "no more than a second is saved up");
        assert_eq!(charge(&buckets, "a", 1000, at(100)), 1000);
    }

    #[test]
    fn nobody_is_held_back_for_longer_than_a_client_waits_but_nothing_is_forgiven() {
        let (buckets, start) = (QuotaBuckets::default(), reactor::now());
        let most = limits::THROTTLE_MAX.as_millis();
        assert_eq!(charge(&buckets, "a", 101_000, start), most);
        assert_eq!(charge(&buckets, "a", 0, start + Duration::from_secs(95)), 5000);
    }

    #[test]
    fn many_clients_do_not_take_more_memory_than_the_bound() {
        let (buckets, start) = (QuotaBuckets::default(), reactor::now());
        for number in 0..limits::QUOTA_CLIENTS_MAX * 2 {
            charge(&buckets, &number.to_string(), 5000, start);
        }
        assert!(buckets.0.borrow().len() <= limits::QUOTA_CLIENTS_MAX + 1);
        charge(&buckets, "later", 1, start + Duration::from_secs(3600));
        assert!(buckets.0.borrow().len() <= limits::QUOTA_CLIENTS_MAX + 1);
    }
}
