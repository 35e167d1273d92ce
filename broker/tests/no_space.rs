//! A full disk is a state that ends: produces get a retriable error, all else goes on, and with room everything resumes.
//!
//! Two disks. One is simulated by faults in the reactor's file layer, which any user can run. The other is an image file
//! with ext4 on it, mounted by loop and filled to the last block: it needs root. Where it cannot be mounted the test says
//! so, and fails when `REQUIRE_LOOP` is set, as the gate does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode::{self, KafkaStorageError};
use support::Broker;
use support::admin::Admin;
use support::faults::Faults;
use support::records::{Answer, Random, Record, assert_topic_holds, send};

/// Acknowledged or refused at once: no retries that would hide the refusal.
const PLAIN: [(&str, &str); 3] = [("acks", "all"), ("retries", "0"), ("batch.num.messages", "50")];
const PATIENCE: Duration = Duration::from_secs(30);

fn records(random: &mut Random, count: i32, bytes: usize) -> Vec<Record> {
    (0..count).map(|_| Record::new(0, random.bytes(bytes))).collect()
}

/// What of a topic was acknowledged.
#[derive(Default)]
struct Acknowledged(Vec<Record>);

impl Acknowledged {
    /// Produces, and keeps what was acknowledged; the other answers.
    fn produce(&mut self, broker: &Broker, topic: &str, records: Vec<Record>) -> Vec<RDKafkaErrorCode> {
        let mut records = records;
        let answers = send(broker.bootstrap(), topic, &PLAIN, &mut records);
        let is_ok = |answer: &Answer| answer.is_ok();
        self.0.extend(
            records.into_iter().zip(&answers).filter(|(_, answer)| is_ok(answer)).map(|(record, _)| record),
        );
        answers.into_iter().filter_map(Result::err).collect()
    }

    fn assert_there(&self, broker: &Broker, topic: &str) {
        assert_topic_holds(broker.bootstrap(), topic, 1, &self.0);
    }
}

/// Produces until it is refused.
fn fill(broker: &Broker, topic: &str, acknowledged: &mut Acknowledged, random: &mut Random) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "the disk is never full\n{}", broker.log_tail());
        let refused = acknowledged.produce(broker, topic, records(random, 100, 40_000));
        if !refused.is_empty() {
            assert!(refused.iter().all(|code| *code == KafkaStorageError), "{refused:?}");
            return;
        }
    }
}

fn assert_refused(broker: &Broker, topic: &str, acknowledged: &mut Acknowledged, random: &mut Random) {
    let refused = acknowledged.produce(broker, topic, records(random, 3, 100));
    assert_eq!(refused, [KafkaStorageError; 3], "{}", broker.log_tail());
}

