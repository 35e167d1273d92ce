//! No budget of a shard is exceeded: the ring, appended bytes that wait for writeback, bytes of requests.

use broker::config::BrokerConfig;
use broker::shard::shard::Shard;

use super::Verdict;

/// One append is taken while any room is left.
const APPEND_BYTES_MAX: u64 = 1 << 20;
/// A ring has four files of this many bytes at least.
const RING_BYTES_MIN: u64 = 4 * (64 << 10);

pub(crate) fn look(config: &BrokerConfig, shard: &Shard) -> Verdict {
    let stats = shard.store.stats();
    let ring_max = config.store.commit_log_bytes.max(RING_BYTES_MIN);
    if stats.ring_bytes > ring_max {
        return Err(format!(
            "shard {}: a ring of {} bytes, {ring_max} are allowed",
            shard.index, stats.ring_bytes
        ));
    }
    if stats.ring_free_bytes > stats.ring_bytes {
        return Err(format!("shard {}: more of the ring is free than there is: {stats:?}", shard.index));
    }
    let dirty_max = config.store.dirty_bytes + APPEND_BYTES_MAX;
    if stats.dirty_bytes > dirty_max {
        return Err(format!(
            "shard {}: {} dirty bytes, {dirty_max} are allowed",
            shard.index, stats.dirty_bytes
        ));
    }
    let requests = shard.request_budget.snapshot();
    if requests.used_bytes > requests.limit_bytes {
        return Err(format!("shard {}: {requests:?}", shard.index));
    }
    Ok(())
}
