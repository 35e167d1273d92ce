//! What a seed makes of a run: sizes, how many lives the broker has, how each ends, what goes wrong in between.

use broker::config::{BrokerConfig, Settings};
use reactor::sim::Random;

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    PowerCut,
    /// The power fails between two calls of the control plane's.
    PowerCutInControl,
    Kill,
    Stop,
}

/// What is the matter with the disk in one life, for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    Full,
    Slow,
    /// A sync of a commit log fails.
    RingFails,
    /// A sync of the metadata log fails.
    MetadataFails,
}

/// One life of the broker.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) shards: u32,
    /// Virtual microseconds, from the start of the process if it ends during recovery, else from when clients can connect.
    pub(crate) length_us: u64,
    pub(crate) end: End,
    /// Ends so early that it probably still recovers.
    pub(crate) early: bool,
    pub(crate) trouble: Trouble,
    /// Connections cut.
    pub(crate) cuts: u64,
}

/// A whole run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) config: BrokerConfig,
    pub(crate) fua: Option<bool>,
    pub(crate) lives: Vec<Life>,
    pub(crate) producers: u64,
    pub(crate) consumers: u64,
    pub(crate) groups: u64,
    pub(crate) idle_partitions: i32,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed, "plan");
        let shards = random.range(1..4) as u32;
        let lives = (0..random.range(3..7)).map(|_| life(&random, shards)).collect();
        Self {
            seed,
            config: config(&random),
            fua: *random.pick(&[None, Some(false), Some(true)]),
            lives,
            producers: random.range(2..6),
            consumers: random.range(1..4),
            groups: random.range(0..3),
            idle_partitions: *random.pick(&[0, 8, 80]),
        }
    }
}

fn config(random: &Random) -> BrokerConfig {
    let mut settings = Settings::default();
    let ring = random.range(6..33) * (64 << 10);
    let settled = [
        ("listeners", "PLAINTEXT://127.0.0.1:9092".to_owned()),
        ("log.dirs", "/data".to_owned()),
        ("admin.listener", "none".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        ("offsets.topic.num.partitions", "3".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("log.retention.check.interval.ms", random.range(20..200).to_string()),
        ("free.bytes.min", (1 << 20).to_string()),
        ("commit.sync.method", (*random.pick(&["auto", "fdatasync", "dsync"])).to_owned()),
    ];
    for (name, value) in settled {
        settings.set(name, &value, None).expect("a setting");
    }
    let mut config = BrokerConfig::new(settings).expect("a configuration");
    // Below what the settings allow, so that rings wrap and budgets are met within a second.
    config.store.commit_log_bytes = ring;
    config.store.dirty_bytes = random.range(2..17) * (64 << 10);
    config.store.tail_bytes = random.range(2..17) * (64 << 10);
    config
}

fn life(random: &Random, shards: u32) -> Life {
    let end = match random.below(12) {
        0..6 => End::PowerCut,
        6..8 => End::PowerCutInControl,
        8..10 => End::Kill,
        _ => End::Stop,
    };
    let early = end != End::Stop && random.one_in(4);
    let length_us = if early { random.range(50..15_000) } else { random.range(20_000..400_000) };
    let trouble = match random.below(12) {
        0 => Trouble::Full,
        1 => Trouble::Slow,
        2 => Trouble::RingFails,
        3 => Trouble::MetadataFails,
        _ => Trouble::None,
    };
    let shards = if random.one_in(4) { random.range(1..4) as u32 } else { shards };
    let cuts = if random.one_in(3) { random.range(1..8) } else { 0 };
    Life { shards, length_us, end, early, trouble, cuts }
}
