//! `render`: runs as one page, with everything in it that is needed to believe them or not.

use std::collections::BTreeMap;

use crate::chart::{Bars, Lines, Scale, Series, thinned};
use crate::document::{Block, Document, Drawing, Table};
use crate::figures::{self, Figure};
use crate::limits::COLUMNS_MAX;
use crate::number::short;
use crate::run::{Latency, Part, Run};

/// Percentiles of the table under a spectrum.
const SPECTRUM: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// Where latencies of an open loop begin; from anywhere else the loop is closed.
const OPEN_LOOP: &str = "intended time";

/// Everything that `runs` say.
pub(crate) fn document(title: Option<&str>, runs: &[Run]) -> Document {
    let own = match runs {
        [run] => run.label.clone(),
        _ => format!("{} runs of loadgen", runs.len()),
    };
    let mut blocks = vec![Block::Table(table_of_runs(runs))];
    let doubts: Vec<String> = runs.iter().flat_map(Run::doubts).chain(closed_loops(runs)).collect();
    if !doubts.is_empty() {
        blocks.push(Block::Heading("Before believing the figures".to_owned()));
        blocks.push(Block::List(doubts));
    }
    blocks.push(Block::Heading("Figures".to_owned()));
    blocks.push(Block::Table(table_of_figures(runs)));
    blocks.push(Block::Heading("Charts".to_owned()));
    blocks.extend(charts(runs));
    blocks.push(Block::Heading("Workloads and commands".to_owned()));
    let workloads = runs.iter().map(|run| format!("{}: {}", run.label, run.workload().describe()));
    blocks.push(Block::List(workloads.collect()));
    blocks.push(Block::Code(runs.iter().map(|run| run.command_line.join(" ")).collect()));
    Document { title: title.map_or(own, str::to_owned), blocks }
}

fn table_of_runs(runs: &[Run]) -> Table {
    let mut table = Table::new(["run", "started", "broker", "loadgen", "host"]);
    for run in runs {
        let host = &run.host;
        let memory = host.memory_bytes as f64 / 1e9;
        let machine = format!(
            "{}: {} cores of {}, {} GB, Linux {}",
            host.name,
            host.cores,
            host.cpu_model,
            short(memory),
            host.kernel
        );
        table.row([
            run.label.clone(),
            run.started_at.clone(),
            run.broker_name(),
            run.tool.version.clone(),
            machine,
        ]);
    }
    table
}

