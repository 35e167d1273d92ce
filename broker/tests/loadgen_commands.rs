//! Every command of the load generator against the broker, both as programs: the figures of its run files. Its profiles are in
//! `loadgen.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::Broker;
use support::programs::built;
use tempfile::TempDir;

/// The load generator, and a folder for its files.
struct Loadgen {
    program: PathBuf,
    folder: TempDir,
}

/// What a run left behind.
struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
    /// Null when there is no run file.
    file: Value,
}

impl Loadgen {
    fn new() -> Self {
        Self { program: built("loadgen"), folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Runs a command line against a broker, with a run file.
    fn try_run(&self, bootstrap: &str, line: &str) -> Run {
        let path = self.folder.path().join("run.json");
        let _ = fs::remove_file(&path);
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).args(["--bootstrap", bootstrap, "--json", "run.json"]);
        let output = command.current_dir(self.folder.path()).output().unwrap();
        let file = fs::read_to_string(&path).ok();
        Run {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            file: file.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()),
        }
    }

    /// A run that ends well.
    fn run(&self, broker: &Broker, line: &str) -> Run {
        let run = self.try_run(broker.bootstrap(), line);
        assert_eq!(run.status, Some(0), "{line}\n{}{}", run.stdout, run.stderr);
        assert_eq!(run.file["failed"], false, "{line}");
        run
    }

    /// A run that is refused with one sentence, and leaves no file.
    fn refused(&self, bootstrap: &str, line: &str, why: &str) {
        let run = self.try_run(bootstrap, line);
        assert_eq!(run.status, Some(2), "{line}\n{}{}", run.stdout, run.stderr);
        assert!(run.stderr.starts_with("loadgen: ") && run.stderr.contains(why), "{line}\n{}", run.stderr);
        assert_eq!((run.stderr.lines().count(), run.stdout.len()), (1, 0), "{line}\n{}", run.stderr);
        assert!(run.file.is_null(), "{line}");
    }
}

impl Run {
    /// A figure of the first part.
    fn count(&self, name: &str) -> u64 {
        self.count_of(0, name)
    }

    fn count_of(&self, part: usize, name: &str) -> u64 {
        let results = &self.file["parts"][part]["results"];
        results[name].as_u64().unwrap_or_else(|| panic!("no {name} in {results}"))
    }

    fn text(&self, name: &str) -> &str {
        self.file["parts"][0]["results"][name].as_str().unwrap_or_default()
    }

    /// How many latencies of this name were counted in the first part.
    fn latencies(&self, name: &str) -> u64 {
        let all = self.file["parts"][0]["latencies"].as_array().unwrap();
        let found = all.iter().find(|latency| latency["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {all:?}"))["count"].as_u64().unwrap()
    }
}

#[test]
fn what_the_load_generator_writes_is_kept_and_read() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&[]));
    let produced = loadgen.run(&broker, "produce --topic p --partitions 4 --records 20000 --linger-ms 1");
    assert_eq!(produced.count("records"), 20_000);
    for line in ["consume --topic p --check-crcs", "consume --topic p --walk --isolation read_committed"] {
        let consumed = loadgen.run(&broker, line);
        assert_eq!((consumed.count("records"), consumed.count("lag")), (20_000, 0), "{line}");
        assert_eq!(consumed.count("batch_bytes"), produced.count("batch_bytes"), "{line}");
    }
    let timed = loadgen.run(&broker, "latency --topic l --partitions 2 --records 200 --rate 1000 --size 100");
    assert_eq!((timed.count("records_read"), timed.latencies("end_to_end")), (200, 200));
    let line = "verify --partitions 6 --records 30000 --size 100 --linger-ms 1 --threads 2 --pin 0";
    for more in ["--topic v", "--topic w --topic-config segment.bytes=1048576 --codec lz4"] {
        let verified = loadgen.run(&broker, &format!("{line} {more}"));
        assert_eq!(verified.text("verdict"), "clean", "{}", verified.stdout);
        assert_eq!((verified.count("alongside_read"), verified.count("afterwards_read")), (30_000, 30_000));
    }
}

#[test]
fn the_parts_of_a_scenario_find_what_the_ones_before_have_left() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&[]));
    let scenario = "name = \"small\"\n[defaults]\ntopic = \"s\"\npartitions = 3\nsize = 200\n\
                    [[part]]\nname = \"fill\"\ncommand = \"produce\"\nrecords = 30_000\nlinger_ms = 2\n\
                    [[part]]\nname = \"readers\"\ncommand = \"consume\"\nafter = \"fill\"\ncount = 2\n\
                    [[part]]\nname = \"tail\"\ncommand = \"latency\"\nafter = \"fill\"\ntopic = \"t\"\n\
                    rate = 500\nrecords = 400\n";
    loadgen.write("small.toml", scenario);
    let run = loadgen.run(&broker, "scenario small.toml --set tail.records=300");
    assert_eq!(
        (run.file["command"].as_str(), run.file["scenario"]["name"].as_str()),
        (Some("scenario"), Some("small"))
    );
    assert_eq!(run.file["parts"].as_array().unwrap().len(), 4);
    let records: Vec<u64> = (0..4).map(|part| run.count_of(part, "records")).collect();
    assert_eq!(records, [30_000, 30_000, 30_000, 300]);
    assert_eq!(run.count_of(3, "records_read"), 300);
    let wrong = scenario.replace("linger_ms", "linger");
    loadgen.write("wrong.toml", &wrong);
    loadgen.refused(broker.bootstrap(), "scenario wrong.toml", "wrong.toml:10: unknown key \"linger\"");
}

