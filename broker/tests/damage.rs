//! Damage to a data folder: bits flipped in every file of a real one, files cut and removed, versions of others.
//!
//! Allowed is a start or a partition that is refused, with the damaged file or folder named; or exactly the bytes that
//! were acknowledged. Never other bytes, never fewer without a word. `DAMAGE_ROUNDS` says how many bits are flipped in each
//! file, `DAMAGE_SEED` where.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use support::Broker;
use support::admin::Admin;
use support::records::{PATIENCE, Random, Record, client_config, is_passing, now_ms, send_all};

const SETTINGS: [&str; 6] = [
    "cores=1",
    "dirty.bytes=1048576",
    "tail.bytes=1048576",
    "commit.log.bytes=8388608",
    "log.segment.bytes=1048576",
    "offsets.topic.num.partitions=1",
];
const PARTITIONS: i32 = 2;
const TOPIC: &str = "damaged";
const GROUP: &str = "readers";
const COMMITTED: i64 = 17;

/// What the broker has promised.
struct Promised {
    records: BTreeMap<(i32, i64), Record>,
    /// How long ago the first record of each partition's second half was made.
    middle_ms: i64,
}

/// How a broker that may be damaged answered.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Outcome {
    Identical,
    StartRefused,
    PartitionRefused,
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("damage-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Fills a broker: rolled segments, an active one, every codec, an idempotent producer, a committed offset.
fn fill(broker: &Broker) -> Promised {
    let admin = Admin::new(broker);
    admin.create_named(TOPIC, PARTITIONS);
    let mut random = Random::new(7);
    let mut records = BTreeMap::new();
    let start = now_ms() - 1_000_000;
    let mut number = 0;
    for round in 0..6 {
        let codec = ["none", "gzip", "snappy", "lz4", "zstd", "none"][round];
        let mut sent: Vec<Record> = (0..120)
            .map(|index| {
                let mut record =
                    Record::new(index % PARTITIONS, random.bytes(1000 + (index as usize % 7) * 1500));
                number += 1;
                record.timestamp_ms = start + number * 100;
                record.key = (index % 3 == 0).then(|| random.bytes(12));
                record
            })
            .collect();
        let settings =
            [("enable.idempotence", "true"), ("compression.type", codec), ("batch.num.messages", "7")];
        send_all(broker.bootstrap(), TOPIC, &settings, &mut sent);
        records.extend(sent.into_iter().map(|record| ((record.partition, record.offset.unwrap()), record)));
    }
    commit(broker);
    Promised { records, middle_ms: start + number / 2 * 100 }
}

fn commit(broker: &Broker) {
    let consumer: BaseConsumer = client_config(broker.bootstrap(), &[("group.id", GROUP)]).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Offset(COMMITTED)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

impl Promised {
    /// Starts the broker on the folder and compares all that it shows with what was promised.
    fn judge(&self, broker: &mut Broker, what: &str, named: &[&str]) -> Outcome {
        if let Err(said) = broker.try_restart() {
            assert_named(&said, what, named);
            return Outcome::StartRefused;
        }
        let settings = [("group.id", GROUP), ("fetch.wait.max.ms", "10"), ("check.crcs", "false")];
        let consumer: BaseConsumer = client_config(broker.bootstrap(), &settings).create().unwrap();
        let shown = self.read(broker, &consumer, what);
        let outcome = if shown == self.records.len() && self.check_beside(broker, &consumer, what) {
            Outcome::Identical
        } else {
            assert_named(&broker.said(), what, named);
            Outcome::PartitionRefused
        };
        // Before the broker: the end of a consumer waits for its answer.
        drop(consumer);
        broker.kill();
        outcome
    }

    /// Reads until all is there or the broker says what is wrong; each record is compared. Answers how many came.
    fn read(&self, broker: &Broker, consumer: &BaseConsumer, what: &str) -> usize {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut next = vec![0; PARTITIONS as usize];
        let (mut shown, mut came) = (0, Instant::now());
        while shown < self.records.len() {
            match consumer.poll(Duration::from_millis(20)) {
                Some(Ok(message)) => {
                    let got = Record::of_message(&message);
                    let place = (got.partition, got.offset.unwrap());
                    let expected = next[place.0 as usize];
                    assert_eq!(place.1, expected, "{what}: partition {} jumps", place.0);
                    assert!(
                        self.records.get(&place) == Some(&got),
                        "{what}: {place:?} is not what was acknowledged"
                    );
                    next[place.0 as usize] = place.1 + 1;
                    (shown, came) = (shown + 1, Instant::now());
                }
                Some(Err(error)) => assert!(is_passing(&error), "{what}: {error}"),
                None => {}
            }
            let said = broker.said();
            let refused = said.contains("read failed") || said.contains("log not created");
            let patience = if refused { Duration::from_millis(700) } else { PATIENCE };
            if came.elapsed() > patience {
                break;
            }
        }
        shown
    }

    /// Offsets by time, and the group's; false if these are refused.
    fn check_beside(&self, broker: &Broker, consumer: &BaseConsumer, what: &str) -> bool {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, Offset::Offset(self.middle_ms)).unwrap();
        }
        let found = consumer.offsets_for_times(list, PATIENCE).unwrap();
        for element in found.elements() {
            let first = self
                .records
                .range((element.partition(), 0)..(element.partition() + 1, 0))
                .find(|(_, record)| record.timestamp_ms >= self.middle_ms);
            let ((_, offset), _) = first.unwrap();
            assert_eq!(element.offset(), Offset::Offset(*offset), "{what}: offset by time");
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(TOPIC, 0);
        if broker.said().contains("groups not loaded") {
            return false;
        }
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        assert_eq!(committed.elements()[0].offset(), Offset::Offset(COMMITTED), "{what}: the group's offset");
        true
    }
}

fn assert_named(said: &str, what: &str, named: &[&str]) {
    let lines: Vec<&str> =
        said.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).collect();
    assert!(
        lines.iter().any(|line| named.iter().any(|name| line.contains(name))),
        "{what}: nothing names one of {named:?}:\n{said}"
    );
}

