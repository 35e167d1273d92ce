//! The program from outside: against a broker that behaves, and against brokers that do not.

#![allow(clippy::unwrap_used)]

mod broker;

use std::fmt::Write as _;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use broker::logins::Logins;
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
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(Run::of(&broker, "consume").figure("records"), "20000");
}

#[test]
fn a_login_is_renewed_before_its_time_is_over() {
    let logins = Arc::new(Logins::lasting(Duration::from_millis(500)));
    let broker = Broker::start_for(&logins).address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let line = "verify --partitions 3 --records 20000 --size 100 --rate 5000 --linger-ms 1 --threads 2";
    let login =
        format!("--sasl-mechanism PLAIN --sasl-user alice --sasl-password-file {}", password.display());
    let run = Run::of(&broker, &format!("{line} {login}"));
    assert_eq!((run.status, run.figure("verdict")), (Some(0), "clean"), "{}", run.text);
    let count = |counter: &std::sync::atomic::AtomicU32| counter.load(Ordering::Relaxed);
    assert_eq!(count(&logins.refused), 0, "requests that a broker refuses");
    assert!(count(&logins.renewed) >= 4, "{logins:?}");
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

#[test]
fn a_topic_that_is_missing_is_said_also_when_others_exist() {
    let broker = Broker::start(Fault::None).address.to_string();
    assert_eq!(Run::of(&broker, "produce --partitions 1 --records 10").status, Some(0));
    let missing = Run::of(&broker, "produce --topic elsewhere --records 10");
    assert_eq!(missing.status, Some(2));
    assert!(missing.text.contains("topic elsewhere does not exist on 127.0.0.1"), "{}", missing.text);
    assert!(missing.text.contains("give --partitions to create it"), "{}", missing.text);
}

#[test]
fn records_of_every_shape_come_back_whole() {
    for shape in [
        "--size uniform:32-900 --keys zipf:50,1.1 --headers 3:20",
        "--size lognormal:200,1.0,5000 --keys uniform:7 --codec zstd --compressibility 0.5",
        "--size 100 --arrivals poisson --rate 5000 --keys uniform:1000 --threads 2",
    ] {
        let run = run(Fault::None, &format!("verify --partitions 3 --records 3000 --linger-ms 1 {shape}"));
        assert_eq!((run.status, run.figure("verdict")), (Some(0), "clean"), "{shape}\n{}", run.text);
        assert_eq!(run.figure("afterwards_read"), "3000", "{shape}");
    }
}

#[test]
fn a_soak_checks_what_is_stated() {
    let line = "soak --partitions 2 --rate 500 --seconds 1 --size 50 --errors-max 0 --done-part-min 0.9";
    let good = run(Fault::None, &format!("{line} --p99-ms-max 5000"));
    assert_eq!((good.status, good.figure("checks")), (Some(0), "3"), "{}", good.text);
    let slow = run(Fault::None, &format!("{line} --p99-ms-max 0.001"));
    assert_eq!(slow.status, Some(1), "{}", slow.text);
    assert!(slow.text.contains("loadgen: produce_p99_ms is "), "{}", slow.text);
    let lossy = run(Fault::Loses, &line.replace("--rate 500", "--rate 5000"));
    assert_eq!((lossy.status, lossy.figure("verdict")), (Some(1), "FAULTY"), "{}", lossy.text);
    let endless = run(Fault::None, "soak --partitions 1 --rate 5");
    assert_eq!(endless.status, Some(2));
    assert!(endless.text.contains("soak needs --seconds"), "{}", endless.text);
}

#[test]
fn connections_are_held_and_come_and_go() {
    let line = "connections --count 40 --threads 2 --seconds 1 --churn 30";
    let run = run(Fault::None, line);
    assert_eq!((run.status, run.figure("connections_open_max")), (Some(0), "40"), "{}", run.text);
    let churned: u64 = run.figure("churned").parse().unwrap();
    assert!((20..=40).contains(&churned), "{}", run.text);
    assert_eq!((run.figure("failed"), run.figure("lost")), ("0", "0"));
}

#[test]
fn topics_are_made_and_removed() {
    let broker = Broker::start(Fault::None).address.to_string();
    let line = "topics --count 25 --partitions 3 --batch 4 --threads 2 --prefix t-";
    let run = Run::of(&broker, line);
    assert_eq!(
        (run.status, run.figure("created"), run.figure("deleted")),
        (Some(0), "25", "25"),
        "{}",
        run.text
    );
    let kept = Run::of(&broker, &format!("{line} --keep"));
    assert_eq!((kept.status, kept.figure("deleted")), (Some(0), "0"), "{}", kept.text);
    let again = Run::of(&broker, line);
    assert_eq!(again.status, Some(2));
    assert!(again.text.contains("cannot create topic t-"), "{}", again.text);
}

#[test]
fn members_of_a_group_come_and_go_and_each_rebalance_is_timed() {
    let line = "groups --partitions 6 --members 3 --seconds 3 --churn 2 --heartbeat-ms 50";
    let run = run(Fault::None, line);
    assert_eq!(run.status, Some(0), "{}", run.text);
    // The first, and two for each member that was replaced.
    let rebalances: u64 = run.figure("rebalances").parse().unwrap();
    assert!((3..=13).contains(&rebalances) && rebalances % 2 == 1, "{}", run.text);
    assert_ne!(run.figure("form_max_ms"), "0.0", "{}", run.text);
    let longest: f64 = run.figure("rebalance_max_ms").parse().unwrap();
    assert!(longest > 1.0, "{}", run.text);
}

/// A profile that is not begun, or breaks off at once: what it said.
fn refused_profile(broker: &str, line: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("there.json"), "{}").unwrap();
    let line = format!("profile --quick --seconds 0.1 --dir {} {line}", folder.path().display());
    let run = Run::of(broker, &line.replace("OUT", &path("out.json")).replace("THERE", &path("there.json")));
    assert_eq!(run.status, Some(2), "{line}: {}", run.text);
    run.text
}

