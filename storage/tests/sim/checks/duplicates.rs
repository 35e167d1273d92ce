//! Each batch of an idempotent producer is in the log once.

use std::collections::BTreeSet;

use crate::model::ModelLog;

/// Looks at all batches that are known to be in the log.
pub(crate) fn check(log: &ModelLog) {
    let mut seen = BTreeSet::new();
    for batch in &log.batches {
        if let Some(key) = batch.producer {
            assert!(
                seen.insert(key),
                "log {}: sequence {} of producer {} is there twice, again at {}",
                log.spec.id,
                key.1,
                key.0,
                batch.base
            );
        }
    }
}
