//! What a run leaves behind: the run file, the log of histograms, and what an interruption makes of them.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "not every file of tests plants every fault")]
mod broker;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::{Broker, Fault};
use serde_json::Value;
use tempfile::TempDir;

/// A folder for files, and a broker.
struct Place {
    folder: TempDir,
    broker: String,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), broker: Broker::start(Fault::None).address.to_string() }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(line.split_whitespace()).args(["--bootstrap", &self.broker, "--timeout-ms", "5000"]);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs with `--json`, expects this exit status, and reads the file.
    fn run(&self, line: &str, status: i32) -> Value {
        let output = self.command(&format!("{line} --json run.json")).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
        read(&self.folder.path().join("run.json"))
    }

    fn start(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn sum(intervals: &Value, name: &str) -> u64 {
    intervals.as_array().unwrap().iter().map(|interval| interval[name].as_u64().unwrap()).sum()
}

#[test]
fn a_run_file_says_what_was_run_and_where_and_what_was_found() {
    let place = Place::new();
    let pid = std::process::id();
    let line = format!(
        "latency --partitions 2 --rate 500 --seconds 1.3 --size 50 --interval 0.25 --seed 77 --pid {pid} \
         --note disk=none --hdr run.hlog"
    );
    let run = place.run(&line, 0);
    assert_eq!((run["format"].as_u64(), run["command"].as_str()), (Some(1), Some("latency")));
    assert_eq!((run["seed"].as_u64(), run["interrupted"].as_bool()), (Some(77), Some(false)));
    assert_eq!((run["failed"].as_bool(), run["notes"]["disk"].as_str()), (Some(false), Some("none")));
    assert!(run["command_line"].as_array().unwrap().iter().any(|word| word == "--hdr"));
    assert!(run["host"]["kernel"].is_string() && run["host"]["cores"].as_u64() > Some(0));
    assert_eq!(run["broker"]["brokers"].as_u64(), Some(1));
    assert_eq!(run["broker"]["pid"].as_u64(), Some(u64::from(pid)));
    assert!(run["scenario"].is_null() && run["metrics"].is_null());

    let part = &run["parts"][0];
    let (settings, results, intervals) = (&part["settings"], &part["results"], &part["intervals"]);
    assert_eq!((part["command"].as_str(), settings["size"].as_u64()), (Some("latency"), Some(50)));
    assert_eq!((settings["linger_ms"].as_u64(), settings["arrivals"].is_null()), (Some(0), true));
    let records = results["records"].as_u64().unwrap();
    assert!((600..=650).contains(&records), "{records}");
    assert_eq!(results["records_due"].as_u64(), Some(records));
    assert!(results["broker_cpu_s"].is_number() && results["client_cpu_s"].is_number());

    assert!((5..=7).contains(&intervals.as_array().unwrap().len()), "{intervals}");
    assert_eq!((sum(intervals, "records"), sum(intervals, "due")), (records, records));
    assert_eq!(sum(intervals, "errors"), 0);
    let counted: u64 = intervals
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|interval| interval["latencies"]["end_to_end"]["count"].as_u64())
        .sum();
    assert_eq!(counted, records);
    let latencies = part["latencies"].as_array().unwrap();
    assert_eq!(latencies.len(), 2);
    for latency in latencies {
        assert_eq!(latency["from"].as_str(), Some("intended time"));
        assert_eq!(latency["count"].as_u64(), Some(records));
        let spectrum = latency["spectrum"].as_array().unwrap();
        assert_eq!(spectrum.last().unwrap()[0].as_f64(), Some(100.0));
        assert_eq!(spectrum.last().unwrap()[1], latency["max_ms"]);
    }
    for who in ["client", "broker"] {
        let usage = &run["usage"][who];
        assert_eq!(usage["source"].as_str(), Some("proc"));
        assert!(usage["intervals"].as_array().unwrap().len() >= 4, "{usage}");
        assert!(usage["resident_bytes_max"].as_u64() > Some(1 << 20));
    }
    let log = fs::read_to_string(place.folder.path().join("run.hlog")).unwrap();
    for tag in ["Tag=latency.end_to_end,", "Tag=latency.produce,"] {
        assert!(log.lines().filter(|line| line.starts_with(tag)).count() >= 4, "{log}");
    }
}

