//! `compare`: runs of two sides in pairs; of each figure the ratio of the pairs, its spread, and what that allows to say.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::document::{Block, Document, Table};
use crate::error::ReportError;
use crate::figures::{self, Better, Figure};
use crate::number::{median, short, times};
use crate::ratio::{self, Spread, Verdict};
use crate::run::Run;

/// What the two sides are called, and what is called no difference.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) first: String,
    pub(crate) second: String,
    /// Medians within this factor of 1 are no difference, whatever their spread.
    pub(crate) noise: f64,
}

/// One figure of both sides.
#[derive(Debug)]
struct Row {
    name: String,
    better: Better,
    first: Vec<f64>,
    second: Vec<f64>,
    ratios: Vec<f64>,
    spread: Spread,
    verdict: Verdict,
}

/// The figures of both runs of a pair.
type Both = (Vec<Figure>, Vec<Figure>);

/// All figures that both sides have.
#[derive(Debug)]
pub(crate) struct Comparison {
    settings: Settings,
    pairs: Vec<(String, String)>,
    doubts: Vec<String>,
    rows: Vec<Row>,
}

/// Runs that were given as A1 B1 A2 B2 ….
pub(crate) fn alternating(runs: Vec<Run>) -> Result<Vec<(Run, Run)>, ReportError> {
    if runs.len() % 2 == 1 {
        return Err(ReportError::asked(format!(
            "{} runs make no pairs: give A1 B1 A2 B2 …, or --a FILE… --b FILE…",
            runs.len()
        )));
    }
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for (place, run) in runs.into_iter().enumerate() {
        if place % 2 == 0 { firsts.push(run) } else { seconds.push(run) }
    }
    Ok(firsts.into_iter().zip(seconds).collect())
}

/// The runs of two sides, the first of one with the first of the other, by the time they were made.
pub(crate) fn by_time(mut first: Vec<Run>, mut second: Vec<Run>) -> Result<Vec<(Run, Run)>, ReportError> {
    if first.len() != second.len() {
        return Err(ReportError::asked(format!(
            "--a names {} runs and --b {}: pairs need as many of each",
            first.len(),
            second.len()
        )));
    }
    first.sort_by_key(|run| run.started_unix_ms);
    second.sort_by_key(|run| run.started_unix_ms);
    Ok(first.into_iter().zip(second).collect())
}

/// Compares the pairs.
pub(crate) fn compare(pairs: &[(Run, Run)], settings: Settings) -> Result<Comparison, ReportError> {
    if pairs.is_empty() {
        return Err(ReportError::asked("no runs were given to compare"));
    }
    for run in pairs.iter().flat_map(|(first, second)| [first, second]) {
        if run.failed {
            return Err(ReportError::asked(format!(
                "{} failed its own checks ({}): its figures are not compared",
                run.path.display(),
                run.faults.join("; ")
            )));
        }
    }
    let figures: Vec<Both> =
        pairs.iter().map(|(first, second)| (figures::of(first), figures::of(second))).collect();
    let rows: Vec<Row> = figures[0].0.iter().filter_map(|figure| row(figure, &figures, &settings)).collect();
    if rows.is_empty() {
        return Err(ReportError::asked("the runs of the two sides have no figure in common"));
    }
    Ok(Comparison {
        doubts: doubts(pairs),
        pairs: pairs.iter().map(|(first, second)| (first.label.clone(), second.label.clone())).collect(),
        settings,
        rows,
    })
}

/// A figure that every run of both sides has.
fn row(figure: &Figure, figures: &[Both], settings: &Settings) -> Option<Row> {
    let name = &figure.name;
    let of = |side: &dyn Fn(&Both) -> Option<f64>| figures.iter().map(side).collect::<Option<Vec<f64>>>();
    let first = of(&|pair| figures::find(&pair.0, name))?;
    let second = of(&|pair| figures::find(&pair.1, name))?;
    let ratios: Vec<f64> =
        first.iter().zip(&second).map(|(first, second)| ratio::of(*first, *second)).collect();
    let spread = Spread::of(&ratios)?;
    let verdict = spread.verdict(figure.better, settings.noise);
    Some(Row { name: name.clone(), better: figure.better, first, second, ratios, spread, verdict })
}

