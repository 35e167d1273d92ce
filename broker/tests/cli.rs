//! The command line as a newcomer uses it: the real program, serving and being its own client.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_corelane");

/// A broker on a port of its own, killed when the test ends.
struct Broker {
    child: Child,
    address: String,
    folder: Option<tempfile::TempDir>,
}

impl Broker {
    fn start() -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut broker = Self::start_in(data.path(), &["--cores", "2"]);
        broker.folder = Some(data);
        broker
    }

    fn start_in(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", "--set", "cores.pin=false"])
            .args(["--set", "admin.listener=none"])
            .args(["--set", "group.initial.rebalance.delay.ms=0", "--data"])
            .arg(data)
            .args(arguments)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split(" ready on ").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("no address in the start line {line:?}")).to_owned();
        Self { child, address, folder: None }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .env("CORELANE_BOOTSTRAP", &self.address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command that succeeds prints.
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// How a command that fails ends: its code and its sentence.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments, "");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_newcomers_first_steps_work() {
    let broker = Broker::start();
    assert_eq!(
        broker.ok(&["topic", "create", "orders", "-p", "3"], ""),
        "created orders with 3 partitions\n"
    );
    broker.ok(&["produce", "orders", "-k", ":"], "a:1\nb:2\na:3\n");
    let printed = broker.ok(&["consume", "orders", "--exit", "--format", "%k=%v\\n"], "");
    let mut lines: Vec<_> = printed.lines().collect();
    assert!(lines.iter().position(|line| *line == "a=1") < lines.iter().position(|line| *line == "a=3"));
    lines.sort_unstable();
    assert_eq!(lines, ["a=1", "a=3", "b=2"]);
    assert_eq!(broker.ok(&["topic", "list"], ""), "orders\n");
    let described = broker.ok(&["topic", "describe", "orders"], "");
    assert!(described.contains("3 partitions, 1 replica each"), "{described}");
    let status = broker.ok(&["status"], "");
    assert!(status.contains("2 shards") && status.contains("1 topic, 3 partitions"), "{status}");
    assert_eq!(broker.ok(&["topic", "delete", "orders"], ""), "deleted orders\n");
    assert_eq!(broker.ok(&["topic", "list"], ""), "");
}

#[test]
fn a_group_goes_on_where_it_was() {
    let broker = Broker::start();
    let numbers = (0..1000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n") + "\n";
    broker.ok(&["produce", "numbers", "-z", "lz4"], &numbers);
    let first = broker.ok(&["consume", "numbers", "--group", "g", "-n", "400"], "");
    let second = broker.ok(&["consume", "numbers", "--group", "g", "--exit"], "");
    assert_eq!(first + &second, numbers);
    assert_eq!(broker.ok(&["consume", "numbers", "--group", "g", "--exit"], ""), "");
    assert_eq!(broker.ok(&["consume", "numbers", "--from", "-2", "--exit"], ""), "998\n999\n");
}

#[test]
fn failures_are_one_sentence_and_a_code() {
    let broker = Broker::start();
    let (code, sentence) = broker.fails(&["consume", "nothing"]);
    assert_eq!((code, sentence.as_str()), (1, "corelane: topic nothing: there is no such topic\n"));
    broker.ok(&["topic", "create", "a"], "");
    let (code, sentence) = broker.fails(&["topic", "create", "a"]);
    assert_eq!(code, 1);
    assert_eq!(sentence, "corelane: topic a is not created: Topic 'a' already exists.\n");
    let (code, sentence) = broker.fails(&["topic", "create", "b", "--config", "cleanup.policy=compact"]);
    assert_eq!(code, 1);
    assert!(sentence.contains("compact is not supported yet"), "{sentence}");
    let (code, sentence) = broker.fails(&["status", "--server", "127.0.0.1:1"]);
    assert_eq!(code, 3);
    assert!(sentence.starts_with("corelane: no broker answers at 127.0.0.1:1"), "{sentence}");
    assert_eq!(broker.fails(&["consume", "a", "--from", "middle"]).0, 2);
}

#[test]
fn a_wrong_setting_ends_the_start_with_a_sentence() {
    let start = |set: &str| Command::new(PROGRAM).args(["--set", set]).output().unwrap();
    let output = start("num.partitions=none");
    assert!(!output.status.success());
    let sentence = String::from_utf8(output.stderr).unwrap();
    let expected =
        "num.partitions=none (from --set): Not a number of type INT; allowed: a whole number from 1";
    assert!(sentence.contains(expected), "{sentence}");
    let sentence = String::from_utf8(start("durability=memory").stderr).unwrap();
    assert!(sentence.contains("memory is not supported yet"), "{sentence}");
}

/// One frame with its length.
fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; 4 + u32::from_be_bytes(length) as usize];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// Carries frames between one client and the broker; the first `faults` answers to Produce are lost with the connection.
fn carry(mut client: TcpStream, broker: &str, faults: &AtomicUsize) -> io::Result<()> {
    let mut broker = TcpStream::connect(broker)?;
    loop {
        let request = read_frame(&mut client)?;
        broker.write_all(&request)?;
        let answer = read_frame(&mut broker)?;
        let is_produce = request[4..6] == [0, 0];
        let left = |faults: usize| faults.checked_sub(1);
        if is_produce && faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Ok(());
        }
        client.write_all(&answer)?;
    }
}

#[test]
fn records_whose_answers_are_lost_are_sent_again_and_stored_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let between = listener.local_addr().unwrap().to_string();
    let broker = support::Broker::spawn(&[&format!("advertised.listeners=PLAINTEXT://{between}")]);
    let (target, faults) = (broker.bootstrap().to_owned(), Arc::new(AtomicUsize::new(2)));
    let counted = faults.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (target, faults) = (target.clone(), counted.clone());
            std::thread::spawn(move || carry(client.unwrap(), &target, &faults));
        }
    });
    let run = |arguments: &[&str], input: &str| {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .env("CORELANE_BOOTSTRAP", &between)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (ok, text) = run(&["produce", "t"], "a\nb\nc\n");
    assert!(ok && text.contains("sent 3 records"), "{text}");
    assert_eq!(faults.load(Ordering::SeqCst), 0, "two answers were lost");
    assert_eq!(run(&["consume", "t", "--exit"], "").1, "a\nb\nc\n");
    // Without numbers a broken connection is the end: the records may have been stored.
    faults.store(1, Ordering::SeqCst);
    let (ok, text) = run(&["produce", "t", "--acks", "1"], "d\n");
    assert!(!ok && text.contains("no broker answers"), "{text}");
}

#[test]
fn another_number_of_cores_does_not_lose_sight_of_records() {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let broker = Broker::start_in(data.path(), &["--cores", "3"]);
    broker.ok(&["topic", "create", "t", "-p", "6"], "");
    broker.ok(&["produce", "t", "-k", ":"], "a:1\nb:2\nc:3\nd:4\ne:5\nf:6\n");
    drop(broker);
    for cores in ["1", "4", "2"] {
        let broker = Broker::start_in(data.path(), &["--cores", cores]);
        assert_eq!(broker.ok(&["consume", "t", "--exit"], "").lines().count(), 6);
    }
}