/// Without a restart, within seconds.
fn await_resumed(broker: &Broker, topic: &str, acknowledged: &mut Acknowledged, random: &mut Random) {
    let deadline = Instant::now() + PATIENCE;
    while !acknowledged.produce(broker, topic, records(random, 1, 100)).is_empty() {
        assert!(Instant::now() < deadline, "produces do not resume\n{}", broker.log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_file_system_that_refuses_writes_stops_produces_until_it_takes_them_again() {
    let faults = Faults::none();
    let settings = ["dirty.bytes=1048576", "commit.log.bytes=8388608", "log.segment.bytes=1048576"];
    let mut broker = Broker::spawn_in(None, &faults.env(), &settings);
    broker.await_said("fault rules of");
    let admin = Admin::new(&broker);
    let topic = admin.create("quota", 1);
    let mut random = Random::new(11);
    let mut acknowledged = Acknowledged::default();
    acknowledged.produce(&broker, &topic, records(&mut random, 20, 10_000));

    faults.set(&["write */topics/* EDQUOT", "allocate * EDQUOT", "write */checkpoint-* ENOSPC"]);
    fill(&broker, &topic, &mut acknowledged, &mut random);
    acknowledged.assert_there(&broker, &topic);
    assert!(!broker.said().contains("partition offline"), "{}", broker.log_tail());

    faults.set(&[]);
    await_resumed(&broker, &topic, &mut acknowledged, &mut random);
    // Batches too that only a grown commit log takes.
    let deadline = Instant::now() + PATIENCE;
    while !acknowledged.produce(&broker, &topic, records(&mut random, 100, 40_000)).is_empty() {
        assert!(Instant::now() < deadline, "large batches do not resume\n{}", broker.log_tail());
    }
    acknowledged.assert_there(&broker, &topic);

    faults.set(&["write */topics/* ENOSPC"]);
    fill(&broker, &topic, &mut acknowledged, &mut random);
    broker.kill();
    broker.restart();
    acknowledged.assert_there(&broker, &topic);
    faults.set(&[]);
    await_resumed(&broker, &topic, &mut acknowledged, &mut random);
    acknowledged.assert_there(&broker, &topic);
}

#[test]
fn metadata_changes_on_a_full_disk_in_the_room_of_its_reserve() {
    let faults = Faults::none();
    let broker = Broker::spawn_in(None, &faults.env(), &[]);
    let admin = Admin::new(&broker);
    let topic = admin.create("goes", 1);
    let reserve = broker.data_dir().join("metadata/reserve");
    assert!(reserve.exists());
    faults.set(&["write */metadata/* ENOSPC times=1"]);
    admin.delete(&topic).unwrap();
    broker.await_said("the reserve of the metadata log is used");
    assert!(reserve.exists(), "made again, as there is space");
    faults.set(&["write */metadata/* ENOSPC"]);
    assert_eq!(
        admin.try_create(&NewTopic::new("refused", 1, TopicReplication::Fixed(1))),
        Err(KafkaStorageError)
    );
    faults.set(&[]);
    admin.create("again", 1);
}

/// An ext4 file system in a file, unmounted when dropped.
struct Loop {
    dir: tempfile::TempDir,
}

impl Loop {
    /// `None`, said loudly, where it cannot be mounted.
    fn mount(bytes: u64) -> Option<Self> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::Builder::new().prefix("loop-").tempdir_in(target).unwrap();
        File::create(dir.path().join("image")).unwrap().set_len(bytes).unwrap();
        fs::create_dir(dir.path().join("mounted")).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&dir.path().join("image")]).and_then(|()| {
            run("mount", &["-o", "loop"], &[&dir.path().join("image"), &dir.path().join("mounted")])
        });
        match made {
            Ok(()) => Some(Self { dir }),
            Err(why) => {
                let text = format!(
                    "NOT TESTED: a full file system on a loop device, which needs root, mkfs.ext4 and loop devices: {why}"
                );
                assert!(std::env::var_os("REQUIRE_LOOP").is_none(), "{text}");
                eprintln!("\n{text}\n");
                None
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Writes a file until nothing more fits.
    fn fill_to_the_brim(&self) -> PathBuf {
        Self::fill_folder(&self.path())
    }

    fn fill_folder(folder: &Path) -> PathBuf {
        let path = folder.join("filler");
        let mut file = File::create(&path).unwrap();
        for length in [1 << 20, 4096, 512] {
            while file.write_all(&vec![7; length]).is_ok() {}
        }
        // What the page cache took may still be refused by the file system.
        let _ = file.sync_all();
        path
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A killed broker's last operations end a moment after it.
        for _ in 0..50 {
            if run("umount", &[], &[&self.path()]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{} stays mounted", self.path().display());
    }
}

fn run(command: &str, options: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(command).args(options).args(paths).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {said}")) }
}

#[test]
fn a_file_system_filled_to_the_brim_loses_nothing_and_resumes_when_there_is_room() {
    let Some(disk) = Loop::mount(256 << 20) else { return };
    let settings = [
        "free.bytes.min=33554432",
        "dirty.bytes=8388608",
        "commit.log.bytes=16777216",
        "log.segment.bytes=4194304",
    ];
    let data = disk.path().join("data");
    let mut broker = Broker::spawn_in(Some(&data), &[], &settings);
    let admin = Admin::new(&broker);
    let (kept, victim) = (admin.create("kept", 1), admin.create("victim", 1));
    let mut random = Random::new(5);
    let (mut kept_records, mut victim_records) = (Acknowledged::default(), Acknowledged::default());
    kept_records.produce(&broker, &kept, records(&mut random, 400, 40_000));

    // Its own records fill it: the reserve stays.
    fill(&broker, &victim, &mut victim_records, &mut random);
    fill(&broker, &kept, &mut kept_records, &mut random);
    assert_refused(&broker, &kept, &mut kept_records, &mut random);
    kept_records.assert_there(&broker, &kept);
    victim_records.assert_there(&broker, &victim);

    // Somebody else takes the rest, and the process dies on the full disk.
    let filler = disk.fill_to_the_brim();
    broker.kill();
    broker.restart();
    assert_refused(&broker, &kept, &mut kept_records, &mut random);
    kept_records.assert_there(&broker, &kept);
    victim_records.assert_there(&broker, &victim);

    // DeleteRecords and DeleteTopics work there, and are what makes room.
    let start = kept_records.0.len() / 2;
    let admin = Admin::new(&broker);
    admin.delete_records(&kept, 0, start as i64).unwrap();
    admin.delete(&victim).unwrap();
    await_resumed(&broker, &kept, &mut kept_records, &mut random);
    kept_records.0.drain(..start);
    kept_records.assert_there(&broker, &kept);

    // To the brim under load, at any moment; then the filler goes.
    fs::remove_file(&filler).unwrap();
    let more = std::thread::spawn({
        let disk = disk.path();
        move || {
            std::thread::sleep(Duration::from_millis(300));
            Loop::fill_folder(&disk)
        }
    });
    fill(&broker, &kept, &mut kept_records, &mut random);
    let filler = more.join().unwrap();
    assert_refused(&broker, &kept, &mut kept_records, &mut random);
    kept_records.assert_there(&broker, &kept);
    broker.kill();
    broker.restart();
    kept_records.assert_there(&broker, &kept);
    fs::remove_file(&filler).unwrap();
    await_resumed(&broker, &kept, &mut kept_records, &mut random);
    broker.stop();
}
