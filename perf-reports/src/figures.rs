//! The figures of a run: named values of which it is known whether more is better.
//!
//! They come from the results of its parts, whose names end with their unit, so that a figure that a later loadgen adds
//! is compared without a change here. Means are left out: of a latency they hide what matters.

use std::collections::BTreeMap;

use crate::run::{Part, Run};

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
    /// It says something of the client, not of what is measured.
    Neither,
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// As in the run file; of a scenario with the part in front: `PART/NAME`.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) better: Better,
}

/// Endings of names, in the order in which figures are shown.
const ENDINGS: [(&str, Better); 14] = [
    ("_mb_per_s", Better::Higher),
    ("records_per_s", Better::Higher),
    ("requests_per_s", Better::Higher),
    ("_per_s", Better::Higher),
    ("_cpu_s_per_gb", Better::Lower),
    ("_cpu_s_per_million_records", Better::Lower),
    ("_cpu_us_per_request", Better::Lower),
    ("_p50_ms", Better::Lower),
    ("_p90_ms", Better::Lower),
    ("_p99_ms", Better::Lower),
    ("_p99.9_ms", Better::Lower),
    ("_max_ms", Better::Lower),
    ("_resident_mb_max", Better::Lower),
    ("_written_gb_per_gb", Better::Lower),
];

/// Where the first percentile stands in the order.
const PERCENTILES: usize = 7;

/// Bytes that the broker wrote to disks for each byte of payload.
pub(crate) const WRITTEN: &str = "broker_written_gb_per_gb";

/// Bytes that the broker read from disks for each byte of payload.
pub(crate) const READ: &str = "broker_read_gb_per_gb";

/// CPU seconds of the broker for each 10⁹ bytes of payload.
pub(crate) const CPU: &str = "broker_cpu_s_per_gb";

/// All figures of `run`, in the order of showing.
pub(crate) fn of(run: &Run) -> Vec<Figure> {
    let mut found: BTreeMap<(usize, usize, String, usize), Figure> = BTreeMap::new();
    for (part, place) in run.parts.iter().zip(0..) {
        let in_front = if run.parts.len() == 1 { String::new() } else { format!("{}/", part.name) };
        for name in part.results.keys() {
            let (Some(value), Some((rank, better))) = (part.result(name), judged(name)) else { continue };
            let figure = Figure { name: format!("{in_front}{name}"), value, better };
            found.insert(order(place, rank, name), figure);
        }
    }
    for (name, value) in of_broker(run) {
        let known = found.values().any(|figure| figure.name == name);
        if let (false, Some((rank, better))) = (known, judged(name)) {
            let figure = Figure { name: name.to_owned(), value, better };
            found.insert(order(run.parts.len(), rank, name), figure);
        }
    }
    found.into_values().collect()
}

/// The place of a figure: percentiles of one latency stand together, all else by the order of its ending.
fn order(part: usize, rank: usize, name: &str) -> (usize, usize, String, usize) {
    match ENDINGS.get(rank) {
        Some((ending, _)) if ending.ends_with("_ms") => {
            (part, PERCENTILES, name.trim_end_matches(ending).to_owned(), rank)
        }
        _ => (part, rank, name.to_owned(), 0),
    }
}

/// The figure of this name.
pub(crate) fn find(figures: &[Figure], name: &str) -> Option<f64> {
    figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
}

/// What the broker used over the whole run for each 10⁹ bytes of payload of all parts.
fn of_broker(run: &Run) -> Vec<(&'static str, f64)> {
    let bytes: f64 = run.parts.iter().filter_map(Part::bytes).sum();
    let Some(usage) = &run.usage.broker else { return Vec::new() };
    let mut figures = Vec::new();
    if bytes > 0.0 {
        figures.extend(usage.cpu_s.map(|cpu| (CPU, cpu * 1e9 / bytes)));
        figures.extend(usage.written_bytes.map(|written| (WRITTEN, written / bytes)));
        figures.extend(usage.read_bytes.map(|read| (READ, read / bytes)));
    }
    figures.extend(usage.resident_bytes_max.map(|resident| ("broker_resident_mb_max", resident / 1e6)));
    figures
}

