//! Seeded fuzzing of every message in every version: valid messages cut at every length, mutated, and random bytes.
//!
//! Nothing may panic; nothing may allocate more than the bytes at hand justify; whatever decodes must encode to bytes that
//! decode to the same again. One test, because the allocator counts for the whole process.

mod apis;

use std::alloc::System;
use std::fmt::Debug;
use std::future::poll_fn;
use std::mem::replace;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use apis::Repeat;
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wire::kafka::header::RequestHeader;
use wire::kafka::message::Pace;
use wire::kafka::sample::{Dice, Sample};
use wire::kafka::{Message, Reader, Writer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Heap that a decode may take, all its allocations summed: an element of one byte may be a string's handle of 32 bytes,
/// at each of at most four levels of arrays.
const HEAP_PER_BYTE: usize = 128;
const HEAP_SPARE: usize = 256;

const SAMPLES: u64 = 8;
const MUTATIONS: usize = 150;
const RANDOM_FRAMES: usize = 150;

/// Lets others run at every step.
struct EveryStep;

impl Pace for EveryStep {
    fn is_due(&mut self, _: usize) -> bool {
        true
    }

    async fn pause(&mut self) {
        let mut paused = false;
        poll_fn(|_| if replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Polls until it is done.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Decodes, and checks what must hold of any bytes.
fn check<M: Message + PartialEq + Debug>(bytes: &Bytes, version: i16) -> bool {
    let mut r = Reader::new(bytes.clone());
    let region = Region::new(ALLOCATOR);
    let decoded = M::decode(&mut r, version);
    let heap = region.change().bytes_allocated;
    let allowed = bytes.len() * HEAP_PER_BYTE + HEAP_SPARE;
    assert!(heap <= allowed, "{heap} bytes allocated for {} bytes: {bytes:?}", bytes.len());
    let mut slow = Reader::new(bytes.clone());
    assert_eq!(at_once(M::decode_paced(&mut slow, version, &mut EveryStep)), decoded, "paced: {bytes:?}");
    let Ok(message) = decoded else { return false };
    assert_eq!(slow.left(), r.left(), "paced: {bytes:?}");
    let mut w = Writer::new();
    message.encode(&mut w, version);
    let again = M::decode(&mut Reader::new(w.finish().into_contiguous()), version);
    assert_eq!(again.as_ref(), Ok(&message), "{bytes:?}");
    true
}

/// Changes a few bytes, preferring those values that lengths and varints break at.
fn mutate(dice: &mut Dice, valid: &[u8]) -> Bytes {
    const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff];
    let mut bytes = valid.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] = dice.roll() as u8,
            1 if at < bytes.len() => bytes[at] = EDGES[dice.below(EDGES.len())],
            2 if at < bytes.len() => {
                let to = (at + 1 + dice.below(8)).min(bytes.len());
                bytes.drain(at..to);
            }
            3 => bytes.truncate(at),
            _ => bytes.insert(at, EDGES[dice.below(EDGES.len())]),
        }
    }
    bytes.into()
}

fn fuzz<M: Message + Sample + PartialEq + Debug>(version: i16, seed: u64) {
    for sample in 0..SAMPLES {
        let mut dice = Dice::new(seed ^ sample.wrapping_mul(0x1_0001) ^ ((version as u64) << 48));
        let mut w = Writer::new();
        M::sample(&mut dice, M::form(version)).encode(&mut w, version);
        let valid = w.finish().into_contiguous();
        assert!(check::<M>(&valid, version), "a valid message is refused: {valid:?}");
        for len in 0..valid.len() {
            // Debug builds are slow: long messages are cut at every length only near their ends.
            if len < 200 || valid.len() - len < 200 || len % 7 == 0 {
                assert!(!check::<M>(&valid.slice(..len), version), "cut at {len} and accepted: {valid:?}");
            }
        }
        for _ in 0..MUTATIONS {
            check::<M>(&mutate(&mut dice, &valid), version);
        }
    }
    let mut dice = Dice::new(seed ^ 0xf00d);
    for _ in 0..RANDOM_FRAMES {
        let len = dice.below(200);
        check::<M>(&(0..len).map(|_| dice.roll() as u8).collect(), version);
    }
}

#[test]
fn no_bytes_panic_or_allocate_more_than_they_justify() {
    let mut repeat = Repeat { seed: apis::seed(), test: "fuzz", doing: String::new() };
    macro_rules! each {
        ($module:ident $request:ident $response:ident) => {
            for version in apis::versions::<wire::kafka::$module::$request>() {
                repeat.doing = format!("fuzzing {} version {version}", stringify!($request));
                fuzz::<wire::kafka::$module::$request>(version, repeat.seed);
                repeat.doing = format!("fuzzing {} version {version}", stringify!($response));
                fuzz::<wire::kafka::$module::$response>(version, repeat.seed);
            }
        };
    }
    for_each_api!(each);

    repeat.doing = "fuzzing values of __consumer_offsets".to_owned();
    for version in 0..=wire::kafka::consumer_offsets::VALUE_VERSION_MAX {
        fuzz::<wire::kafka::consumer_offsets::OffsetCommitValue>(version, repeat.seed);
        fuzz::<wire::kafka::consumer_offsets::GroupMetadataValue>(version, repeat.seed);
    }

    repeat.doing = "fuzzing request headers".to_owned();
    let mut dice = Dice::new(repeat.seed);
    for _ in 0..20_000 {
        let frame = mutate(&mut dice, b"\0\x12\0\x03\0\0\0\x07\0\x04rust\x01\x05\x01zBODY");
        let region = Region::new(ALLOCATOR);
        let _ = RequestHeader::decode(&mut Reader::new(frame));
        // The first slice of a frame that came as a vector makes its counter; nothing else may need heap.
        assert!(region.change().bytes_allocated <= 64, "a header needs no heap");
    }
}
