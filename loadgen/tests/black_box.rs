//! The program from outside: against a broker that behaves, and against brokers that do not.

#![allow(clippy::unwrap_used)]

mod broker;

use std::fmt::Write as _;
use std::process::{Command, Output};

use broker::{Broker, Fault};

/// A run's exit status, what it printed, and its figures.
struct Run {
    status: Option<i32>,
    text: String,
}

impl Run {
    /// Runs `loadgen` with these arguments; the bootstrap broker is added.
    fn of(broker: &str, line: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(line.split_whitespace()).args(["--bootstrap", broker, "--timeout-ms", "5000"]);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let mut text = String::from_utf8(stdout).unwrap();
        write!(text, "{}", String::from_utf8(stderr).unwrap()).unwrap();
        Self { status: status.code(), text }
    }

    fn figure(&self, name: &str) -> &str {
        let line =
            self.text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {name} in:\n{}", self.text)).trim()
    }
}

fn run(fault: Fault, line: &str) -> Run {
    Run::of(&Broker::start(fault).address.to_string(), line)
}

/// 60 and more batches in 3 partitions.
const VERIFY: &str = "verify --partitions 3 --records 5000 --size 100 --batch-bytes 4000";

#[test]
fn what_was_produced_is_consumed() {
    let broker = Broker::start(Fault::None).address.to_string();
    let produced =
        Run::of(&broker, "produce --partitions 4 --records 10007 --size 50 --batch-bytes 3000 --threads 2");
    assert_eq!((produced.status, produced.figure("records")), (Some(0), "10007"), "{}", produced.text);
    assert_eq!(produced.figure("value_bytes"), "500350");
    let consumed = Run::of(&broker, "consume --check-crcs");
    assert_eq!((consumed.status, consumed.figure("records")), (Some(0), "10007"), "{}", consumed.text);
    assert_eq!(consumed.figure("batch_bytes"), produced.figure("batch_bytes"));
}

#[test]
fn what_nobody_acknowledges_is_sent_all_the_same() {
    let broker = Broker::start(Fault::None).address.to_string();
    let line = "produce --partitions 2 --records 20000 --size 100 --batch-bytes 2000 --acks 0";
    let produced = Run::of(&broker, line);
    assert_eq!((produced.status, produced.figure("records")), (Some(0), "20000"), "{}", produced.text);
    assert_eq!(produced.figure("latency_to"), "handing to the socket");
    // The broker may still be reading what the socket took.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(Run::of(&broker, "consume").figure("records"), "20000");
}

#[test]
fn a_batch_that_lingers_is_sent_also_when_there_is_no_room_for_more() {
    // 64 partitions with 1 MiB batches gather far more than may wait for acknowledgement.
    let line = "produce --partitions 64 --records 40000 --size 1000 --batch-bytes 1000000 --linger-ms 50 --rate 200000";
    let run = run(Fault::None, line);
    assert_eq!((run.status, run.figure("records")), (Some(0), "40000"), "{}", run.text);
}

#[test]
fn a_rate_is_kept_and_every_record_is_timed() {
    let run = run(Fault::None, "latency --partitions 2 --records 300 --size 40 --rate 1000 --linger-ms 1");
    assert_eq!((run.status, run.figure("records_read")), (Some(0), "300"), "{}", run.text);
    let seconds: f64 = run.figure("seconds").parse().unwrap();
    assert!(seconds >= 0.299, "{seconds}");
}

#[test]
fn ping_pong_reads_each_record_before_the_next() {
    let run = run(Fault::None, "latency --partitions 1 --records 20 --size 40");
    assert_eq!((run.status, run.figure("requests"), run.figure("records_read")), (Some(0), "20", "20"));
}

#[test]
fn many_partitions_that_end_one_after_the_other_are_read_to_their_ends() {
    let run = run(Fault::None, "verify --partitions 500 --records 20000 --size 40 --linger-ms 2 --threads 2");
    assert_eq!((run.status, run.figure("verdict")), (Some(0), "clean"), "{}", run.text);
}

#[test]
fn a_broker_that_keeps_everything_is_clean() {
    for codec in ["none", "lz4"] {
        let run = run(Fault::None, &format!("{VERIFY} --codec {codec}"));
        assert_eq!((run.status, run.figure("verdict")), (Some(0), "clean"), "{}", run.text);
        assert_eq!((run.figure("alongside_read"), run.figure("afterwards_read")), ("5000", "5000"));
    }
}

#[test]
fn lost_answers_and_passing_refusals_lose_and_double_nothing() {
    for fault in [Fault::LosesAnswers, Fault::Refuses] {
        let run = run(fault, VERIFY);
        assert_eq!((run.status, run.figure("verdict")), (Some(0), "clean"), "{fault:?}\n{}", run.text);
        assert_ne!(run.figure("retried_batches"), "0");
        assert_eq!(run.figure("afterwards_read"), "5000");
    }
}

#[test]
fn without_idempotence_a_lost_answer_shows_as_duplicates() {
    let run = run(Fault::LosesAnswers, &format!("{VERIFY} --not-idempotent"));
    assert_eq!((run.status, run.figure("verdict")), (Some(1), "FAULTY"), "{}", run.text);
    assert_ne!(run.figure("afterwards_duplicates"), "0");
    assert_eq!(run.figure("afterwards_lost"), "0");
}

#[test]
fn every_planted_fault_is_found() {
    let faults = [
        (Fault::Loses, "lost"),
        (Fault::Doubles, "duplicates"),
        (Fault::Swaps, "out_of_order"),
        (Fault::Alters, "corrupt"),
    ];
    for (fault, found) in faults {
        let run = run(fault, VERIFY);
        assert_eq!((run.status, run.figure("verdict")), (Some(1), "FAULTY"), "{fault:?}\n{}", run.text);
        for reading in ["alongside", "afterwards"] {
            assert_ne!(run.figure(&format!("{reading}_{found}")), "0", "{fault:?}\n{}", run.text);
        }
    }
}

#[test]
fn a_broker_that_is_not_there_and_a_topic_that_is_not_there_are_said_so() {
    let nobody = Run::of("127.0.0.1:1", "produce --partitions 1");
    assert_eq!(nobody.status, Some(2));
    assert!(nobody.text.contains("cannot connect to 127.0.0.1:1"), "{}", nobody.text);
    let missing = run(Fault::None, "consume --topic nowhere");
    assert_eq!(missing.status, Some(2));
    assert!(missing.text.contains("topic nowhere does not exist"), "{}", missing.text);
}

#[test]
fn a_broker_that_goes_away_ends_the_run_when_patience_does() {
    let run =
        run(Fault::LosesAnswers, "produce --partitions 1 --records 5000 --batch-bytes 2000 --retry-ms 0");
    assert_eq!(run.status, Some(2), "{}", run.text);
    assert!(run.text.contains("lost the connection"), "{}", run.text);
}
