//! What a seed makes of a run: sizes, settings, how many lives and how each ends.

use std::path::Path;

use reactor::sim::Random;
use storage::{LogConfig, StoreOptions, SyncChoice};

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    PowerCut,
    Kill,
    Close,
}

/// A fault of the disk in one life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    RingFails,
    SegmentFails,
    Full,
    Slow,
}

/// One run of a broker, from start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) shards: u32,
    /// Virtual microseconds from the start of recovery.
    pub(crate) length_us: u64,
    pub(crate) end: End,
    /// A cut so early that recovery is under way.
    pub(crate) early: bool,
    pub(crate) trouble: Trouble,
}

/// A whole run.
pub(crate) struct Plan {
    pub(crate) options: StoreOptions,
    pub(crate) fua: Option<bool>,
    pub(crate) sector: u64,
    pub(crate) lives: Vec<Life>,
    pub(crate) active_logs: u64,
    pub(crate) idle_logs: u64,
    pub(crate) producers: u64,
    /// What a segment fails with, when it fails.
    pub(crate) segment_errno: i32,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed, "plan");
        let ring = random.range(4..17) * (64 << 10);
        let file = *random.pick(&[64 << 10, 96 << 10, 128 << 10]);
        // A stream of its own: the other settings of a seed stay what they were.
        let together = Random::new(seed, "together");
        let sync_together_from = *together.pick(&[1, 1, 2, 3, 6, usize::MAX]);
        let segment_errno = *together.pick(&[5, 5, 5, 28]);
        let sector = *together.pick(&[512, 512, 512, 4096]);
        let options = StoreOptions {
            commit_log_bytes: ring,
            ring_first_file_bytes: file,
            ring_file_bytes: file,
            dirty_bytes: random.range(1..9) * (64 << 10),
            tail_bytes: random.range(1..9) * (64 << 10),
            free_bytes_min: 128 << 10,
            sync_together_from,
            sync: *random.pick(&[SyncChoice::Auto, SyncChoice::Fdatasync, SyncChoice::Dsync]),
            ..StoreOptions::new(Path::new("/data"), 0)
        };
        let shards = random.range(1..4) as u32;
        // A storm has many short lives, most of them with commits in flight when they end.
        let lives = if random.one_in(3) {
            (0..random.range(8..20)).map(|_| short_life(&random, shards)).collect()
        } else {
            (0..random.range(3..7)).map(|_| life(&random, shards)).collect()
        };
        let fua = *random.pick(&[None, Some(false), Some(true)]);
        let active_logs = random.range(1..7);
        let idle_logs = *random.pick(&[0, 3, 40]);
        let producers = random.range(1..5);
        Self { options, fua, sector, lives, active_logs, idle_logs, producers, segment_errno }
    }
}

fn life(random: &Random, shards: u32) -> Life {
    let end = match random.below(10) {
        0..6 => End::PowerCut,
        6..8 => End::Kill,
        _ => End::Close,
    };
    let early = end != End::Close && random.one_in(4);
    let trouble = match random.below(48) {
        0..4 => Trouble::RingFails,
        4..8 => Trouble::SegmentFails,
        8 => Trouble::Full,
        9..11 => Trouble::Slow,
        _ => Trouble::None,
    };
    let length_us = match trouble {
        _ if early => random.range(50..8_000),
        // It takes a while to fill a disk, and to be told that it is full.
        Trouble::Full => random.range(1_000_000..1_800_000),
        _ => random.range(10_000..250_000),
    };
    let shards = if random.one_in(5) { random.range(1..4) as u32 } else { shards };
    Life { shards, length_us, end, early, trouble }
}

fn short_life(random: &Random, shards: u32) -> Life {
    let end = if random.one_in(5) { End::Kill } else { End::PowerCut };
    Life { shards, length_us: random.range(500..12_000), end, early: false, trouble: Trouble::None }
}

/// Settings of a log.
pub(crate) fn log_config(random: &Random) -> LogConfig {
    LogConfig {
        segment_bytes: random.range(15_000..250_000),
        index_interval_bytes: random.range(500..5_000) as u32,
        retention_bytes: random.one_in(3).then(|| random.range(50_000..400_000)),
        ..LogConfig::default()
    }
}
