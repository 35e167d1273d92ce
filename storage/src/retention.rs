//! Old segments go by time and size, as in Kafka: whole segments, oldest first, never above the flushed offset.
//! A segment none of whose records has a timestamp is as old as the last change of its file.

use crate::cold_segments::segment_path;
use crate::error::StorageError;
use crate::log::Log;
use crate::log::core::LogCore;
use crate::options::Retention;
use crate::segment::Segment;
use crate::types::{Offset, SegmentBase, Timestamp};

/// See [`Log::apply_retention`].
pub(crate) async fn apply(log: &Log, now: Timestamp) -> Result<usize, StorageError> {
    date_by_files(log, now).await;
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

/// Finds out when segments without timestamps that were recovered have last changed. One without a file is in the
/// commit log only, and new.
async fn date_by_files(log: &Log, now: Timestamp) {
    let (dir, undated) = {
        let core = log.cell.core.borrow();
        if core.config.retention_ms.is_none() || core.config.retention == Retention::Keep {
            return;
        }
        let undated = |segment: &&Segment| {
            segment.bytes > 0 && segment.largest.is_none() && segment.touched == Timestamp::NONE
        };
        let bases: Vec<SegmentBase> = core.segments.iter().filter(undated).map(|each| each.base).collect();
        (log.store.log_dir(log.cell.id, &core.name), bases)
    };
    for base in undated {
        let file = reactor::fs::metadata(&segment_path(&dir, base, "log")).await;
        let changed = file.map_or(now, |file| Timestamp(file.modified_ms));
        if let Some(segment) = log.cell.core.borrow_mut().segment_mut(base) {
            segment.touched = segment.touched.max(changed);
        }
    }
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
        let newest = segment.largest.map_or(segment.touched, |(largest, _)| largest);
        let aged = core
            .config
            .retention_ms
            .is_some_and(|kept| newest > Timestamp::NONE && now.saturating_ms_since(newest) > kept);
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