/// Place in the order, and which way is better; nothing for names that are no figures to judge by.
fn judged(name: &str) -> Option<(usize, Better)> {
    if name == READ {
        return Some((ENDINGS.len(), Better::Lower));
    }
    let rank = ENDINGS.iter().position(|(ending, _)| name.ends_with(ending))?;
    let own = name.starts_with("client_");
    Some((rank, if own { Better::Neither } else { ENDINGS[rank].1 }))
}

/// A heading for people, with the unit behind a comma.
pub(crate) fn heading(name: &str) -> String {
    let (part, name) = name.rsplit_once('/').map_or((None, name), |(part, name)| (Some(part), name));
    let units = [
        ("_mb_per_s", "MB/s"),
        ("_per_s", "a second"),
        ("_cpu_s_per_gb", "CPU s/GB"),
        ("_cpu_s_per_million_records", "CPU s/million records"),
        ("_cpu_us_per_request", "CPU µs/request"),
        ("_resident_mb_max", "peak memory, MB"),
        ("_written_gb_per_gb", "written to disk, GB/GB"),
        ("_read_gb_per_gb", "read from disk, GB/GB"),
        ("_ms", "ms"),
    ];
    let text = units.iter().find_map(|(ending, unit)| {
        let what = name.strip_suffix(ending)?.replace('_', " ");
        let space = if *unit == "ms" { ", " } else { " " };
        Some(format!("{what}{space}{unit}"))
    });
    let text = text.unwrap_or_else(|| name.replace('_', " "));
    part.map_or(text.clone(), |part| format!("{part}: {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::samples::{Made, named, run, value};

    #[test]
    fn figures_come_in_order_and_know_which_way_is_better() {
        let figures = of(&run("a", Made::default()));
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names[..3], ["value_mb_per_s", "records_per_s", "broker_cpu_s_per_gb"]);
        let better = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().better;
        assert_eq!(better("value_mb_per_s"), Better::Higher);
        assert_eq!(better("latency_p99.9_ms"), Better::Lower);
        assert_eq!(better("client_cpu_s_per_gb"), Better::Neither);
        assert!(find(&figures, "latency_mean_ms").is_none(), "no means");
        assert!(find(&figures, "records").is_none(), "counts are no figures");
    }

    #[test]
    fn percentiles_of_one_latency_stand_together() {
        assert_eq!(ENDINGS[PERCENTILES].0, "_p50_ms");
        let mut two = value(Made::default());
        two["parts"][0]["results"]["end_to_end_p50_ms"] = json!(3.0);
        two["parts"][0]["results"]["end_to_end_p99_ms"] = json!(9.0);
        let figures = of(&named("a", &two));
        let names: Vec<&str> =
            figures.iter().map(|figure| figure.name.as_str()).filter(|name| name.ends_with("_ms")).collect();
        assert_eq!(names[..3], ["end_to_end_p50_ms", "end_to_end_p99_ms", "latency_p50_ms"]);
    }

    #[test]
    fn disk_bytes_are_related_to_payload() {
        let figures = of(&run("a", Made::default()));
        assert!((find(&figures, WRITTEN).unwrap() - 2.0).abs() < 1e-9);
        assert!(find(&figures, READ).is_none(), "null is no zero");
    }

    #[test]
    fn figures_of_a_scenario_name_their_part_and_share_the_broker() {
        let mut two = value(Made::default());
        let mut reading = two["parts"][0].clone();
        reading["name"] = json!("backfill");
        for part in [&mut two["parts"][0], &mut reading] {
            part["results"].as_object_mut().unwrap().remove("broker_cpu_s_per_gb");
        }
        two["parts"].as_array_mut().unwrap().push(reading);
        let figures = of(&named("a", &two));
        assert!(find(&figures, "produce/latency_p99_ms").is_some());
        assert!(find(&figures, "backfill/latency_p99_ms").is_some());
        let cpu = find(&figures, CPU).unwrap();
        assert!((cpu - 0.25).abs() < 1e-9, "the CPU of one, the bytes of two: {cpu}");
    }

    #[test]
    fn headings_end_with_their_unit() {
        for (name, text) in [
            ("value_mb_per_s", "value MB/s"),
            ("records_per_s", "records a second"),
            ("latency_p99.9_ms", "latency p99.9, ms"),
            ("broker_cpu_s_per_gb", "broker CPU s/GB"),
            ("tail/broker_resident_mb_max", "tail: broker peak memory, MB"),
            ("other", "other"),
        ] {
            assert_eq!(heading(name), text);
        }
    }
}
