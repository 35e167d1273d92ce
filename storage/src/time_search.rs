//! Offsets by time (`ListOffsets`): segment by its largest timestamp, batch by the time index, record by a walk.

use wire::kafka::record_batch::{BatchError, BatchHeader};
use wire::kafka::record_walk::{Search, TimestampedOffset};

use crate::error::{ReadError, StorageError};
use crate::limits::{TIME_SEARCH_BYTES_MAX, TIME_SEARCH_STEP_BYTES};
use crate::log::core::Health;
use crate::log::{Log, TimestampedRecord};
use crate::segment_reader::SegmentReader;
use crate::types::{LeaderEpoch, Offset, SegmentBase, Timestamp};

struct Candidate {
    base: SegmentBase,
    /// Where to begin, when the indexes are in memory.
    floor: Option<u64>,
    end: u64,
}

/// See [`Log::offset_for_timestamp`].
pub(crate) async fn first_at_or_after(
    log: &Log,
    timestamp: Timestamp,
    up_to: Offset,
) -> Result<Option<TimestampedRecord>, ReadError> {
    let candidates = candidates(log, timestamp)?;
    for candidate in candidates {
        let found = in_segment(log, &candidate, timestamp, up_to).await;
        match found {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            // Retention took it meanwhile.
            Err(_) if log.cell.core.borrow().segment(candidate.base).is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// See [`Log::max_timestamp`].
pub(crate) async fn newest(log: &Log) -> Result<Option<TimestampedRecord>, ReadError> {
    let (base, offset, end) = {
        let core = log.cell.core.borrow();
        let mut newest: Option<(Timestamp, Offset, SegmentBase, u64)> = None;
        for segment in &core.segments {
            if let Some((timestamp, offset)) = segment.largest
                && newest.is_none_or(|(largest, ..)| largest < timestamp)
            {
                newest = Some((timestamp, offset, segment.base, core.flushed_bytes(segment)));
            }
        }
        let Some((_, offset, base, end)) = newest else { return Ok(None) };
        (base, offset, end)
    };
    let mut reader = SegmentReader::new(log, base, end);
    let mut position = floor_by_offset(log, base, offset).await?;
    let mut expected = None;
    while position < end {
        let header = reader.checked(position, expected).await?;
        expected = Some(header.next_offset());
        if header.last_offset() >= offset.0 {
            let batch = reader.batch(position, &header).await?;
            let found = in_batch(Search::largest(&batch, &header, TIME_SEARCH_BYTES_MAX))
                .await
                .map_err(|error| damaged(log, base, position, &error))?;
            return Ok(found.map(|found| record(&header, found.timestamp, found.offset)));
        }
        position += header.size as u64;
    }
    Ok(None)
}

/// Goes through a batch, with rests: it may be much larger than it was on its way.
async fn in_batch(search: Result<Search<'_>, BatchError>) -> Result<Option<TimestampedOffset>, BatchError> {
    let mut search = search?;
    loop {
        if let Some(found) = search.go_on(TIME_SEARCH_STEP_BYTES)? {
            return Ok(found);
        }
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
}

fn candidates(log: &Log, timestamp: Timestamp) -> Result<Vec<Candidate>, ReadError> {
    let core = log.cell.core.borrow();
    if core.health == Health::Gone {
        return Err(ReadError::Gone);
    }
    let young = core
        .segments
        .iter()
        .filter(|segment| segment.largest.is_some_and(|(largest, _)| largest >= timestamp));
    let candidate = |segment: &crate::segment::Segment| Candidate {
        base: segment.base,
        floor: segment.indexes.as_ref().map(|indexes| {
            let entry = indexes.times.floor(Timestamp(timestamp.0.saturating_sub(1)));
            entry.map_or(0, |entry| indexes.offsets.floor(entry.relative_offset).0)
        }),
        end: core.flushed_bytes(segment),
    };
    Ok(young.map(candidate).collect())
}

async fn in_segment(
    log: &Log,
    candidate: &Candidate,
    timestamp: Timestamp,
    up_to: Offset,
) -> Result<Option<TimestampedRecord>, StorageError> {
    let base = candidate.base;
    let mut position = if let Some(floor) = candidate.floor {
        floor
    } else {
        let indexes = log.store.cold.indexes(log, base).await?;
        let entry = indexes.times.floor(Timestamp(timestamp.0.saturating_sub(1)));
        entry.map_or(0, |entry| indexes.offsets.floor(entry.relative_offset).0)
    };
    let start = log.start_offset();
    let mut reader = SegmentReader::new(log, base, candidate.end);
    let mut expected = None;
    while position < candidate.end {
        let header = reader.checked(position, expected).await?;
        expected = Some(header.next_offset());
        if header.base_offset >= up_to.0 {
            return Ok(None);
        }
        if header.max_timestamp >= timestamp.0 && header.last_offset() >= start.0 {
            let batch = reader.batch(position, &header).await?;
            let search = Search::at_or_after(&batch, &header, timestamp.0, TIME_SEARCH_BYTES_MAX);
            let found = in_batch(search).await.map_err(|error| damaged(log, base, position, &error))?;
            if let Some(found) = found.filter(|found| found.offset >= start.0) {
                let below = found.offset < up_to.0;
                return Ok(below.then(|| record(&header, found.timestamp, found.offset)));
            }
        }
        position += header.size as u64;
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    Ok(None)
}

async fn floor_by_offset(log: &Log, base: SegmentBase, offset: Offset) -> Result<u64, StorageError> {
    let relative = offset.relative_to(base).unwrap_or(0);
    {
        let core = log.cell.core.borrow();
        let segment = core.segment(base).ok_or(StorageError::Gone)?;
        if let Some(indexes) = &segment.indexes {
            return Ok(indexes.offsets.floor(relative.saturating_sub(1)).0);
        }
    }
    let indexes = log.store.cold.indexes(log, base).await?;
    Ok(indexes.offsets.floor(relative.saturating_sub(1)).0)
}

fn record(header: &BatchHeader, timestamp: i64, offset: i64) -> TimestampedRecord {
    TimestampedRecord {
        timestamp: Timestamp(timestamp),
        offset: Offset(offset),
        epoch: LeaderEpoch(header.partition_leader_epoch),
    }
}

fn damaged(log: &Log, base: SegmentBase, position: u64, what: &dyn std::fmt::Display) -> StorageError {
    let dir = log.store.log_dir(log.cell.id, &log.name());
    let path = crate::cold_segments::segment_path(&dir, base, "log");
    StorageError::corrupt(path, format!("at position {position}: {what}"))
}