/// The names by which damage of a file may be told: the file, or its folder.
fn names_of(path: &Path, data: &Path) -> Vec<String> {
    let relative = path.strip_prefix(data).unwrap();
    let folder = relative.parent().map(|folder| folder.to_string_lossy().into_owned());
    let mut names = vec![relative.to_string_lossy().into_owned()];
    if relative.starts_with("metadata") {
        names.push("the metadata log has never issued it".to_owned());
    }
    names.extend(folder.filter(|folder| !folder.is_empty()));
    names
}

/// A broker's folder after a kill and one after a stop, with what they hold.
struct Samples {
    broker: Broker,
    _dir: tempfile::TempDir,
    data: PathBuf,
    all: Vec<(&'static str, PathBuf)>,
    promised: Promised,
}

fn samples() -> Samples {
    let dir = folder();
    let data = dir.path().join("data");
    let mut broker = Broker::spawn_in(Some(&data), &[], &SETTINGS);
    let promised = fill(&broker);
    // An idle second says durably that the newest commit was.
    std::thread::sleep(Duration::from_millis(2500));
    broker.kill();
    let killed = dir.path().join("killed");
    copy(&data, &killed);
    broker.restart();
    broker.stop();
    let stopped = dir.path().join("stopped");
    copy(&data, &stopped);
    Samples { broker, _dir: dir, data, all: vec![("killed", killed), ("stopped", stopped)], promised }
}

impl Samples {
    fn judge(&mut self, sample: usize, what: &str, path: &Path, damage: impl FnOnce(&Path)) -> Outcome {
        let (kind, folder) = &self.all[sample];
        copy(folder, &self.data);
        let path = self.data.join(path);
        let names = names_of(&path, &self.data);
        damage(&path);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let what = format!("{what} of {} after the broker was {kind}", names[0]);
        self.promised.judge(&mut self.broker, &what, &names)
    }

    /// Files of a sample, from its root.
    fn files(&self, sample: usize) -> Vec<PathBuf> {
        let folder = &self.all[sample].1;
        let unimportant = ["lock", "reserve"];
        let all = files(folder).into_iter().map(|path| path.strip_prefix(folder).unwrap().to_path_buf());
        all.filter(|path| !unimportant.iter().any(|name| path.ends_with(name))).collect()
    }
}

/// Where something is written: a flip elsewhere shows nothing.
fn written(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at] != 0).collect()
}