#[test]
fn a_soak_that_keeps_its_bounds_is_clean_and_one_that_does_not_fails_the_run() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&[]));
    let line = "soak --topic s --partitions 3 --rate 400 --seconds 2 --size 100 --done-part-min 0.5";
    let good = loadgen.run(&broker, &format!("{line} --errors-max 0 --latency-ms-max 60000"));
    assert_eq!((good.text("verdict"), good.count("checks")), ("clean", 3));
    assert!(good.count("records") >= 400, "{}", good.stdout);
    assert_eq!(good.count("alongside_read"), good.count("records"));
    assert_eq!(good.latencies("produce"), good.count("records"));
    let bad = loadgen.try_run(broker.bootstrap(), &format!("{line} --p99-ms-max 0.001"));
    assert_eq!((bad.status, bad.file["failed"].as_bool()), (Some(1), Some(true)), "{}", bad.stderr);
    let fault = bad.file["faults"][0].as_str().unwrap();
    assert!(
        fault.starts_with("produce_p99_ms is ") && fault.ends_with("stated was at most 0.001"),
        "{fault}"
    );
}

#[test]
fn members_of_groups_come_and_go_at_the_broker() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&["group.initial.rebalance.delay.ms=0"]));
    let line =
        "groups --topic g --partitions 6 --groups 2 --members 3 --seconds 3 --churn 1 --heartbeat-ms 50";
    let run = loadgen.run(&broker, line);
    assert_eq!((run.count("groups"), run.count("members_each")), (2, 3));
    assert_eq!(run.latencies("form"), 2, "each group formed once");
    // Two groups for three seconds, a member a second goes and another comes: two rebalances each, less what ran together.
    assert!((4..=14).contains(&run.count("rebalances")), "{}", run.stdout);
    assert_eq!(run.latencies("form") + run.latencies("rebalance"), run.count("rebalances"));
    assert!(run.latencies("join") >= 2, "{}", run.stdout);
}

#[test]
fn topics_are_made_kept_and_removed_at_the_broker() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&[]));
    let line = "topics --count 30 --partitions 4 --batch 7 --threads 2 --prefix bulk-";
    let run = loadgen.run(&broker, line);
    assert_eq!((run.count("created"), run.count("deleted")), (30, 30));
    assert_eq!((run.latencies("create"), run.latencies("delete")), (6, 6), "15 a thread, 7 a request");
    let kept = loadgen.run(&broker, &format!("{line} --keep"));
    assert_eq!((kept.count("created"), kept.count("deleted")), (30, 0));
    let written = loadgen.run(&broker, "produce --topic bulk-000029 --records 100 --size 50");
    assert_eq!((written.count("records"), written.count("partitions")), (100, 4));
    let removed = loadgen.run(&broker, &format!("{line} --only-delete"));
    assert_eq!((removed.count("created"), removed.count("deleted")), (0, 30));
    loadgen.refused(broker.bootstrap(), "consume --topic bulk-000029", "topic bulk-000029 does not exist");
}

#[test]
fn connections_are_held_by_the_broker_and_come_and_go() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&[]));
    let run = loadgen.run(&broker, "connections --count 60 --threads 2 --seconds 2 --churn 25");
    assert_eq!((run.count("connections_open_max"), run.count("failed"), run.count("lost")), (60, 0, 0));
    assert!((25..=51).contains(&run.count("churned")), "{}", run.stdout);
    assert_eq!(run.count("opened"), 60 + run.count("churned"));
    assert_eq!(run.latencies("connect"), run.count("opened"));
}

#[test]
fn what_cannot_be_run_is_said_in_one_sentence() {
    let (loadgen, broker) = (Loadgen::new(), Broker::spawn(&[]));
    loadgen.refused("127.0.0.1:1", "produce --partitions 1", "cannot connect to 127.0.0.1:1");
    loadgen.refused(
        broker.bootstrap(),
        "consume --topic nowhere",
        "topic nowhere does not exist on 127.0.0.1",
    );
    loadgen.refused(broker.bootstrap(), "produce --topic nowhere", "give --partitions to create it");
    // What the broker does not offer.
    let line = "verify --topic t --partitions 1 --transactional-id-prefix t";
    loadgen.refused(broker.bootstrap(), line, "does not offer transactions");
    loadgen.write("password", "secret\n");
    loadgen.write("nobody.pem", NOBODY);
    let line = "produce --sasl-mechanism PLAIN --sasl-user alice --sasl-password-file password";
    loadgen.refused(broker.bootstrap(), line, "does not let alice in: it offers no login");
    loadgen.refused(broker.bootstrap(), "produce --tls-ca nobody.pem", "no TLS with 127.0.0.1");
    loadgen.refused(broker.bootstrap(), "produce --tls-ca password", "cannot use password");
}

/// An authority that vouches for nobody.
const NOBODY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUVICClbTXn7W4ikwMTV3lB1nx7IcwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMTIzMzQyOVoYDzIxMjYxMDI4MjMz
NDI5WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAT+E20hriX7hZd8Ak7PCKt4RzLp1cRLV9UKnsruHysk6q1WuBMB3fDBNeu6iUyJ
vN/BnNJgDgIftNzYvw+zlmzAo1MwUTAdBgNVHQ4EFgQU586sq8gMOD64O//myeQC
iWFAQFkwHwYDVR0jBBgwFoAU586sq8gMOD64O//myeQCiWFAQFkwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiBUXMfmmiqIlEiF8q6IBFQQNU01YQCZ
jo+soITofgWkGAIgMQb43ZoPsHf0/WNKPvnrtTu6iJUS362Fq7kwonjp1iQ=
-----END CERTIFICATE-----
";
