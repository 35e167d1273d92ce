//! The ring, the dirty bytes and the tail stay within their budgets, and recovery within the ring.

use std::time::Duration;

use storage::{RecoveryReport, Store, StoreOptions};

/// Largest batch that the workload makes, in bytes.
pub(crate) const BATCH_BYTES_MAX: usize = 130 << 10;
/// Virtual time that a recovery takes at most: some hundred reads and a checkpoint, each of them slow.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

pub(crate) fn check(store: &Store, options: &StoreOptions) {
    let stats = store.stats();
    assert!(stats.ring_free_bytes <= stats.ring_bytes);
    let most = options.commit_log_bytes + options.ring_first_file_bytes + options.ring_file_bytes;
    assert!(stats.ring_bytes <= most, "the ring has {} bytes, at most {most}", stats.ring_bytes);
    let dirty_max = options.dirty_bytes + options.dirty_bytes / 4 + BATCH_BYTES_MAX as u64;
    assert!(stats.dirty_bytes <= dirty_max, "{} dirty bytes, at most {dirty_max}", stats.dirty_bytes);
    let tail_max = options.tail_bytes as usize + (1 << 20);
    assert!(stats.tail_bytes <= tail_max, "{} bytes in the tail, at most {tail_max}", stats.tail_bytes);
}

pub(crate) fn recovery(report: &RecoveryReport, options: &StoreOptions) {
    let most = options.commit_log_bytes + options.ring_first_file_bytes + options.ring_file_bytes;
    assert!(report.bytes <= most, "recovery replayed {} bytes of a ring of {most}", report.bytes);
    assert!(report.duration <= RECOVERY_MAX, "recovery took {:?}", report.duration);
}