#[test]
fn a_flipped_bit_in_any_file_is_named_or_harmless() {
    let rounds = std::env::var("DAMAGE_ROUNDS").map_or(2, |text| text.parse().unwrap());
    let seed = std::env::var("DAMAGE_SEED").map_or(1, |text| text.parse().unwrap());
    eprintln!("DAMAGE_SEED={seed} DAMAGE_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let mut samples = samples();
    let mut outcomes: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    for sample in 0..2 {
        for path in samples.files(sample) {
            let bytes = fs::read(samples.all[sample].1.join(&path)).unwrap();
            let places = written(&bytes);
            for round in 0..rounds {
                // Headers are a small part of large files, and the most delicate.
                let at = match round % 2 {
                    _ if places.is_empty() => continue,
                    0 => places[random.below(places.len().min(200) as u64) as usize],
                    _ => places[random.below(places.len() as u64) as usize],
                };
                let bit = random.below(8);
                let outcome = samples.judge(sample, &format!("bit {bit} of byte {at}"), &path, |path| {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= 1 << bit;
                    fs::write(path, bytes).unwrap();
                });
                let kind =
                    path.extension().unwrap_or(path.file_name().unwrap()).to_string_lossy().into_owned();
                let place = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
                *outcomes
                    .entry(format!("{place} {kind}"))
                    .or_default()
                    .entry(format!("{outcome:?}"))
                    .or_default() += 1;
            }
        }
    }
    eprintln!("{outcomes:#?}");
}

#[test]
fn a_file_that_is_cut_or_missing_is_named_or_made_again() {
    let mut samples = samples();
    for sample in 0..2 {
        for path in samples.files(sample) {
            samples.judge(sample, "the loss", &path, |path| fs::remove_file(path).unwrap());
            let length = fs::metadata(samples.all[sample].1.join(&path)).unwrap().len();
            samples.judge(sample, "the second half's loss", &path, |path| {
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
            });
        }
    }
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let mut samples = samples();
    for sample in 0..2 {
        let topic = samples.files(sample).into_iter().find(|path| path.starts_with("topics")).unwrap();
        for path in
            [Path::new("shard-0"), Path::new("metadata"), Path::new("topics"), topic.parent().unwrap()]
        {
            let outcome = samples.judge(sample, "the loss", path, |path| fs::remove_dir_all(path).unwrap());
            assert_ne!(outcome, Outcome::Identical, "{} cannot be done without", path.display());
        }
    }
}

#[test]
fn a_folder_of_another_version_is_refused_in_one_sentence() {
    let mut samples = samples();
    for version in ["corelane 2", "corelane 0", "kafka", ""] {
        let outcome =
            samples.judge(0, version, Path::new("format"), |path| fs::write(path, version).unwrap());
        assert_eq!(outcome, Outcome::StartRefused, "{version:?}");
        assert!(samples.broker.said().contains("written by another version of corelane"));
    }
}

#[test]
fn damaged_indexes_are_made_again() {
    let mut samples = samples();
    let indexes: Vec<PathBuf> =
        samples.files(1).into_iter().filter(|path| path.to_string_lossy().ends_with("index")).collect();
    assert!(!indexes.is_empty());
    for path in indexes {
        let whole = fs::read(samples.all[1].1.join(&path)).unwrap();
        for damage in [&whole[..whole.len() / 2], &[0xff; 64][..], &[][..]] {
            let outcome = samples.judge(1, "the content", &path, |path| fs::write(path, damage).unwrap());
            assert_eq!(outcome, Outcome::Identical, "{}", path.display());
            assert_eq!(fs::read(samples.data.join(&path)).unwrap(), whole, "{} is as it was", path.display());
        }
    }
}

#[test]
fn a_commit_log_that_is_not_mounted_is_missed() {
    let dir = folder();
    let (there, elsewhere) = (dir.path().join("commits"), dir.path().join("elsewhere"));
    let setting = format!("commit.log.dir={}", there.display());
    let settings: Vec<&str> = SETTINGS.iter().copied().chain([setting.as_str()]).collect();
    let mut broker = Broker::spawn_in(None, &[], &settings);
    let promised = fill(&broker);
    broker.kill();
    fs::rename(&there, &elsewhere).unwrap();
    let said = broker.try_restart().unwrap_err();
    assert!(said.contains("commits/shard-0 is damaged: the commit log is missing"), "{said}");
    assert!(said.contains("is its disk mounted?"), "{said}");
    fs::remove_dir_all(&there).unwrap();
    fs::rename(&elsewhere, &there).unwrap();
    assert_eq!(promised.judge(&mut broker, "no damage", &[]), Outcome::Identical);
}
