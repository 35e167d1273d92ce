//! Seeded fuzzing of record batches in every codec: valid batches cut at every length, mutated in header and records (the CRC made
//! right again, so that the damage is seen), and streams that lie.
//!
//! Nothing may panic; nothing may allocate more than the bytes at hand justify; what validation accepts can be read. One test,
//! because the allocator counts for the whole process.

#![allow(clippy::unwrap_used)] // helpers of tests too

#[allow(dead_code)] // only the seed
mod apis;

use std::alloc::System;

use apis::Repeat;
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::{Codec, decompress};
use wire::kafka::record::Records;
use wire::kafka::record_batch::{Batch, BatchHeader, Batches, HEADER_LEN, TimestampType, single_batch};
use wire::kafka::record_validation::{Keys, Rules, validate};
use wire::kafka::record_walk::{Gaps, RecordShape, Step, find_timestamp, walk};
use wire::kafka::sample::Dice;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a codec may hold whatever the input: its windows, tables and one piece of output.
const HEAP_SPARE: usize = 192 * 1024;
/// The densest codec is LZ4: a byte may stand for 255.
const HEAP_PER_BYTE: usize = 256;
const OUTPUT_MAX: usize = 1 << 20;
const SAMPLES: usize = 6;
const MUTATIONS: usize = 200;

fn rules() -> Rules {
    Rules {
        now_ms: 0,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        keys: Keys::Optional,
        decompressed_bytes_max: OUTPUT_MAX,
    }
}

/// Goes through `bytes` in every way there is; whether validation accepts them.
fn check(bytes: &Bytes) -> bool {
    let region = Region::new(ALLOCATOR);
    let batch = single_batch(bytes);
    let accepted = batch.as_ref().is_ok_and(|batch| validate(batch, &rules()).is_ok());
    let heap = region.change().bytes_allocated;
    let allowed = bytes.len() * HEAP_PER_BYTE + HEAP_SPARE;
    assert!(heap <= allowed, "{heap} bytes allocated for {} bytes", bytes.len());
    for batch in Batches::new(bytes.clone()).flatten() {
        let _ = find_timestamp(&batch.bytes, &batch.header, 5, OUTPUT_MAX);
        read(&batch, false);
    }
    if let Ok(batch) = batch {
        as_if_uncompressed(&batch);
        if accepted {
            read(&batch, true);
        }
    }
    accepted
}

/// Walking a stream piece by piece sees what walking the same records in memory sees.
fn as_if_uncompressed(batch: &Batch) {
    let Ok(codec) = batch.header.codec() else { return };
    let Ok(plain) = decompress(codec, &batch.bytes[HEADER_LEN..batch.header.size], OUTPUT_MAX) else {
        return;
    };
    let mut header = batch.header;
    header.size = HEADER_LEN + plain.len();
    header.attributes = header.attributes.with_codec(Codec::None);
    let bytes = [&header.to_bytes()[..], &plain].concat();
    assert_eq!(walked(&bytes, &header), walked(&batch.bytes, &batch.header));
}

/// The records seen, and whether they were all.
fn walked(bytes: &[u8], header: &BatchHeader) -> (Vec<RecordShape>, bool) {
    let mut seen = Vec::new();
    let result = walk(bytes, header, OUTPUT_MAX, Gaps::Refused, |record| {
        seen.push(*record);
        Step::Next
    });
    (seen, result.is_ok())
}

fn read(batch: &Batch, must: bool) {
    match Records::new(batch, OUTPUT_MAX) {
        Ok(records) => {
            for record in records {
                match record {
                    Ok(record) => assert_eq!(record.headers.iter().count(), record.headers.len()),
                    Err(error) => assert!(!must, "accepted, but then: {error}"),
                }
            }
        }
        Err(error) => assert!(!must, "accepted, but then: {error}"),
    }
}

/// Makes length and CRC right, so that what follows them is looked at.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    if bytes.len() >= HEADER_LEN {
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    Bytes::from(bytes)
}

