//! The admin port of the real binary: its figures move with traffic, its health turns red and green again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]
#![allow(clippy::float_cmp, reason = "counts are whole")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use support::Broker;
use support::admin::Admin;
use support::faults::Faults;
use support::records::{Random, Record, assert_topic_holds, send};

/// Status and body of an answer.
fn get(broker: &Broker, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(broker.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Samples of the page by name and labels, as they are written, after a look at the form of every line.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn of(broker: &Broker) -> Page {
        let (status, text) = get(broker, "/metrics");
        assert_eq!(status, 200);
        let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("the page ends as it must: {text}"));
        let mut samples = BTreeMap::new();
        let mut family = String::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(["HELP", "TYPE", "UNIT"].contains(&keyword) && words.next().is_some(), "{line}");
                name.clone_into(&mut family);
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line} belongs to {family}");
            let again = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(again, None, "{name} is there once");
        }
        Page(samples)
    }

    /// The sum of all samples of a name, whatever their labels.
    fn sum(&self, name: &str) -> f64 {
        let mut found = self.0.iter().filter(|(key, _)| key.split('{').next() == Some(name)).peekable();
        assert!(found.peek().is_some(), "no {name}");
        found.map(|(_, value)| value).sum()
    }

    fn one(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0.keys().collect::<Vec<_>>()))
    }
}

const PLAIN: [(&str, &str); 2] = [("acks", "all"), ("retries", "0")];

fn produce(broker: &Broker, topic: &str, count: i32) -> (Vec<Record>, usize) {
    let mut random = Random::new(5);
    let mut records: Vec<_> = (0..count).map(|_| Record::new(0, random.bytes(1_000))).collect();
    let refused =
        send(broker.bootstrap(), topic, &PLAIN, &mut records).iter().filter(|answer| answer.is_err()).count();
    (records, refused)
}

fn await_ready(broker: &Broker, wanted: u16, because: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, text) = get(broker, "/health/ready");
        if status == wanted {
            assert!(text.contains(because), "{text}");
            return;
        }
        assert!(Instant::now() < deadline, "still {status}: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn figures_move_with_traffic() {
    let broker = Broker::spawn(&[]);
    let before = Page::of(&broker);
    assert_eq!((before.one("corelane_ready"), before.sum("corelane_shard_up")), (1.0, 2.0));
    let admin = Admin::new(&broker);
    let topic = admin.create("counted", 4);
    let (records, refused) = produce(&broker, &topic, 500);
    assert_eq!(refused, 0);
    assert_topic_holds(broker.bootstrap(), &topic, 4, &records);
    let after = Page::of(&broker);
    // The consumer's group has made a topic of its own.
    assert!(after.one("corelane_topics") >= 1.0 && after.one("corelane_partitions") >= 4.0);
    assert_eq!(after.one("corelane_appended_records_total"), 500.0);
    let bytes = after.one("corelane_appended_bytes_total");
    assert!((500_000.0..600_000.0).contains(&bytes), "{bytes}");
    assert!(after.one("corelane_received_bytes_total") > bytes);
    assert!(after.one("corelane_sent_bytes_total") > bytes, "the records were fetched");
    assert!(after.sum("corelane_fetch_read_bytes_total") >= bytes);
    let commits = after.sum("corelane_commit_latency_seconds_count");
    assert!(commits >= 1.0 && after.sum("corelane_commit_latency_seconds_sum") > 0.0);
    assert!(after.sum("corelane_commit_size_bytes_sum") > bytes);
    assert!(after.one("corelane_request_latency_seconds_count{api=\"Produce\"}") >= 1.0);
    let bucket = "corelane_request_latency_seconds_bucket{le=\"+Inf\",api=\"Produce\"}";
    assert_eq!(after.one(bucket), after.one("corelane_request_latency_seconds_count{api=\"Produce\"}"));
    assert!(after.one("corelane_request_latency_seconds_count{api=\"Fetch\"}") >= 1.0);
    assert!(
        after.one("corelane_connections_accepted_total") > before.one("corelane_connections_accepted_total")
    );
    assert!(after.sum("corelane_reactor_turns_total") > before.sum("corelane_reactor_turns_total"));
    assert!(after.one("process_resident_memory_bytes") > 1e6 && after.one("process_cpu_seconds_total") > 0.0);
    // A failure has its code.
    let mut malformed = TcpStream::connect(broker.bootstrap()).unwrap();
    malformed.write_all(&[0, 0, 0, 0]).unwrap();
    assert_eq!(malformed.read(&mut [0]).unwrap(), 0);
    assert!(admin.delete("no-such-topic").is_err());
    let last = Page::of(&broker);
    assert_eq!(last.one("corelane_connections_closed_total{reason=\"malformed\"}"), 1.0);
    let unknown = "corelane_request_errors_total{api=\"DeleteTopics\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}";
    assert_eq!(last.one(unknown), 1.0);
    // Counters only grow.
    for (name, value) in after.0.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(last.one(name) >= *value, "{name}");
    }
}

#[test]
fn every_metric_is_explained_and_every_one_explained_is_there() {
    let broker = Broker::spawn(&[]);
    let (_, text) = get(&broker, "/metrics");
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let is_metric = |name: &&str| name.starts_with("corelane_") || name.starts_with("process_");
    let explained: BTreeSet<String> = rows.filter(is_metric).map(str::to_owned).collect();
    assert_eq!(shown, explained);
    assert!(shown.len() > 60, "{shown:?}");
}

