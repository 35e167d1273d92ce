//! Records as the command line wants them: sizes, keys, headers and payload, drawn from the run's seed.

use std::ops::Range;

use wire::kafka::batch_builder::NewRecord;

use crate::distributions::{HeaderShape, KeyDraw, Keys, Sizes};
use crate::limits::{HEADER_BYTES_MAX, HEADERS_MAX};
use crate::payload::Pool;
use crate::random::{Random, mix};

/// What records are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RecordShape {
    pub(crate) sizes: Sizes,
    pub(crate) keys: Keys,
    pub(crate) headers: HeaderShape,
    /// Part of the payload that a codec can take away; letters without a wish.
    pub(crate) compressibility: Option<f64>,
}

const HEADER_NAMES: [&str; HEADERS_MAX] = [
    "header-0",
    "header-1",
    "header-2",
    "header-3",
    "header-4",
    "header-5",
    "header-6",
    "header-7",
    "header-8",
    "header-9",
    "header-10",
    "header-11",
    "header-12",
    "header-13",
    "header-14",
    "header-15",
];

static HEADER_VALUE: [u8; HEADER_BYTES_MAX] = [b'h'; HEADER_BYTES_MAX];

/// Bytes of a key: "key-" and the number of the key with 12 digits.
const KEY_BYTES: usize = 16;

/// Makes the records of one thread, one at a time, in place.
pub(crate) struct RecordSource {
    shape: RecordShape,
    least_bytes: usize,
    keys: Option<KeyDraw>,
    /// This thread and the number of threads, which share the keys out.
    thread: (u64, u64),
    headers: Vec<(&'static str, Option<&'static [u8]>)>,
    pool: Pool,
    random: Random,
    /// Where the value lies in the pool; if nowhere, it is in `value`.
    piece: Option<Range<usize>>,
    value: Vec<u8>,
    key: [u8; KEY_BYTES],
}

impl RecordSource {
    /// The records of thread `thread` of so many. Values have at least `least_bytes`, for a stamp.
    pub(crate) fn new(shape: RecordShape, seed: u64, thread: (usize, usize), least_bytes: usize) -> Self {
        let HeaderShape { count, bytes } = shape.headers;
        let mut random = Random::stream(seed, &[1, thread.0 as u64]);
        let pool = Pool::new(shape.compressibility, &mut random);
        let mut source = Self {
            shape,
            least_bytes,
            keys: KeyDraw::new(shape.keys, thread.1 as u64),
            thread: (thread.0 as u64, thread.1 as u64),
            headers: HEADER_NAMES[..count].iter().map(|name| (*name, Some(&HEADER_VALUE[..bytes]))).collect(),
            pool,
            random,
            piece: None,
            value: Vec::new(),
            key: *b"key-000000000000",
        };
        source.draw();
        source
    }

    /// Makes the next record. With keys, says a number that is the same for the same key: by it the partition is
    /// chosen.
    pub(crate) fn draw(&mut self) -> Option<u64> {
        let size = self.shape.sizes.draw(&mut self.random, self.least_bytes);
        self.piece = self.pool.piece(size);
        if self.piece.is_none() {
            self.pool.fill(&mut self.value, size);
        }
        let keys = self.keys.as_ref()?;
        let (thread, threads) = self.thread;
        let mut number = keys.draw(&mut self.random) * threads + thread;
        let hash = mix(number);
        for digit in self.key[4..].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        Some(hash)
    }

    /// The value of the record, to be stamped.
    pub(crate) fn value_mut(&mut self) -> &mut [u8] {
        if let Some(piece) = self.piece.take() {
            self.value.clear();
            self.value.extend_from_slice(self.pool.get(piece));
        }
        &mut self.value
    }

    /// The record; its time is for the sender to say.
    pub(crate) fn record(&self) -> NewRecord<'_> {
        NewRecord {
            key: self.keys.as_ref().map(|_| &self.key[..]),
            value: Some(self.piece.clone().map_or(&self.value, |piece| self.pool.get(piece))),
            headers: &self.headers,
            ..NewRecord::default()
        }
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn shape(keys: &str) -> RecordShape {
        RecordShape {
            sizes: Sizes::Uniform(20, 40),
            keys: keys.parse().unwrap(),
            headers: HeaderShape { count: 2, bytes: 5 },
            compressibility: None,
        }
    }

    fn keys_of(source: &mut RecordSource) -> HashMap<Vec<u8>, u64> {
        let mut keys = HashMap::new();
        for _ in 0..2000 {
            let hash = source.draw().unwrap();
            let before = keys.insert(source.record().key.unwrap().to_vec(), hash);
            assert!(before.is_none_or(|before| before == hash), "one key, one partition");
        }
        keys
    }

    #[test]
    fn a_record_has_what_was_asked_for() {
        let mut source = RecordSource::new(shape("uniform:10"), 1, (0, 1), 0);
        for _ in 0..100 {
            source.draw();
            let record = source.record();
            assert!((20..=40).contains(&record.value.unwrap().len()));
            assert_eq!(
                record.headers,
                [("header-0", Some(&b"hhhhh"[..])), ("header-1", Some(&b"hhhhh"[..]))]
            );
            assert!(record.key.unwrap().starts_with(b"key-00000000000"));
        }
        assert!(RecordSource::new(shape("none"), 1, (0, 1), 0).record().key.is_none());
    }

    #[test]
    fn the_same_seed_makes_the_same_records() {
        let records = |seed| {
            let mut source = RecordSource::new(shape("zipf:1000,0.9"), seed, (0, 1), 0);
            let draw = |_| {
                source.draw();
                (source.record().key.map(<[u8]>::to_vec), source.record().value.map(<[u8]>::to_vec))
            };
            (0..50).map(draw).collect::<Vec<_>>()
        };
        assert_eq!(records(5), records(5));
        assert_ne!(records(5), records(6));
    }

    #[test]
    fn threads_share_the_keys_out() {
        let keys = |thread| keys_of(&mut RecordSource::new(shape("uniform:90"), 1, (thread, 3), 0));
        let all: Vec<_> = (0..3).flat_map(|thread| keys(thread).into_keys()).collect();
        assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (90, 90));
    }
}
