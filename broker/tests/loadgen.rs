//! The load generator against the broker, both as programs: what one writes the other keeps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::Broker;
use support::programs::built;

/// The load generator of the same build as the broker.
fn program() -> PathBuf {
    built("loadgen")
}

/// A run that ends well, as lines of a name and a figure.
fn run(program: &Path, broker: &Broker, line: &str) -> Vec<(String, String)> {
    let mut command = Command::new(program);
    let output =
        command.args(line.split_whitespace()).args(["--bootstrap", broker.bootstrap()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{line}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let pair =
        |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()));
    text.lines().filter_map(pair).collect()
}

fn figure<'a>(figures: &'a [(String, String)], name: &str) -> &'a str {
    &figures.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {figures:?}")).1
}

#[test]
fn what_the_load_generator_writes_is_kept_and_read() {
    let (program, broker) = (program(), Broker::spawn(&[]));
    let produced = run(&program, &broker, "produce --topic p --partitions 4 --records 20000 --linger-ms 1");
    assert_eq!(figure(&produced, "records"), "20000");
    let consumed = run(&program, &broker, "consume --topic p --check-crcs");
    assert_eq!(figure(&consumed, "records"), "20000");
    let timed =
        run(&program, &broker, "latency --topic l --partitions 2 --records 200 --rate 1000 --size 100");
    assert_eq!(figure(&timed, "records_read"), "200");
    let line = "verify --topic v --partitions 6 --records 30000 --size 100 --linger-ms 1 --threads 2";
    for topic in ["--codec none", "--topic-config segment.bytes=1048576 --codec lz4"] {
        let verified =
            run(&program, &broker, &line.replace("--topic v", &format!("--topic v{} {topic}", topic.len())));
        assert_eq!(figure(&verified, "verdict"), "clean", "{verified:?}");
        assert_eq!(figure(&verified, "afterwards_read"), "30000");
    }
}

/// A profile of the shortest points there are.
fn profile(program: &Path, broker: &Broker, folder: &Path, line: &str) -> Output {
    profiling(program, broker, folder, line).output().unwrap()
}

fn profiling(program: &Path, broker: &Broker, folder: &Path, line: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["profile", "--quick", "--seconds", "0.3", "--space", "0.5", "--out", "profile.json"])
        .args(["--bootstrap", broker.bootstrap(), "--pid", &broker.pid().to_string()])
        .args(["--metrics", &format!("http://{}", broker.admin())])
        .arg("--dir")
        .arg(broker.data_dir())
        .args(line.split_whitespace())
        .current_dir(folder);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_profile_is_measured_gone_on_with_and_makes_a_model() {
    let (program, reports, broker) = (program(), built("perf-reports"), Broker::spawn(&[]));
    let folder = tempfile::tempdir().unwrap();
    let begun = profile(&program, &broker, folder.path(), "--points 4");
    assert!(begun.status.success(), "{}", said(&begun));
    let again = profile(&program, &broker, folder.path(), "--points 4");
    assert_eq!(again.status.code(), Some(2), "what is there is not written over");
    assert!(said(&again).contains("--resume"), "{}", said(&again));
    let other = profile(&program, &broker, folder.path(), "--resume --rounds 5");
    assert_eq!(other.status.code(), Some(2));
    assert!(said(&other).contains("its extent is"), "{}", said(&other));
    let ended = profile(&program, &broker, folder.path(), "--resume --points 10");
    assert!(ended.status.success(), "{}", said(&ended));
    assert!(said(&ended).contains("points_made     10"), "{}", said(&ended));

    let text = std::fs::read_to_string(folder.path().join("profile.json")).unwrap();
    assert!(text.contains("\"name\": \"corelane "), "the name comes from the page of metrics");
    let count = |part: &str| text.matches(part).count();
    assert_eq!(count("\"host_cpu_s\": "), 14);
    let (calibration, held_out) = (count("\"role\": \"calibration\""), count("\"role\": \"held_out\""));
    assert!(calibration >= 8 && held_out >= 2, "{calibration} {held_out}");
    let validated = Command::new(&reports)
        .args(["plan", "--profile", "profile.json", "--validate"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(validated.status.success(), "{}", said(&validated));
    assert!(said(&validated).contains("Median error of points held out of the fit"), "{}", said(&validated));

    assert!(!topics(&broker).contains("loadgen-profile"), "topics are gone: {}", topics(&broker));
}

fn topics(broker: &Broker) -> String {
    let listed = Command::new(env!("CARGO_BIN_EXE_corelane"))
        .args(["topic", "list", "--server", broker.bootstrap()])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", said(&listed));
    said(&listed)
}

#[test]
fn an_interrupted_profile_keeps_its_points_and_leaves_no_topic() {
    let (program, broker) = (program(), Broker::spawn(&[]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.json");
    let mut command = profiling(&program, &broker, folder.path(), "");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let points = || std::fs::read_to_string(&file).unwrap_or_default().matches("\"role\": ").count();
    let began = Instant::now();
    while points() < 2 {
        assert!(began.elapsed() < Duration::from_secs(120), "two points are made in two minutes");
        std::thread::sleep(Duration::from_millis(50));
    }
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(said(&output).contains("interrupted"), "{}", said(&output));
    let made = points();
    assert!((2..20).contains(&made), "{made}");
    assert!(!topics(&broker).contains("loadgen-profile"), "{}", topics(&broker));
    let gone_on = profile(&program, &broker, folder.path(), "--resume --points 1");
    assert!(gone_on.status.success(), "{}", said(&gone_on));
    assert_eq!(points(), made + 1);
}

#[test]
fn a_process_that_idles_while_the_broker_is_loaded_is_not_the_broker() {
    let (program, broker) = (program(), Broker::spawn(&[]));
    let folder = tempfile::tempdir().unwrap();
    let mut idle = Command::new("sleep").arg("600").spawn().unwrap();
    let output = Command::new(&program)
        .args(["profile", "--quick", "--seconds", "0.2", "--space", "0.2", "--out", "profile.json"])
        .args(["--bootstrap", broker.bootstrap(), "--pid", &idle.id().to_string(), "--dir", "."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("it is not that broker (--pid)"), "{}", said(&output));
    assert!(!topics(&broker).contains("loadgen-profile"), "{}", topics(&broker));
}
