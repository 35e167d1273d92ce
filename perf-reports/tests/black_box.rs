//! The binary, as a person or a pipeline uses it: files in, files and exit status out.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

fn reports(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf-reports"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("perf-reports runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A run file as loadgen writes it, of a broker that takes `cpu` seconds per GB.
fn run(started_ms: i64, cpu: f64) -> Value {
    let mut run: Value = serde_json::from_str(include_str!("run.json")).unwrap();
    run["started_unix_ms"] = json!(started_ms);
    run["parts"][0]["results"]["broker_cpu_s_per_gb"] = json!(cpu);
    run
}

fn folder(files: &[(&str, &Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    }
    folder
}

#[test]
fn a_page_and_markdown_are_made_of_runs() {
    let folder = folder(&[("a1.json", &run(1000, 0.5)), ("a2.json", &run(2000, 0.6))]);
    let output = reports(folder.path(), "render a*.json --out page.html --markdown page.md");
    assert!(output.status.success(), "{}", said(&output));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.matches("<figure>").count() >= 4 && page.ends_with("</html>\n"));
    assert!(fs::read_to_string(folder.path().join("page.md")).unwrap().contains("| figure | a1 | a2 |"));
}

#[test]
fn a_file_that_loadgen_wrote_becomes_a_page() {
    let written: Value = serde_json::from_str(include_str!("latency_run.json")).unwrap();
    let folder = folder(&[("run.json", &written)]);
    let output = reports(folder.path(), "render run.json --out page.html --markdown page.md");
    assert!(output.status.success(), "{}", said(&output));
    let markdown = fs::read_to_string(folder.path().join("page.md")).unwrap();
    for part in [
        "Percentiles of end to end latency",
        "Percentiles of produce latency",
        "Memory of the broker",
        "debug build",
    ] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    let p99 = written["parts"][0]["results"]["end_to_end_p99_ms"].as_f64().unwrap();
    assert!(markdown.contains(&format!("| end to end p99, ms | {p99:.1} |")), "{p99} in {markdown}");
}

#[test]
fn a_comparison_names_its_verdict_in_text_json_and_markdown() {
    let runs: Vec<Value> = (0..6).map(|at| run(at * 1000, if at % 2 == 0 { 1.0 } else { 0.5 })).collect();
    let names = ["a1.json", "b1.json", "a2.json", "b2.json", "a3.json", "b3.json"];
    let files: Vec<(&str, &Value)> = names.into_iter().zip(&runs).collect();
    let folder = folder(&files);
    let output = reports(folder.path(), "compare --a a*.json --b b*.json --json c.json --markdown c.md");
    assert!(output.status.success(), "{}", said(&output));
    let line = said(&output).lines().find(|line| line.starts_with("broker CPU s/GB")).unwrap().to_owned();
    assert!(line.contains("0.50–0.50") && line.ends_with("better"), "{line}");
    let json: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("c.json")).unwrap()).unwrap();
    assert_eq!(json["pairs"].as_array().unwrap().len(), 3);
    assert!(fs::read_to_string(folder.path().join("c.md")).unwrap().contains("0.50–0.50"));
    let in_turn = reports(folder.path(), &format!("compare {}", names.join(" ")));
    assert!(said(&in_turn).contains(&line));
}

#[test]
fn a_check_ends_with_one_for_a_regression_and_names_it() {
    let folder = folder(&[
        ("kept/one.json", &run(1, 0.5)),
        ("same.json", &run(2, 0.52)),
        ("worse.json", &run(3, 0.9)),
    ]);
    assert_eq!(reports(folder.path(), "check --baseline kept same.json").status.code(), Some(0));
    let output = reports(folder.path(), "check --baseline kept worse.json");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["broker_cpu_s_per_gb", "0.500 before", "0.900 now", "1.80"] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    let tolerant = reports(folder.path(), "check --baseline kept worse.json --tolerance 1");
    assert_eq!(tolerant.status.code(), Some(0), "{}", said(&tolerant));
}