fn doubts(pairs: &[(Run, Run)]) -> Vec<String> {
    let mut doubts: Vec<String> =
        pairs.iter().flat_map(|(first, second)| first.doubts().into_iter().chain(second.doubts())).collect();
    for (first, second) in pairs {
        let differences = first.workload().differences(&second.workload());
        if !differences.is_empty() {
            let differences = differences.join("; ");
            doubts.push(format!(
                "{} and {} ran different workloads: {differences}.",
                first.label, second.label
            ));
        }
        if (&first.host.name, first.host.cores) != (&second.host.name, second.host.cores) {
            doubts.push(format!(
                "{} ran on {} and {} on {}: of different hosts only figures that travel can be compared.",
                first.label, first.host.name, second.label, second.host.name
            ));
        }
    }
    if !in_turn(pairs) {
        doubts.push(
            "The runs were not made in turn (A B A B …): what the machine did meanwhile is in the ratios."
                .to_owned(),
        );
    }
    doubts
}

/// Whether every pair was over before the next one began.
fn in_turn(pairs: &[(Run, Run)]) -> bool {
    let mut spans: Vec<(i64, i64)> = pairs
        .iter()
        .map(|(first, second)| (first.started_unix_ms, second.started_unix_ms))
        .map(|(first, second)| (first.min(second), first.max(second)))
        .collect();
    spans.sort_unstable();
    spans.windows(2).all(|two| two[0].1 <= two[1].0)
}

impl Comparison {
    fn table(&self) -> Table {
        let (first, second) = (&self.settings.first, &self.settings.second);
        let ratio_head = format!("{second} / {first}");
        let mut table = Table::new([
            "figure",
            first.as_str(),
            second.as_str(),
            ratio_head.as_str(),
            "least–most",
            "verdict",
        ]);
        for row in &self.rows {
            let middle = |values: &[f64]| median(values).map_or(String::new(), short);
            table.row([
                figures::heading(&row.name),
                middle(&row.first),
                middle(&row.second),
                times(row.spread.median),
                format!("{}–{}", times(row.spread.least), times(row.spread.most)),
                row.verdict.words().to_owned(),
            ]);
        }
        table
    }

