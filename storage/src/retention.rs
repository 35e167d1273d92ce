//! Old segments go by time and size, as in Kafka: whole segments, oldest first, never above the flushed offset.

use crate::error::StorageError;
use crate::log::Log;
use crate::log::core::LogCore;
use crate::options::Retention;
use crate::types::{Offset, Timestamp};

/// See [`Log::apply_retention`].
pub(crate) async fn apply(log: &Log, now: Timestamp) -> Result<usize, StorageError> {
    let (start, before) = {
        let mut core = log.cell.core.borrow_mut();
        log.check_alive(core.health)?;
        let Some(start) = kept_from(&core, now) else { return Ok(0) };
        // Everything is old: an empty segment takes the active one's place.
        if start == core.end && core.active().bytes > 0 {
            core.roll();
        }
        (start, core.segments.len())
    };
    log.delete_records(start).await?;
    let after = log.cell.core.borrow().segments.len();
    Ok(before.saturating_sub(after))
}

/// The log start that retention asks for; `None` when nothing is to go.
fn kept_from(core: &LogCore, now: Timestamp) -> Option<Offset> {
    if core.config.retention == Retention::Keep {
        return None;
    }
    let mut excess = core.config.retention_bytes.map_or(0, |kept| core.size_bytes().saturating_sub(kept));
    let mut start = None;
    for (index, segment) in core.segments.iter().enumerate() {
        let is_active = index + 1 == core.segments.len();
        let aged = match (core.config.retention_ms, segment.largest) {
            (Some(kept), Some((largest, _))) => now.saturating_ms_since(largest) > kept,
            _ => false,
        };
        // A whole segment must be in excess; the active one never goes for its size alone.
        let large = !is_active && excess > 0 && excess >= segment.bytes;
        if segment.bytes == 0 || segment.next_offset > core.flushed || !(aged || large) {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
        start = Some(segment.next_offset);
    }
    start.filter(|start| *start > core.start)
}
