//! Random operations on a store and on a model of it, with kills and closes in between; a failure names its seed.
//!
//! `STORAGE_SEED=<n>` runs one seed, `STORAGE_SEEDS=<n>` runs that many.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use storage::types::{LogId, Offset};
use storage::{LogConfig, LogSpec, Store};

use crate::support::*;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// A log as it should be: what was acknowledged.
#[derive(Clone, Default)]
struct ModelLog {
    start: i64,
    /// Values by offset.
    values: Vec<Vec<u8>>,
    /// Staged behind them when a life ended, and not acknowledged: a prefix of them may be there.
    perhaps: Vec<Vec<u8>>,
}

#[derive(Clone)]
struct Model {
    live: BTreeMap<u64, ModelLog>,
    next_id: u64,
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 60_000, index_interval_bytes: 2000, ..LogConfig::default() }
}

fn specs(model: &Model) -> Vec<LogSpec> {
    model.live.keys().map(|id| spec_with(*id, config())).collect()
}

/// What was in flight at the kill is there in part, from the front, or not at all.
fn adopt(store: &Store, model: &mut Model, seed: u64) {
    for (id, expected) in &mut model.live {
        let log = store.create_log(spec_with(*id, config())).unwrap();
        let end = log.end_offset().0 as usize;
        let acknowledged = expected.values.len();
        let kept = end.checked_sub(acknowledged);
        let kept = kept.filter(|kept| *kept <= expected.perhaps.len());
        let Some(kept) = kept else {
            panic!("seed {seed} log {id}: ends at {end}, acknowledged {acknowledged}")
        };
        let perhaps = std::mem::take(&mut expected.perhaps);
        expected.values.extend(perhaps.into_iter().take(kept));
    }
}

/// Leaves appends and perhaps a checkpoint in flight.
async fn leave_in_flight(store: &Store, model: &mut Model, random: &mut Random) {
    if random.below(2) == 0 {
        let store = store.clone();
        reactor::spawn(reactor::Priority::Latency, "checkpoint", async move {
            let _ = store.checkpoint().await;
        })
        .detach();
    }
    for (id, expected) in &mut model.live {
        let log = store.create_log(spec_with(*id, config())).unwrap();
        for _ in 0..random.below(6) {
            let content = value(random.below(u64::MAX), 16 + random.below(80_000) as usize);
            if stage(&log, &batch(&content)).is_err() {
                break;
            }
            expected.perhaps.push(content);
        }
        for _ in 0..random.below(4) {
            reactor::yield_now().await;
        }
    }
    for _ in 0..random.below(30) {
        reactor::yield_now().await;
    }
}

async fn check(store: &Store, model: &Model, seed: u64, random: &mut Random) {
    for (id, expected) in &model.live {
        let log = store.create_log(spec_with(*id, config())).unwrap();
        let ends = (log.start_offset().0, log.end_offset().0, log.flushed_offset().0);
        let end = expected.values.len() as i64;
        assert_eq!(ends, (expected.start, end, end), "seed {seed} log {id}");
        let piece = 1 + random.below(100_000) as usize;
        for (offset, bytes) in read_all(&log, piece).await {
            if offset >= expected.start {
                let value = &expected.values[offset as usize];
                assert!(contains(&bytes, value), "seed {seed} log {id} offset {offset}");
            }
        }
    }
}

async fn step(store: &Store, model: &mut Model, random: &mut Random) {
    let ids: Vec<u64> = model.live.keys().copied().collect();
    let id = ids[random.below(ids.len() as u64) as usize];
    let log = store.create_log(spec_with(id, config())).unwrap();
    let expected = model.live.get_mut(&id).unwrap();
    match random.below(40) {
        0..28 => {
            // A few batches at once, so that commits hold several.
            let mut last = None;
            for _ in 0..=random.below(8) {
                let length = match random.below(12) {
                    0 => random.below(90_000),
                    1..5 => random.below(9000),
                    _ => random.below(500),
                };
                let content = value(random.below(u64::MAX), 16 + length as usize);
                let bytes: Bytes = batch(&content);
                last = Some(stage_admitted(store, &log, &bytes).await.ticket);
                expected.values.push(content);
            }
            log.durable(last.unwrap()).await.unwrap();
        }
        28..31 => store.checkpoint().await.unwrap(),
        31..34 => {
            let to = expected.start
                + random.below((expected.values.len() as i64 - expected.start + 1) as u64) as i64;
            expected.start = log.delete_records(Offset(to)).await.unwrap().0;
            assert!(expected.start >= to);
        }
        34..36 => {
            let to = expected.start
                + random.below((expected.values.len() as i64 - expected.start + 1) as u64) as i64;
            assert_eq!(log.truncate(Offset(to)).await.unwrap(), Offset(to));
            expected.values.truncate(to as usize);
        }
        36 if model.live.len() > 2 => {
            store.delete_log(LogId(id)).await.unwrap();
            model.live.remove(&id);
        }
        _ => {
            model.next_id += 1;
            model.live.insert(model.next_id, ModelLog::default());
        }
    }
}

fn life(dir: &Path, model: Model, seed: u64, life: u64) -> Model {
    let options = options(dir);
    run(move || async move {
        let (mut model, mut random) = (model, Random(seed * 1000 + life));
        let (store, _) = open(options, &specs(&model)).await;
        adopt(&store, &mut model, seed);
        check(&store, &model, seed, &mut random).await;
        for _ in 0..random.below(120) {
            step(&store, &mut model, &mut random).await;
        }
        check(&store, &model, seed, &mut random).await;
        match random.below(3) {
            0 => store.close().await.unwrap(),
            1 => leave_in_flight(&store, &mut model, &mut random).await,
            _ => {}
        }
        model
    })
}

#[test]
fn a_store_is_what_a_simple_model_says_through_kills_and_closes() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("STORAGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORAGE_SEEDS").unwrap_or(6),
    };
    for seed in seeds {
        let dir = folder();
        println!("STORAGE_SEED={seed}");
        let live = (1..=4).map(|id| (id, ModelLog::default())).collect();
        let mut model = Model { live, next_id: 4 };
        for number in 0..5 {
            model = life(dir.path(), model, seed, number);
        }
    }
}