#[test]
fn an_interrupted_run_reports_what_was_done() {
    let place = Place::new();
    for (signal, line) in [
        ("-INT", "produce --partitions 2 --rate 400 --seconds 60 --size 50"),
        ("-TERM", "produce --partitions 2 --seconds 60 --size 50"),
        ("-INT", "latency --partitions 2 --rate 0.5 --size 50"),
        ("-TERM", "verify --partitions 2 --rate 500 --size 50 --seconds 60 --topic v"),
        ("-INT", "consume --from latest --seconds 60"),
    ] {
        let child = place.start(&format!("{line} --json run.json"));
        std::thread::sleep(Duration::from_millis(900));
        let asked = Instant::now();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(asked.elapsed() < Duration::from_secs(5), "{line}: {:?}", asked.elapsed());
        if line.starts_with("verify") {
            // The other runs wrote to the one log of this broker, and so there are foreign records in it.
            assert!(output.status.code() == Some(1) || output.status.code() == Some(0), "{line}\n{stderr}");
        } else {
            assert_eq!(output.status.code(), Some(0), "{line}\n{stderr}");
        }
        assert!(stderr.contains("interrupted"), "{line}\n{stderr}");
        assert!(!stderr.contains('\r'), "quiet when nobody looks");
        let run = read(&place.folder.path().join("run.json"));
        assert_eq!(run["interrupted"].as_bool(), Some(true), "{line}");
        let part = &run["parts"][0];
        let done = part["results"]["records"].as_u64().unwrap();
        assert_eq!(sum(&part["intervals"], "records"), done, "{line}");
        assert!(done > 0 || line.starts_with("consume"), "{line}");
        assert!(part["seconds"].as_f64() < Some(6.0), "{line}");
    }
}

#[test]
fn the_same_seed_makes_the_same_load() {
    let place = Place::new();
    let line =
        "produce --partitions 2 --arrivals poisson --rate 2000 --records 500 --size uniform:1-1000 --seed";
    let bytes =
        |seed: u64| place.run(&format!("{line} {seed}"), 0)["parts"][0]["results"]["value_bytes"].clone();
    let first = bytes(5);
    assert_eq!(first, bytes(5));
    assert_ne!(first, bytes(6));
}

#[test]
fn arrivals_come_as_the_curve_says() {
    let place = Place::new();
    fs::write(place.folder.path().join("curve.csv"), "seconds,rate\n0,100\n0.5,1000\n1,0\n").unwrap();
    for (arrivals, expected) in [
        ("steps:0.5:100,1000", 550),
        ("replay:curve.csv", 550),
        ("ramp:0-1000:1", 500),
        ("closed --records 321", 321),
    ] {
        let run = place.run(&format!("produce --partitions 1 --size 50 --arrivals {arrivals}"), 0);
        let results = &run["parts"][0]["results"];
        let records = results["records"].as_u64().unwrap();
        assert!(records.abs_diff(expected) <= 1, "{arrivals}: {records}");
        let is_closed = arrivals.starts_with("closed");
        assert_eq!(results["records_due"].as_u64(), (!is_closed).then_some(records), "{arrivals}");
    }
}

