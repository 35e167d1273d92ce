//! log start ≤ flushed ≤ end; what was promised is flushed; what was dropped stays dropped.

use storage::Log;

use crate::model::ModelLog;

pub(crate) fn check(model: &ModelLog, log: &Log) {
    let id = model.spec.id;
    let (start, flushed, end) = (log.start_offset().0, log.flushed_offset().0, log.end_offset().0);
    assert!(start <= flushed && flushed <= end, "log {id}: starts {start}, flushed {flushed}, ends {end}");
    assert!(start >= model.start, "log {id}: starts at {start}, but {} was answered", model.start);
    assert!(start <= model.start_max, "log {id}: starts at {start}, but only {} was asked", model.start_max);
    if model.truncating.is_none() {
        let promised = model.promised_end();
        assert!(flushed >= promised, "log {id}: flushed {flushed}, promised {promised}");
    }
}