    /// How the table is to be read.
    fn explanation(&self) -> String {
        let Settings { first, second, noise } = &self.settings;
        let pairs = self.pairs.len();
        let sure = self.rows.iter().map(|row| row.spread.confidence).fold(1.0, f64::min);
        format!(
            "{pairs} pairs. Values are medians; ratios are of the two runs of a pair, {second} / {first}: their median, the \
             least and the most. A difference is named where the middle ratios of the pairs all lie on one side of 1 \
             (they hold the true ratio with {:.0} %) and their median is beyond {noise}; three pairs at least.",
            sure * 100.0
        )
    }

    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}\n{}\n", self.table().text(), self.explanation());
        for doubt in &self.doubts {
            let _ = writeln!(out, "! {doubt}");
        }
        out
    }

    pub(crate) fn document(&self) -> Document {
        let mut blocks = vec![Block::Text(self.explanation()), Block::Table(self.table())];
        if !self.doubts.is_empty() {
            blocks.push(Block::List(self.doubts.clone()));
        }
        blocks.push(Block::Heading("Pairs".to_owned()));
        let pairs = self.pairs.iter().map(|(first, second)| format!("{first} and {second}"));
        blocks.push(Block::List(pairs.collect()));
        Document { title: format!("{} against {}", self.settings.second, self.settings.first), blocks }
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "name": row.name,
                "better": match row.better {
                    Better::Higher => "higher",
                    Better::Lower => "lower",
                    Better::Neither => "neither",
                },
                "a": row.first, "b": row.second, "ratios": row.ratios,
                "median": row.spread.median, "least": row.spread.least, "most": row.spread.most,
                "low": row.spread.low, "high": row.spread.high, "confidence": row.spread.confidence,
                "verdict": row.verdict.words(),
            })
        });
        json!({
            "kind": "comparison", "format": 1,
            "a": self.settings.first, "b": self.settings.second, "noise": self.settings.noise,
            "pairs": self.pairs.iter().map(|(a, b)| json!({"a": a, "b": b})).collect::<Vec<_>>(),
            "doubts": self.doubts,
            "figures": rows.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::samples::{Made, named, run, value};

    fn settings() -> Settings {
        Settings { first: "old".to_owned(), second: "new".to_owned(), noise: 1.02 }
    }

    /// Pairs in turn; the second of each needs `cpu` times the CPU of the first, on a machine that drifts.
    fn pairs(cpu: &[f64]) -> Vec<(Run, Run)> {
        let made = |place: usize, cpu: f64| {
            let drift = 1.0 + place as f64;
            Made { started_ms: place as i64 * 1000, cpu_s_per_gb: drift * cpu, ..Made::default() }
        };
        let pair = |(place, cpu): (usize, &f64)| {
            let later = Made { started_ms: place as i64 * 1000 + 500, ..made(place, *cpu) };
            (run("a", made(place, 1.0)), run("b", later))
        };
        cpu.iter().enumerate().map(pair).collect()
    }

    fn verdict(comparison: &Comparison, name: &str) -> Verdict {
        comparison.rows.iter().find(|row| row.name == name).unwrap().verdict
    }

    #[test]
    fn a_difference_inside_pairs_is_seen_through_a_drift_that_is_larger() {
        let found = compare(&pairs(&[0.8, 0.82, 0.79, 0.81]), settings()).unwrap();
        assert_eq!(verdict(&found, "broker_cpu_s_per_gb"), Verdict::Better);
        assert_eq!(verdict(&found, "latency_p99_ms"), Verdict::NoDifference);
        assert_eq!(verdict(&found, "client_cpu_s_per_gb"), Verdict::NotJudged);
        assert!(found.doubts.is_empty(), "{:?}", found.doubts);
        let text = found.text();
        let line = text.lines().find(|line| line.starts_with("broker CPU s/GB")).unwrap();
        assert!(line.contains("0.79–0.82") && line.ends_with("better"), "{line}");
    }

    #[test]
    fn a_spread_over_one_allows_no_difference() {
        let found = compare(&pairs(&[0.8, 1.1, 0.7, 0.9]), settings()).unwrap();
        assert_eq!(verdict(&found, "broker_cpu_s_per_gb"), Verdict::NoDifference);
    }

    #[test]
    fn json_has_every_value_and_every_ratio() {
        let json = compare(&pairs(&[0.5, 0.5, 0.5]), settings()).unwrap().json();
        assert_eq!(json["kind"], "comparison");
        let figure = json["figures"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "broker_cpu_s_per_gb")
            .unwrap();
        assert_eq!(figure["ratios"], json!([0.5, 0.5, 0.5]));
        assert_eq!((&figure["verdict"], &figure["better"]), (&json!("better"), &json!("lower")));
        assert_eq!(figure["a"], json!([1.0, 2.0, 3.0]));
    }

    #[test]
    fn runs_that_are_no_fair_pair_are_named() {
        let mut other = value(Made { started_ms: 9000, ..Made::default() });
        other["parts"][0]["settings"]["size"] = json!("fixed:100");
        other["host"]["name"] = json!("elsewhere");
        let mut pairs = pairs(&[1.0, 1.0]);
        pairs[0].1 = named("c", &other);
        let text = compare(&pairs, settings()).unwrap().text();
        for part in ["size: fixed:1024 and fixed:100", "elsewhere", "not made in turn"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn failed_runs_and_odd_numbers_are_refused() {
        let mut failed = value(Made::default());
        failed["failed"] = json!(true);
        failed["faults"] = json!(["3 lost"]);
        let said = compare(&[(run("a", Made::default()), named("b", &failed))], settings()).unwrap_err();
        assert!(said.to_string().contains("(3 lost)"), "{said}");
        assert!(alternating(vec![run("a", Made::default())]).is_err());
        assert!(by_time(vec![run("a", Made::default())], Vec::new()).is_err());
    }

    #[test]
    fn sides_are_paired_by_the_time_of_their_runs() {
        let at = |label: &str, started_ms: i64| run(label, Made { started_ms, ..Made::default() });
        let pairs = by_time(vec![at("a2", 30), at("a1", 10)], vec![at("b1", 20), at("b2", 40)]).unwrap();
        let labels: Vec<(&str, &str)> =
            pairs.iter().map(|(first, second)| (first.label.as_str(), second.label.as_str())).collect();
        assert_eq!(labels, [("a1", "b1"), ("a2", "b2")]);
    }
}