#[test]
fn a_page_of_metrics_is_kept_and_tells_what_the_broker_used() {
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/m", page.local_addr().unwrap());
    std::thread::spawn(move || {
        for (number, stream) in page.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            let text = format!(
                "HTTP/1.0 200 OK\r\n\r\nprocess_cpu_seconds_total {}\nprocess_resident_memory_bytes 5000000\n\
                 some_build_info{{version=\"7\"}} 1\nx_bucket{{le=\"1\"}} 3\n",
                number + 1
            );
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
    let place = Place::new();
    let run = place
        .run(&format!("produce --partitions 1 --rate 100 --seconds 0.6 --interval 0.2 --metrics {url}"), 0);
    assert_eq!(run["broker"]["build"]["version"].as_str(), Some("7"));
    let (first, last) = (&run["metrics"]["first"], &run["metrics"]["last"]);
    assert_eq!((run["metrics"]["url"].as_str(), first.as_object().unwrap().len()), (Some(url.as_str()), 3));
    assert!(last["process_cpu_seconds_total"].as_f64() > first["process_cpu_seconds_total"].as_f64());
    let usage = &run["usage"]["broker"];
    assert_eq!(
        (usage["source"].as_str(), usage["resident_bytes_max"].as_u64()),
        (Some("metrics"), Some(5_000_000))
    );
    assert!(usage["cpu_s"].as_f64() >= Some(3.0) && usage["written_bytes"].is_null(), "{usage}");
    assert!(run["parts"][0]["results"]["broker_cpu_s"].as_f64() > Some(0.0));
}

#[test]
fn a_slow_consumer_is_slow_and_its_lag_is_known() {
    let place = Place::new();
    place.run("produce --partitions 1 --records 2000 --size 100 --batch-bytes 4000", 0);
    let run = place.run("consume --rate 100 --seconds 1.2 --interval 0.25", 0);
    let results = &run["parts"][0]["results"];
    let (records, lag) = (results["records"].as_u64().unwrap(), results["lag"].as_u64().unwrap());
    // Three batches of about 30 at a time come from this broker.
    assert!((90..=300).contains(&records), "{records}");
    assert_eq!(records + lag, 2000);
    let intervals = run["parts"][0]["intervals"].as_array().unwrap();
    assert!(intervals.iter().skip(1).all(|interval| interval["lag"].as_u64() > Some(1600)), "{intervals:?}");
}

#[test]
fn a_scenario_runs_its_parts_in_their_order() {
    let place = Place::new();
    let text = "name = \"two\"\n[defaults]\npartitions = 2\nsize = 50\n[[part]]\nname = \"fill\"\n\
                command = \"produce\"\nrecords = 1000\n[[part]]\nname = \"read\"\ncommand = \"consume\"\n\
                after = \"fill\"\n[[part]]\nname = \"tail\"\ncommand = \"latency\"\nafter = \"fill\"\n\
                delay_s = 0.3\nrate = 200\nrecords = 100\n";
    fs::write(place.folder.path().join("two.toml"), text).unwrap();
    let run = place.run("scenario two.toml --set tail.records=60", 0);
    assert_eq!((run["command"].as_str(), run["scenario"]["text"].as_str()), (Some("scenario"), Some(text)));
    let parts = run["parts"].as_array().unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fill", "read", "tail"]);
    let records = |part: usize| parts[part]["results"]["records"].as_u64();
    assert_eq!((records(0), records(2)), (Some(1000), Some(60)));
    assert!(records(1) >= Some(1000));
    let end =
        |part: usize| parts[part]["start_s"].as_f64().unwrap() + parts[part]["seconds"].as_f64().unwrap();
    assert!(parts[1]["start_s"].as_f64() >= Some(end(0) - 0.01));
    assert!(parts[2]["start_s"].as_f64() >= Some(end(0) + 0.29));
    assert!(parts[0]["results"]["broker_cpu_s"].is_null(), "parts share the broker");
}

#[test]
fn what_cannot_be_run_is_refused_in_one_sentence_and_leaves_no_file() {
    let place = Place::new();
    fs::write(place.folder.path().join("wrong.toml"), "[[part]]\ncommand = \"produce\"\nraet = 5\n").unwrap();
    for (line, why) in [
        ("scenario wrong.toml", "wrong.toml:3: unknown key \"raet\""),
        ("scenario missing.toml", "cannot read missing.toml"),
        ("scenario wrong.toml --check", "wrong.toml:3: unknown key"),
        ("produce --partitions 1 --arrivals replay:missing.csv", "cannot read missing.csv"),
        ("produce --partitions 1 --arrivals poisson", "needs --rate"),
        ("produce --topic nowhere", "topic nowhere does not exist"),
        ("latency --partitions 1 --size 8", "--size must be at least 16"),
        ("verify --partitions 1 --acks 0", "verify needs acknowledgements"),
        ("produce --partitions 1 --pid 4194304", "cannot look at process"),
        ("produce --partitions 1 --metrics http://127.0.0.1:1", "cannot read metrics at http://127.0.0.1:1"),
        ("produce --partitions 1 --records 5 --hdr /nowhere/x", "cannot write /nowhere/x"),
        ("soak --partitions 1 --seconds 1 --resident-mb-max 5", "--resident-mb-max needs --pid or --metrics"),
    ] {
        let output = place.command(&format!("{line} --json run.json")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}\n{stderr}");
        assert!(stderr.starts_with("loadgen: ") && stderr.contains(why), "{line}\n{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{line}\n{stderr}");
        assert!(!place.folder.path().join("run.json").exists(), "{line}");
    }
    let output = place.command("produce --size nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("expected N, fixed:N"));
}
