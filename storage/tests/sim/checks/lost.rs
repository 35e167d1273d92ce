//! No acknowledged record is lost, and the log ends where a batch ends.

use crate::model::ModelLog;

/// After recovery the log ends at `end`. What was staged behind it was never promised and is forgotten.
pub(crate) fn settle(log: &mut ModelLog, end: i64) {
    let id = log.spec.id;
    if let Some(to) = log.truncating.take() {
        // Done, or not: answered it was not.
        if end <= to {
            log.batches.retain(|batch| batch.next <= end);
            log.shown = log.shown.min(end);
        }
    }
    let promised = log.promised_end();
    assert!(end >= promised, "log {id}: ends at {end} after recovery, but {promised} was promised");
    let whole = end == 0 || log.batches.iter().any(|batch| batch.next == end);
    assert!(whole, "log {id}: ends at {end} after recovery, where no batch ends");
    log.batches.retain(|batch| batch.next <= end);
}