#[test]
fn bad_files_are_one_sentence_and_status_two() {
    let mut later = run(1, 1.0);
    later["format"] = json!(2);
    let folder =
        folder(&[("later.json", &later), ("other.json", &json!({"records": 3})), ("run.json", &run(1, 1.0))]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (line, part) in [
        ("render later.json --out x.html", "has format 2"),
        ("render other.json --out x.html", "no `format`"),
        ("render missing.json --out x.html", "cannot read missing.json"),
        ("render run.json --out no/folder/x.html", "cannot write"),
        ("compare run.json", "make no pairs"),
        ("check --baseline empty run.json", "no run file"),
    ] {
        let output = reports(folder.path(), line);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains(part) && stderr.lines().count() == 1, "{line}: {stderr}");
        assert!(!folder.path().join("x.html").exists());
    }
}

/// A profile of a broker that takes 0.5 s per GB and 10 µs per request, and gets half of two cores.
fn profile() -> Value {
    let mut points = Vec::new();
    for (place, batch) in [1024.0, 16_384.0, 131_072.0].into_iter().enumerate() {
        let saturated = 1.0 / (0.5e-9 + 10e-6 / batch);
        for (step, load) in [0.2, 0.4, 0.6, 0.8, 1.0].into_iter().enumerate() {
            let bytes = saturated * load * 10.0;
            let traffic = json!({"bytes": bytes, "records": bytes / 1024.0, "batches": bytes / batch, "requests": bytes / batch});
            let latency = json!({"p50": 0.5, "p99": 1.0 / (1.0 - load), "p99.9": 3.0 / (1.0 - load)});
            points.push(json!({
                "name": format!("{batch} at {load}"), "series": format!("{batch}"), "start_s": 0, "seconds": 10.0,
                "role": if place == 1 && step == 2 { "held_out" } else { "calibration" },
                "saturated": load >= 1.0, "record_bytes": 1024.0, "partitions": 6, "written": traffic, "read": traffic,
                "broker": {"cpu_s": load * 10.0, "resident_bytes_max": 100e6, "written_bytes": bytes * 2.0},
                "host_cpu_s": load * 20.0, "latency_ms": if load < 1.0 { latency } else { Value::Null }}));
        }
    }
    json!({"kind": "profile", "format": 1, "tool": {"name": "loadgen", "version": "0.1.0", "build": "release"},
        "started_at": "2026-11-21T20:00:00.000Z", "host": {"name": "h", "cpu_model": "c", "kernel": "6.1", "cores": 2},
        "broker": {"name": "b", "cores": 2}, "clients_on_host": true,
        "limits": {"sync_p50_ms": 0.1, "append_bytes_per_s": 1e9, "read_bytes_per_s": 1e9, "network_bytes_per_s": 4e9,
            "network": "loopback", "disk_bytes": 1e12}, "points": points})
}

const QUESTION: &str = "plan --profile profile.json --ingress 200 --record 1024 --batch 131072 --partitions 60 --retention 1h --p99";

#[test]
fn a_plan_is_answered_as_text_json_and_page_with_its_error() {
    let folder = folder(&[("profile.json", &profile())]);
    let output = reports(folder.path(), &format!("{QUESTION} 50 --json plan.json --out plan.html"));
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for part in ["nodes", "Bottleneck: ", "Median error of points held out", "extrapolated"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("plan.json")).unwrap()).unwrap();
    assert_eq!(json["figures"]["nodes"]["value"], 1.0);
    assert!(fs::read_to_string(folder.path().join("plan.html")).unwrap().contains("<polyline"));
    let validated = reports(folder.path(), "plan --profile profile.json --validate");
    assert!(validated.status.success() && said(&validated).contains("16384 at 0.6"), "{}", said(&validated));
}

#[test]
fn a_plan_that_cannot_be_met_is_one_sentence_and_status_one() {
    let mut later = profile();
    later["format"] = json!(2);
    let folder = folder(&[("profile.json", &profile()), ("later.json", &later)]);
    let output = reports(folder.path(), &format!("{QUESTION} 0.5"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("a p99 of 0.500 ms cannot be met") && stderr.lines().count() == 1, "{stderr}");
    let output = reports(folder.path(), "plan --profile later.json --validate");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("later.json has format 2"));
}
