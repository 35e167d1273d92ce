//! The load generator against the broker, both as programs: what one writes the other keeps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::Broker;

/// The load generator of the same build as the broker; built here when only the broker's tests were asked for.
fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_corelane")).parent().unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").expect("run by cargo"));
    build.args(["build", "--quiet", "--locked", "-p", "loadgen", "--target-dir"]);
    build.arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "loadgen does not build");
    folder.join("loadgen")
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