#[test]
fn a_profile_that_cannot_be_made_is_refused_in_a_sentence() {
    let broker = Broker::start(Fault::None).address.to_string();
    let own = std::process::id();
    let nobody = "127.0.0.1:1";
    for (address, line, sentence) in [
        (broker.as_str(), "--out OUT".to_owned(), "a profile needs --pid"),
        (&broker, "--out OUT --pid 999999999".to_owned(), "there is no process 999999999"),
        (nobody, format!("--out OUT --pid {own}"), "cannot connect to 127.0.0.1:1"),
        (&broker, format!("--out OUT --pid {own} --space 900000"), "make room, or give less with --space"),
        (&broker, format!("--out THERE --pid {own}"), "is there already"),
        (&broker, format!("--out THERE --resume --pid {own}"), "it is no profile"),
        (&broker, format!("--out OUT --resume --pid {own}"), "cannot read"),
        (&broker, format!("--out OUT --json x.json --pid {own}"), "--json and --hdr are for runs"),
    ] {
        let said = refused_profile(address, &line);
        assert!(said.contains(sentence) && said.lines().count() == 1, "{line}: {said}");
    }
}

const TRANSACTIONS: &str = "verify --partitions 3 --records 5000 --size 100 --batch-bytes 2000 --threads 2 --rate 20000 \
                            --transactional-id-prefix t- --transaction-every 70 --abort-share 0.3 --seed 5";

#[test]
fn what_aborted_transactions_wrote_is_not_read_and_all_else_is() {
    for fault in [Fault::None, Fault::LosesAnswers, Fault::Refuses] {
        let run = run(fault, TRANSACTIONS);
        assert_eq!((run.status, run.figure("verdict")), (Some(0), "clean"), "{fault:?}\n{}", run.text);
        let count = |name: &str| run.figure(name).parse::<u64>().unwrap();
        // Two threads of 2,500 records, 70 a transaction.
        assert_eq!((count("records"), count("transactions")), (5000, 72), "{fault:?}");
        let aborted = count("records_aborted");
        assert!((70 * 10..70 * 33).contains(&aborted), "{}", run.text);
        for reading in ["alongside", "afterwards"] {
            assert_eq!(count(&format!("{reading}_read")), 5000 - aborted, "{fault:?}\n{}", run.text);
            assert_eq!(count(&format!("{reading}_aborted")), 0);
        }
    }
}

#[test]
fn records_of_aborted_transactions_that_are_read_are_a_fault() {
    let run = run(Fault::HidesAborts, TRANSACTIONS);
    assert_eq!((run.status, run.figure("verdict")), (Some(1), "FAULTY"), "{}", run.text);
    assert_eq!(run.figure("afterwards_aborted"), run.figure("records_aborted"));
    assert_eq!((run.figure("afterwards_lost"), run.figure("afterwards_offset_gaps")), ("0", "0"));
}

#[test]
fn who_reads_what_is_committed_sees_less_than_who_reads_everything() {
    let broker = Broker::start(Fault::None).address.to_string();
    let line = "produce --partitions 2 --records 3000 --size 100 --transactional-id-prefix p --transaction-every 100 \
                --abort-share 0.5 --seed 3";
    let produced = Run::of(&broker, line);
    assert_eq!((produced.status, produced.figure("transactions")), (Some(0), "30"), "{}", produced.text);
    let aborted: u64 = produced.figure("records_aborted").parse().unwrap();
    assert!(aborted > 0 && aborted < 3000, "{}", produced.text);
    assert_eq!(Run::of(&broker, "consume --walk").figure("records"), "3000");
    let committed = Run::of(&broker, "consume --isolation read_committed");
    assert_eq!(committed.figure("records"), (3000 - aborted).to_string(), "{}", committed.text);
}
