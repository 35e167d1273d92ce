//! Bits flipped anywhere in a shard's files: a refusal that names the place, or the very bytes that were appended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use storage::types::{LogId, Offset};
use storage::{Known, Log, LogConfig, LogSpec, ReadError, StorageError, StoreOptions};
use wire::kafka::record_batch::Batches;

use crate::support::{append, batch_at, folder, open, options, run, spec_with, try_open, value};

/// By default; `DAMAGE_ROUNDS` says how many, `DAMAGE_SEED` where.
const ROUNDS: u64 = 400;
const LOGS: u64 = 2;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % bound
    }
}

fn specs() -> Vec<LogSpec> {
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 1000, ..LogConfig::default() };
    (1..=LOGS).map(|id| spec_with(id, config.clone())).collect()
}

fn known(dir: &Path) -> StoreOptions {
    StoreOptions { known: Known::Surely, ..options(dir) }
}

/// Batches in rolled segments, in an active one, and only in the ring; then an idle second, and a kill.
fn fill(dir: &Path) -> Vec<Vec<(i64, Bytes)>> {
    let options = options(dir);
    let contents = run(move || async move {
        let specs = specs();
        let (store, _) = open(options, &specs).await;
        let logs: Vec<Log> = specs.into_iter().map(|spec| store.create_log(spec).unwrap()).collect();
        for number in 0..180 {
            if number == 90 || number == 140 {
                store.checkpoint().await.unwrap();
            }
            let log = &logs[number as usize % LOGS as usize];
            let length = 50 + (number as usize * 37) % 1500;
            append(&store, log, &batch_at(&value(number, length), 1_000_000 + number as i64)).await;
        }
        reactor::sleep(Duration::from_millis(2200)).await;
        let mut contents = Vec::new();
        for log in &logs {
            let (all, refused) = read_until_refused(log).await;
            assert!(refused.is_none());
            contents.push(all);
        }
        contents
    });
    assert!(contents.iter().all(|batches| batches.len() == 90));
    contents
}

/// All batches up to the end or the first error.
async fn read_until_refused(log: &Log) -> (Vec<(i64, Bytes)>, Option<ReadError>) {
    let mut out = Vec::new();
    let mut from = log.start_offset();
    while from < log.flushed_offset() {
        let bytes = match log.read(from, 5000, Offset::MAX).await {
            Ok(read) => read.into_bytes().await.unwrap(),
            Err(error) => return (out, Some(error)),
        };
        // The last one may be cut, as in Kafka's protocol.
        for batch in Batches::new(bytes).map_while(Result::ok) {
            from = Offset(batch.header.next_offset());
            out.push((batch.header.base_offset, batch.bytes));
        }
    }
    (out, None)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

/// Opens and reads; `None` when everything is as it was, else what was said.
fn judge(dir: &Path, contents: &[Vec<(i64, Bytes)>], what: &str) -> Option<String> {
    let (options, contents, what) = (known(dir), contents.to_vec(), what.to_owned());
    run(move || async move {
        let specs = specs();
        let store = match try_open(options, &specs).await {
            Ok((store, _)) => store,
            Err(error) => {
                assert!(matches!(error, StorageError::Corrupt { .. }), "{what}: {error}");
                return Some(error.to_string());
            }
        };
        let mut said = None;
        for (spec, expected) in specs.into_iter().zip(&contents) {
            let log = match store.create_log(spec) {
                Ok(log) => log,
                Err(error) => {
                    said = Some(error.to_string());
                    continue;
                }
            };
            let (got, refused) = read_until_refused(&log).await;
            assert!(got == expected[..got.len()], "{what}: other bytes than were appended");
            assert!(refused.is_some() || got.len() == expected.len(), "{what}: fewer without a word");
            said = refused.map(|error| error.to_string()).or(said);
        }
        said
    })
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_harmless() {
    let (seed, rounds) = (setting("DAMAGE_SEED", 1), setting("DAMAGE_ROUNDS", ROUNDS));
    println!("repeat with DAMAGE_SEED={seed} DAMAGE_ROUNDS={rounds}");
    let dir = folder();
    let contents = fill(dir.path());
    let good: Vec<(PathBuf, Vec<u8>)> =
        files(dir.path()).into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    let mut random = Random(seed);
    let (mut harmless, mut named) = (0, 0);
    for _ in 0..rounds {
        std::fs::remove_dir_all(dir.path().join("topics")).unwrap();
        std::fs::remove_dir_all(dir.path().join("shard-0")).unwrap();
        for (path, bytes) in &good {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let (path, bytes) = &good[random.below(good.len())];
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let Some(at) = (!places.is_empty()).then(|| places[random.below(places.len())]) else { continue };
        let mut bad = bytes.clone();
        bad[at] ^= 1 << random.below(8);
        std::fs::write(path, bad).unwrap();
        let what = format!("byte {at} of {}", path.display());
        match judge(dir.path(), &contents, &what) {
            None => harmless += 1,
            Some(said) => {
                let folder = path.parent().unwrap().to_string_lossy().into_owned();
                assert!(said.contains(&folder), "{what}: not named: {said}");
                named += 1;
            }
        }
    }
    println!("{named} named, {harmless} harmless");
    assert!(named > rounds / 10 && harmless > 0);
}

#[test]
fn a_missing_file_or_folder_is_named() {
    let dir = folder();
    let contents = fill(dir.path());
    let all = files(dir.path());
    let ring = all.iter().filter(|path| path.to_string_lossy().contains("ring-")).count();
    assert!(ring > 1, "a ring of several files");
    let gone = |name: &str| all.iter().find(|path| path.ends_with(name)).cloned();
    for (path, needed) in [
        (gone("shard-0/ring-0.log"), true),
        (gone("00000000000000000000.log"), true),
        (gone("00000000000000000000.index"), false),
        (Some(dir.path().join("shard-0")), true),
    ] {
        let path = path.unwrap();
        let beside = dir.path().join("beside");
        std::fs::rename(&path, &beside).unwrap();
        let said = judge(dir.path(), &contents, &format!("the loss of {}", path.display()));
        assert_eq!(said.is_some(), needed, "{}: {said:?}", path.display());
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        let _ = std::fs::remove_file(&path);
        std::fs::rename(&beside, &path).unwrap();
    }
}

#[test]
fn segments_that_no_checkpoint_knows_are_refused_and_the_other_logs_served() {
    let dir = folder();
    let contents = fill(dir.path());
    std::fs::remove_dir_all(dir.path().join("shard-0")).unwrap();
    let options = options(dir.path());
    run(move || async move {
        let (store, _) = open(options, &specs()).await;
        let error = store.create_log(specs().remove(0)).err().unwrap();
        assert!(error.to_string().contains("topic-1-0000000000000001"), "{error}");
        assert!(store.create_log(spec_with(LogId(9).0, LogConfig::default())).is_ok());
    });
    assert_eq!(contents.len(), 2);
}