fn mutated(dice: &mut Dice, valid: &[u8]) -> Bytes {
    const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff];
    let mut bytes = valid.to_vec();
    // Mostly in the records: a header's fields are few, and soon all tried.
    let from = if dice.below(4) == 0 { 0 } else { HEADER_LEN };
    for _ in 0..=dice.below(3) {
        let at = from.min(bytes.len()) + dice.below((bytes.len() + 1).saturating_sub(from).max(1));
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] = dice.roll() as u8,
            1 if at < bytes.len() => bytes[at] = EDGES[dice.below(EDGES.len())],
            2 if at < bytes.len() => {
                let to = (at + 1 + dice.below(8)).min(bytes.len());
                bytes.drain(at..to);
            }
            3 => bytes.truncate(at),
            _ => bytes.insert(at.min(bytes.len()), EDGES[dice.below(EDGES.len())]),
        }
    }
    if dice.below(10) == 0 { Bytes::from(bytes) } else { sealed(bytes) }
}

fn sample(dice: &mut Dice, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for _ in 0..=dice.below(6) {
        // Compressed, a value may be larger than a piece of output, and is then walked across pieces.
        let large = if codec == Codec::None { 200 } else { 40_000 };
        let len = [0, 3, 60, 900, large][dice.below(5)];
        let noise = if len == large { 4000 } else { 5 };
        let value: Vec<u8> =
            (0..len).map(|at| if at % noise == 0 { dice.roll() as u8 } else { b'x' }).collect();
        let headers: &[(&str, Option<&[u8]>)] =
            if dice.below(2) == 0 { &[("h", Some(b"v")), ("", None)] } else { &[] };
        builder.push(&NewRecord {
            timestamp: (dice.roll() % 1000) as i64,
            key: (dice.below(2) == 0).then_some(b"key"),
            value: (dice.below(6) > 0).then_some(&value),
            headers,
        });
    }
    builder.build().unwrap()
}

/// Streams that claim much and hold little.
fn liars() -> Vec<(Codec, Vec<u8>)> {
    let lz4 = |descriptor: &[u8], blocks: &[u8]| [&[0x04, 0x22, 0x4d, 0x18], descriptor, blocks].concat();
    vec![
        // LZ4: blocks of 4 MiB, and one that says it has 2 GiB.
        (Codec::Lz4, lz4(&[0x60, 0x70, 0x73], &[0xff, 0xff, 0xff, 0x7f, 1, 2, 3])),
        (Codec::Lz4, lz4(&[0x60, 0x70, 0x73], &[3, 0, 0, 0, 0x1f, b'a', 1])),
        // Snappy: a block that says it is 4 GiB, raw and framed.
        (Codec::Snappy, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'a']),
        (
            Codec::Snappy,
            [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07"[..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'a']]
                .concat(),
        ),
        // gzip: a name that never ends. zstd: a window of 2 GiB.
        (Codec::Gzip, [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &[b'n'; 500]].concat()),
        (Codec::Zstd, vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0]),
    ]
}

#[test]
fn no_bytes_panic_or_take_more_memory_than_they_justify() {
    let seed = apis::seed();
    for codec in Codec::ALL {
        let mut repeat = Repeat { seed, test: "records_fuzz", doing: String::new() };
        let mut dice = Dice::new(seed ^ u64::from(codec.id()));
        let mut accepted = 0;
        for round in 0..SAMPLES {
            repeat.doing = format!("fuzzing {codec}, round {round}");
            let valid = sample(&mut dice, codec);
            assert!(check(&valid), "a valid batch is refused");
            // Debug builds are slow: long batches are not cut at every length.
            for len in (0..valid.len()).step_by(1 + valid.len() / 500) {
                assert!(!check(&valid.slice(..len)), "cut at {len} and accepted");
                if len > HEADER_LEN {
                    assert!(!check(&sealed(valid[..len].to_vec())), "cut at {len}, sealed, and accepted");
                }
            }
            for _ in 0..MUTATIONS {
                accepted += usize::from(check(&mutated(&mut dice, &valid)));
            }
        }
        assert!(accepted > 0, "{codec}: mutations that do no harm are accepted");
    }
    for (codec, stream) in liars() {
        let valid = sample(&mut Dice::new(seed), codec);
        let bytes = sealed([&valid[..HEADER_LEN], &stream].concat());
        assert_eq!(BatchHeader::parse(&bytes).unwrap().codec(), Ok(codec));
        assert!(!check(&bytes), "{codec}");
    }
}
