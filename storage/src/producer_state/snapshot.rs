//! Producer state as bytes: an eight-byte prefix (magic, version) and an rkyv archive, checked before any use.
//!
//! The version lies outside of the archive, because an archive can be read only by the types that wrote it. A new
//! version gets new types beside the old ones, and the old ones keep decoding.

use rkyv::rancor::{Failure, Panic};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use super::budget::PRODUCERS_PER_PARTITION_MAX;
use super::producer::{BATCHES_KEPT, Producer, WrittenBatch};
use crate::corrupt::Corrupt;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// What the structure is called in errors.
const WHAT: &str = "producer state";

/// First bytes of every snapshot: what it is, and version 1.
const PREFIX: [u8; 8] = *b"CLprod\x00\x01";

#[derive(Archive, Serialize)]
struct SnapshotV1 {
    at: i64,
    producers: Vec<ProducerV1>,
}

#[derive(Archive, Serialize)]
struct ProducerV1 {
    id: i64,
    epoch: i16,
    coordinator_epoch: i32,
    current_txn_first_offset: Option<i64>,
    seen_ms: i64,
    batches: Vec<BatchV1>,
}

#[derive(Archive, Serialize)]
struct BatchV1 {
    last_sequence: i32,
    last_offset_delta: i32,
    last_offset: i64,
    timestamp_ms: i64,
}

/// See [`super::ProducerState::snapshot`]; `producers` ascend by id.
pub(super) fn encode(producers: &[(ProducerId, &Producer)], at: Offset) -> Vec<u8> {
    let batch = |batch: &WrittenBatch| {
        assert!(batch.last_offset < at);
        BatchV1 {
            last_sequence: batch.last_sequence.0,
            last_offset_delta: batch.last_offset_delta,
            last_offset: batch.last_offset.0,
            timestamp_ms: batch.timestamp.0,
        }
    };
    let producers = producers.iter().map(|(id, producer)| ProducerV1 {
        id: id.0,
        epoch: producer.epoch.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_first_offset: producer.current_txn_first_offset.map(Offset::get),
        seen_ms: producer.seen.0,
        batches: producer.batches().iter().map(batch).collect(),
    });
    let snapshot = SnapshotV1 { at: at.0, producers: producers.collect() };
    // Writing to memory fails for no reason but a bug: an assert in all but name.
    let Ok(archive) = rkyv::to_bytes::<Panic>(&snapshot);
    [PREFIX.as_slice(), archive.as_slice()].concat()
}

/// See [`super::ProducerState::restore`]; the producers come ascending by id.
pub(super) fn decode(bytes: &[u8], at: Offset) -> Result<Vec<(ProducerId, Producer)>, Corrupt> {
    let corrupt = |entry, why| Corrupt { what: WHAT, entry, why };
    let archive = bytes.strip_prefix(&PREFIX).ok_or(corrupt(0, "unknown magic or version"))?;
    // An archive is read in place and must be aligned; the caller's slice need not be.
    let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    let snapshot = rkyv::access::<ArchivedSnapshotV1, Failure>(&aligned)
        .map_err(|_: Failure| corrupt(0, "not a valid archive"))?;
    if snapshot.at.to_native() != at.0 {
        return Err(corrupt(0, "of another offset"));
    }
    if snapshot.producers.is_empty() || snapshot.producers.len() > PRODUCERS_PER_PARTITION_MAX {
        return Err(corrupt(0, "none or too many producers"));
    }
    let mut producers: Vec<(ProducerId, Producer)> = Vec::with_capacity(snapshot.producers.len());
    for (place, archived) in snapshot.producers.iter().enumerate() {
        let id = ProducerId(archived.id.to_native());
        if !id.is_some() || producers.last().is_some_and(|(last, _)| *last >= id) {
            return Err(corrupt(place, "ids do not ascend"));
        }
        let producer = decode_producer(archived, at).map_err(|why| corrupt(place, why))?;
        producers.push((id, producer));
    }
    Ok(producers)
}

fn decode_producer(archived: &ArchivedProducerV1, at: Offset) -> Result<Producer, &'static str> {
    let epoch = ProducerEpoch(archived.epoch.to_native());
    let first_offset = archived.current_txn_first_offset.as_ref().map(|first| Offset(first.to_native()));
    if epoch <= ProducerEpoch::NONE {
        return Err("negative epoch");
    }
    if first_offset.is_some_and(|first| first < Offset::ZERO || first >= at) {
        return Err("transaction outside of the log");
    }
    if archived.batches.len() > BATCHES_KEPT {
        return Err("too many batches");
    }
    let mut producer = Producer::new(epoch, Timestamp(archived.seen_ms.to_native()));
    producer.coordinator_epoch = archived.coordinator_epoch.to_native();
    producer.current_txn_first_offset = first_offset;
    for archived in archived.batches.iter() {
        let batch = WrittenBatch {
            last_sequence: Sequence(archived.last_sequence.to_native()),
            last_offset_delta: archived.last_offset_delta.to_native(),
            last_offset: Offset(archived.last_offset.to_native()),
            timestamp: Timestamp(archived.timestamp_ms.to_native()),
        };
        if batch.last_sequence < Sequence::ZERO || batch.last_offset_delta < 0 {
            return Err("negative sequence");
        }
        if batch.last_offset >= at || batch.last_offset.0 < i64::from(batch.last_offset_delta) {
            return Err("batch outside of the log");
        }
        if let Some(newest) = producer.batches().last() {
            if newest.last_offset >= batch.base_offset() {
                return Err("offsets do not ascend");
            }
            if !newest.last_sequence.is_followed_by(batch.base_sequence()) {
                return Err("sequences do not follow");
            }
        }
        producer.push(batch);
    }
    Ok(producer)
}