/// A row for each figure that any run has; many runs are rows themselves.
fn table_of_figures(runs: &[Run]) -> Table {
    let found: Vec<Vec<Figure>> = runs.iter().map(figures::of).collect();
    let mut names: Vec<&str> = Vec::new();
    for figure in found.iter().flatten() {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    let mut table = Table::new(std::iter::once("figure").chain(runs.iter().map(|run| run.label.as_str())));
    for name in names {
        let values = found.iter().map(|figures| figures::find(figures, name).map_or(String::new(), short));
        table.row(std::iter::once(figures::heading(name)).chain(values));
    }
    if runs.len() > COLUMNS_MAX { table.turned() } else { table }
}

fn closed_loops(runs: &[Run]) -> Vec<String> {
    let mut said = Vec::new();
    for (label, part) in tracks(runs) {
        for latency in part.latencies.iter().filter(|latency| latency.from != OPEN_LOOP) {
            said.push(format!(
                "Latency \"{}\" of {label} counts from {} (closed loop): a late answer delays the next question, \
                 so stalls are under-counted.",
                latency.name, latency.from
            ));
        }
    }
    said
}

fn charts(runs: &[Run]) -> Vec<Block> {
    let tracks = tracks(runs);
    let mut names: Vec<&str> = Vec::new();
    for latency in tracks.iter().flat_map(|(_, part)| &part.latencies) {
        let name = one_name(&latency.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut blocks = Vec::new();
    for name in names {
        blocks.extend(spectrum(name, &tracks));
        blocks.extend(over_time(name, &tracks));
        blocks.extend(throughput(name, runs));
    }
    blocks.extend(bars(runs, figures::CPU, "Broker CPU per GB", "CPU s/GB", "CPU seconds, user and system, of all threads of the broker for each 10⁹ bytes of payload; less is better."));
    blocks.extend(bars(
        runs,
        figures::WRITTEN,
        "Written to disk per GB",
        "GB/GB",
        "Bytes that the broker wrote to disks for each byte of payload.",
    ));
    blocks.extend(bars(
        runs,
        figures::READ,
        "Read from disk per GB",
        "GB/GB",
        "Bytes that the broker read from disks for each byte of payload.",
    ));
    blocks.extend(memory(runs));
    blocks
}

/// Parts with the name of their line: of a scenario each part is one.
fn tracks(runs: &[Run]) -> Vec<(String, &Part)> {
    let mut tracks = Vec::new();
    for run in runs {
        for part in &run.parts {
            let name =
                if run.parts.len() == 1 { run.label.clone() } else { format!("{} {}", run.label, part.name) };
            tracks.push((name, part));
        }
    }
    tracks
}

fn latency<'a>(part: &'a Part, name: &str) -> Option<&'a Latency> {
    part.latencies.iter().find(|latency| one_name(&latency.name) == name)
}

fn lines(chart: Lines, table: Option<Table>) -> Option<Block> {
    (!chart.is_empty()).then_some(Block::Figure(Box::new(Drawing::Lines(chart)), table))
}

fn spectrum(name: &str, tracks: &[(String, &Part)]) -> Option<Block> {
    let found: Vec<(&str, &Latency)> =
        tracks.iter().filter_map(|(label, part)| Some((label.as_str(), latency(part, name)?))).collect();
    let series: Vec<Series> = found
        .iter()
        .map(|(label, latency)| Series {
            name: (*label).to_owned(),
            points: latency.spectrum.iter().filter_map(|(percent, ms)| Some((*percent, (*ms)?))).collect(),
        })
        .collect();
    let mut spans: Vec<String> =
        found.iter().map(|(_, latency)| format!("from {} to {}", latency.from, latency.to)).collect();
    spans.dedup();
    let mut table =
        Table::new(std::iter::once("percentile, ms").chain(found.iter().map(|(label, _)| *label)));
    for percent in SPECTRUM {
        let head = if percent < 100.0 { format!("{percent}") } else { "max".to_owned() };
        let cells = found.iter().map(|(_, latency)| latency.at(percent).map_or(String::new(), short));
        table.row(std::iter::once(head).chain(cells));
    }
    let chart = Lines::new(
        format!("Percentiles of {} latency", words(name)),
        format!("The latency that so many percent do not exceed, {}; lower is better.", spans.join(" or ")),
        ("percentile", Scale::Nines),
        ("ms", Scale::Log),
        series,
    );
    lines(chart, Some(table))
}

/// One run shows its median, 99th percentile and maximum; several show one 99th percentile each.
fn over_time(name: &str, tracks: &[(String, &Part)]) -> Option<Block> {
    let points = |part: &Part, percentile: &str| {
        let all = part.intervals.iter().filter_map(|interval| {
            let (_, latency) = interval.latencies.iter().find(|(own, _)| one_name(own) == name)?;
            let ms = (*latency.get(percentile)?)?;
            Some((interval.start_s, ms))
        });
        thinned(all.collect())
    };
    let series: Vec<Series> = match tracks {
        [(_, part)] => [("median", "p50_ms"), ("99th percentile", "p99_ms"), ("maximum", "max_ms")]
            .into_iter()
            .map(|(label, percentile)| Series { name: label.to_owned(), points: points(part, percentile) })
            .collect(),
        _ => tracks
            .iter()
            .map(|(label, part)| Series { name: label.clone(), points: points(part, "p99_ms") })
            .filter(|line| !line.points.is_empty())
            .collect(),
    };
    let what = if tracks.len() == 1 { "" } else { "99th percentile of " };
    let chart = Lines::new(
        format!("{} latency over time", capital(&format!("{what}{}", words(name)))),
        "Each point is an interval of the run; where there are too many, the worst of its stretch.",
        ("seconds from the start", Scale::Linear),
        ("ms", Scale::Log),
        series,
    );
    lines(chart, None)
}

/// Runs that differ in their load alone become the points of one line.
fn throughput(name: &str, runs: &[Run]) -> Option<Block> {
    let mut curves: BTreeMap<_, Vec<(f64, f64, &str)>> = BTreeMap::new();
    for run in runs {
        let [part] = run.parts.as_slice() else { continue };
        let rate = part.result("value_mb_per_s").or_else(|| part.result("batch_mb_per_s"));
        let p99 = latency(part, name).and_then(|latency| latency.at(99.0));
        if let (Some(rate), Some(p99)) = (rate, p99) {
            curves.entry((run.broker_name(), run.curve())).or_default().push((rate, p99, &run.label));
        }
    }
    curves.retain(|_, points| points.len() > 1);
    let several = |broker: &str| curves.keys().filter(|(other, _)| other == broker).count() > 1;
    let mut table = Table::new(["run", "MB/s", "p99 ms"]);
    let mut series = Vec::new();
    for ((broker, workload), points) in &curves {
        let mut points = points.clone();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (rate, p99, label) in &points {
            table.row([(*label).to_owned(), short(*rate), short(*p99)]);
        }
        let name = if several(broker) { format!("{broker} {}", workload.describe()) } else { broker.clone() };
        series.push(Series { name, points: points.iter().map(|(rate, p99, _)| (*rate, *p99)).collect() });
    }
    let chart = Lines::new(
        format!("Load and {} latency", words(name)),
        "99th percentile at the rate that was reached; each point is a run, each line a broker and a workload. \
         Further to the right and lower is better.",
        ("MB/s", Scale::Linear),
        ("p99, ms", Scale::Log),
        series,
    );
    lines(chart, Some(table))
}

fn bars(runs: &[Run], figure: &str, title: &str, unit: &str, description: &str) -> Option<Block> {
    let values: Vec<(String, f64)> = runs
        .iter()
        .filter_map(|run| {
            let all = figures::of(run);
            Some((run.label.clone(), figures::find(&all, figure)?))
        })
        .collect();
    let mut table = Table::new(["run", unit]);
    for (label, value) in &values {
        table.row([label.clone(), short(*value)]);
    }
    let (title, description, unit) = (title.to_owned(), description.to_owned(), unit.to_owned());
    let chart = Bars { title, description, unit, values };
    (!chart.is_empty()).then_some(Block::Figure(Box::new(Drawing::Bars(chart)), Some(table)))
}

fn memory(runs: &[Run]) -> Option<Block> {
    let mut table = Table::new(["run", "peak MB"]);
    let mut series = Vec::new();
    for run in runs {
        let Some(usage) = &run.usage.broker else { continue };
        let points = usage
            .intervals
            .iter()
            .filter_map(|interval| Some((interval.start_s, interval.resident_bytes? / 1e6)))
            .collect();
        series.push(Series { name: run.label.clone(), points: thinned(points) });
        if let Some(peak) = usage.resident_bytes_max {
            table.row([run.label.clone(), short(peak / 1e6)]);
        }
    }
    let chart = Lines::new(
        "Memory of the broker",
        "Resident memory over the run, without the page cache of the system.",
        ("seconds from the start", Scale::Linear),
        ("MB", Scale::Linear),
        series,
    );
    lines(chart, Some(table))
}

/// Runs that produce and do nothing else call its latency "latency".
fn one_name(name: &str) -> &str {
    if name == "latency" { "produce" } else { name }
}

/// The name of a latency in a sentence.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::run::samples::{Made, named, run, value};

    fn titles(document: &Document) -> Vec<&str> {
        let mut titles = Vec::new();
        for block in &document.blocks {
            if let Block::Figure(drawing, _) = block {
                titles.push(drawing.title());
            }
        }
        titles
    }

    fn series<'a>(document: &'a Document, title: &str) -> &'a [Series] {
        let found = document.blocks.iter().find_map(|block| match block {
            Block::Figure(drawing, _) => match drawing.as_ref() {
                Drawing::Lines(lines) if lines.title == title => Some(&lines.series),
                _ => None,
            },
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{title} among {:?}", titles(document)))
    }

    #[test]
    fn one_run_has_its_spectrum_time_cpu_disk_and_memory() {
        let document = document(None, &[run("steady", Made::default())]);
        assert_eq!(document.title, "steady");
        assert_eq!(
            titles(&document),
            [
                "Percentiles of produce latency",
                "Produce latency over time",
                "Broker CPU per GB",
                "Written to disk per GB",
                "Memory of the broker"
            ]
        );
        assert_eq!(series(&document, "Produce latency over time").len(), 3);
        let memory = &series(&document, "Memory of the broker")[0];
        assert_eq!(memory.points[1], (0.5, 110.0));
    }

    #[test]
    fn runs_of_one_workload_at_several_rates_make_a_curve() {
        let at = |label: &str, rate: f64, p99_ms: f64| {
            run(label, Made { rate: rate * 1000.0, mb_per_s: rate, p99_ms, ..Made::default() })
        };
        let document =
            document(Some("Curve"), &[at("b", 100.0, 9.0), at("a", 50.0, 3.0), at("c", 150.0, 80.0)]);
        let curve = series(&document, "Load and produce latency");
        assert_eq!(curve.len(), 1);
        assert_eq!(curve[0].points, [(50.0, 3.0), (100.0, 9.0), (150.0, 80.0)]);
        assert_eq!(document.title, "Curve");
    }

    #[test]
    fn a_run_without_a_broker_that_was_looked_at_has_no_charts_of_it() {
        let mut blind = value(Made::default());
        blind["usage"]["broker"] = Value::Null;
        blind["parts"][0]["results"].as_object_mut().unwrap().remove("broker_cpu_s_per_gb");
        let document = document(None, &[named("a", &blind)]);
        assert_eq!(titles(&document), ["Percentiles of produce latency", "Produce latency over time"]);
        assert!(document.html().len() > 1000);
    }

    #[test]
    fn latency_of_produce_is_one_chart_under_both_its_names() {
        let mut both = value(Made::default());
        both["parts"][0]["latencies"][0]["name"] = json!("produce");
        let document = document(None, &[run("a", Made::default()), named("b", &both)]);
        assert_eq!(titles(&document).iter().filter(|title| title.starts_with("Percentiles")).count(), 1);
        assert_eq!(series(&document, "Percentiles of produce latency").len(), 2);
    }

    #[test]
    fn closed_loops_and_failures_are_said_on_the_page() {
        let mut failed = value(Made::default());
        failed["failed"] = json!(true);
        failed["faults"] = json!(["2 records <lost>"]);
        let page = document(None, &[named("a", &failed)]).html();
        assert!(page.contains("2 records &lt;lost&gt;") && page.contains("stalls are under-counted"));
        assert!(page.contains("--rate 0 &lt;&amp;&gt;"), "the command line, escaped");
    }

    #[test]
    fn markdown_has_the_figures_of_every_chart() {
        let markdown = document(None, &[run("a", Made::default()), run("b", Made::default())]).markdown();
        for part in
            ["| percentile, ms | a | b |", "| broker CPU s/GB | 0.500 | 0.500 |", "| 99.9 | 8.00 | 8.00 |"]
        {
            assert!(markdown.contains(part), "{part} in {markdown}");
        }
    }

    #[test]
    fn many_runs_become_rows() {
        let runs: Vec<Run> = (0..=COLUMNS_MAX).map(|at| run(&format!("r{at}"), Made::default())).collect();
        assert_eq!(table_of_figures(&runs).rows.len(), runs.len());
    }
}
