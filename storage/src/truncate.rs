//! Cutting the end of a log, for replication.
//!
//! Crash order: the truncation is an entry of the commit log; when it is durable, memory is cut; a checkpoint follows;
//! only then may the caller stage again, which is when bytes in the segments are overwritten.

use crate::checkpointer::{Goal, checkpoint};
use crate::commit_log::format::{Entry, EntryKind};
use crate::error::StorageError;
use crate::log::Log;

use crate::segment_reader::SegmentReader;
use crate::tail::Place;
use crate::types::{LeaderEpoch, Offset, Position};

/// See [`Log::truncate`].
pub(crate) async fn truncate(log: &Log, to: Offset) -> Result<Offset, StorageError> {
    let inner = &log.store;
    let _turn = crate::maintenance::turn(inner).await?;
    inner.commit.durable(inner.commit.staged()).await?;
    let (base, end) = {
        let core = log.cell.core.borrow();
        log.check_alive(core.health)?;
        if to >= core.end {
            return Ok(core.end);
        }
        let segment = &core.segments[core.segment_index(to)];
        (segment.base, segment.bytes)
    };
    let (position, batch) = batch_of(log, base, end, to).await?;
    let at = Place { segment: base, position };
    let to = {
        let mut core = log.cell.core.borrow_mut();
        log.check_alive(core.health)?;
        // Also a start that is only staged: its entry comes before this one. And the log cannot end inside the batch that
        // holds its start: what came next would leave a gap.
        let start = core.start_staged;
        if batch < start {
            return Err(StorageError::OffsetOutOfRange { start, end: core.end });
        }
        core.truncating = Some(batch);
        batch
    };
    let entry = Entry {
        kind: EntryKind::Truncate,
        log: log.cell.id,
        segment: base,
        position: Position(position),
        offset: to,
        total: 0,
        fragment_at: 0,
        epoch: LeaderEpoch::NONE,
        length: 0,
    };
    let sequence = inner.commit.note(&log.cell, &entry, &[]);
    inner.commit.durable(sequence).await?;
    {
        let mut core = log.cell.core.borrow_mut();
        log.check_alive(core.health)?;
        core.truncate(to, at);
    }
    inner.cold.forget_log(log.cell.id);
    inner.list(&log.cell);
    checkpoint(inner, Goal::Everything).await?;
    log.cell.notify_grew();
    Ok(to)
}

/// Position and base offset of the batch that holds `offset`.
async fn batch_of(
    log: &Log,
    base: crate::types::SegmentBase,
    end: u64,
    offset: Offset,
) -> Result<(u64, Offset), StorageError> {
    let mut reader = SegmentReader::new(log, base, end);
    let mut position = 0;
    while position < end {
        let header = reader.header(position).await?;
        if header.last_offset() >= offset.0 {
            return Ok((position, Offset(header.base_offset)));
        }
        position += header.size as u64;
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    Ok((end, offset))
}
