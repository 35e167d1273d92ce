//! Speed of what the broker does with every batch: CRC, validation's walk, and the same through LZ4.
//! `cargo bench -p wire --bench records`; the best of several runs is told, in nanoseconds a record.

#![allow(clippy::unwrap_used)] // a bench

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::record_batch::{TimestampType, single_batch};
use wire::kafka::record_validation::{Keys, Rules, validate};
use wire::kafka::record_walk::{Gaps, Step, walk};

const RUNS: usize = 15;
const RUN_TIME: Duration = Duration::from_millis(40);

/// The best time of one call, in nanoseconds.
fn best(mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < RUN_TIME {
            for _ in 0..16 {
                call();
            }
            calls += 16;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    best
}

/// A batch of about `bytes` bytes; the values are text-like, so that they compress to about a third.
fn batch(codec: Codec, bytes: usize, value_len: usize) -> (Bytes, usize) {
    let mut builder = BatchBuilder::new(codec);
    let mut state = 1_u64;
    while builder.size() < bytes {
        let value: Vec<u8> = (0..value_len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                b"aaaaeeiostn "[(state >> 60) as usize % 12]
            })
            .collect();
        builder.push(&NewRecord {
            timestamp: 1_700_000_000_000,
            key: Some(b"key-12345"),
            value: Some(&value),
            headers: &[],
        });
    }
    let count = builder.record_count() as usize;
    (builder.build().unwrap(), count)
}

fn main() {
    let rules = Rules {
        now_ms: 1_700_000_000_000,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        keys: Keys::Optional,
        decompressed_bytes_max: 1 << 20,
    };
    println!(
        "{:<10} {:>9} {:>8} {:>9} | {:>12} {:>12} | {:>9}",
        "codec", "value B", "records", "batch B", "walk ns/rec", "all ns/rec", "crc GB/s"
    );
    for codec in Codec::ALL {
        for (size, value_len) in [(100, 100), (64 * 1024, 100), (64 * 1024, 1024)] {
            let (bytes, count) = batch(codec, size, value_len);
            let parsed = single_batch(&bytes).unwrap();
            let crc = best(|| parsed.header.verify_crc(black_box(&bytes)).unwrap());
            let walked = best(|| {
                let mut largest = 0;
                walk(black_box(&bytes), &parsed.header, 1 << 20, Gaps::Refused, |record| {
                    largest = record.timestamp.max(largest);
                    Step::Next
                })
                .unwrap();
                black_box(largest);
            });
            let all = best(|| {
                black_box(validate(&single_batch(black_box(&bytes)).unwrap(), &rules).unwrap());
            });
            println!(
                "{:<10} {value_len:>9} {count:>8} {:>9} | {:>12.1} {:>12.1} | {:>9.1}",
                codec.name(),
                bytes.len(),
                walked / count as f64,
                all / count as f64,
                bytes.len() as f64 / crc
            );
        }
    }
}
