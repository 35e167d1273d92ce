//! Nothing is shown before it is flushed: what a reader saw must survive whatever happens next ([`super::lost`] asks for it).

use crate::model::ModelLog;

/// A reader was shown offsets up to `next`, while the log said that `flushed` is.
pub(crate) fn note(log: &mut ModelLog, next: i64, flushed: i64) {
    assert!(next <= flushed, "log {}: {next} is shown, {flushed} is flushed", log.spec.id);
    log.shown = log.shown.max(next);
}