#[test]
fn what_is_shown_does_not_grow_with_partitions() {
    let broker = Broker::spawn(&[]);
    let admin = Admin::new(&broker);
    admin.create("few", 1);
    let few = Page::of(&broker).0.len();
    admin.create("many", 200);
    let page = Page::of(&broker);
    assert_eq!(page.one("corelane_partitions"), 201.0);
    // A kind of task or error may have come up meanwhile.
    assert!(page.0.len() < few + 50, "{few} and {}", page.0.len());
}

#[test]
fn a_commit_log_that_fails_turns_readiness_red_and_a_restart_green() {
    let faults = Faults::none();
    let mut broker = Broker::spawn_in(None, &faults.env(), &[]);
    await_ready(&broker, 200, "ok");
    let topic = Admin::new(&broker).create("poisoned", 1);
    faults.set(&["write */ring-* EIO"]);
    assert_eq!(produce(&broker, &topic, 1).1, 1, "refused");
    await_ready(&broker, 503, "the commit log has failed, produce is refused");
    assert_eq!(get(&broker, "/health/live"), (200, "ok\n".to_owned()), "reads go on: it is not dead");
    let page = Page::of(&broker);
    assert_eq!((page.one("corelane_ready"), page.sum("corelane_commit_log_poisoned")), (0.0, 1.0));
    faults.set(&[]);
    broker.kill();
    broker.restart();
    await_ready(&broker, 200, "ok");
}

#[test]
fn a_taken_admin_port_refuses_the_start_and_none_is_none() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_corelane"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .args(["--set", &format!("admin.listener={address}")])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&format!("cannot serve metrics and health on {address}")), "{text}");
    assert!(text.contains("admin.listener=host:port"), "{text}");
    assert!(!data.path().join("format").exists(), "nothing was touched");
    let broker = Broker::spawn(&["admin.listener=none"]);
    assert_eq!(broker.admin(), "none");
}

#[test]
fn log_lines_are_json_when_asked_for() {
    let broker = Broker::spawn(&["log.format=json", "no.such.setting=1"]);
    let text = broker.said();
    let warning = text.lines().find(|line| line.contains("no.such.setting")).expect("a line");
    assert!(warning.starts_with('{') && warning.ends_with('}'), "{warning}");
    assert!(warning.contains("\"level\":\"WARN\"") && warning.contains("\"what\":"), "{warning}");
}

#[test]
fn connections_that_say_nothing_keep_nobody_from_the_admin_port_for_ever() {
    let broker = Broker::spawn(&[]);
    let silent: Vec<_> = (0..60).map(|_| TcpStream::connect(broker.admin()).unwrap()).collect();
    assert_eq!(get(&broker, "/health/live").0, 200, "{} are open", silent.len());
    for _ in 0..200 {
        assert_eq!(get(&broker, "/health/ready").0, 200, "slots are given back");
    }
}

#[test]
fn a_full_disk_turns_readiness_red_until_there_is_room() {
    let faults = Faults::none();
    let settings = ["dirty.bytes=1048576", "commit.log.bytes=8388608", "log.segment.bytes=1048576"];
    let broker = Broker::spawn_in(None, &faults.env(), &settings);
    let topic = Admin::new(&broker).create("full", 1);
    faults.set(&["write */topics/* ENOSPC", "allocate * ENOSPC"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while produce(&broker, &topic, 1_000).1 == 0 {
        assert!(Instant::now() < deadline, "never full");
    }
    await_ready(&broker, 503, "free space is below the reserve, produce is refused");
    assert_eq!(Page::of(&broker).sum("corelane_no_space"), 1.0);
    assert_eq!(get(&broker, "/health/live").0, 200);
    faults.set(&[]);
    await_ready(&broker, 200, "ok");
    assert_eq!(Page::of(&broker).sum("corelane_no_space"), 0.0);
}

#[test]
fn a_task_that_holds_a_core_is_counted_and_named() {
    let faults = Faults::none();
    let broker = Broker::spawn_in(None, &faults.env(), &["cores=1"]);
    let topic = Admin::new(&broker).create("held", 1);
    let longest = "corelane_reactor_longest_poll_seconds{shard=\"0\",task=\"commit-log\"}";
    let before = Page::of(&broker).0.get(longest).copied().unwrap_or(0.0);
    assert!(before < 0.005, "{before}");
    faults.set(&["write */ring-* BUSY=7 times=3"]);
    assert_eq!(produce(&broker, &topic, 10).1, 0, "slow, and all taken");
    let deadline = Instant::now() + Duration::from_secs(30);
    let page = loop {
        let page = Page::of(&broker);
        if page.0.get(longest).is_some_and(|seconds| *seconds >= 0.007) {
            break page;
        }
        assert!(Instant::now() < deadline, "not seen: {:?}", page.0);
        produce(&broker, &topic, 10);
    };
    let count = page.one("corelane_reactor_long_polls_total{shard=\"0\",task=\"commit-log\"}");
    assert!(count >= 1.0, "{count}");
    while !broker.said().contains("a task held the core") {
        assert!(Instant::now() < deadline, "not said: {}", broker.said());
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = broker.said();
    let line = said.lines().find(|line| line.contains("a task held the core")).unwrap();
    assert!(line.contains("commit-log") && line.contains("ms="), "{line}");
}
