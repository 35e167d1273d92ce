//! A plan, and a validation, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::answer::Plan;
use super::model::{Model, TERM_NAMES};
use super::validate::{Validation, What};
use crate::chart::{Lines, Scale, Series};
use crate::document::{Block, Document, Drawing, Table};
use crate::number::{brief, short, times};

impl Plan {
    fn table(&self) -> Table {
        let mut table = Table::new(["", "value", "source"]);
        for figure in &self.figures {
            let value = format!("{} {}", brief(figure.value), figure.unit).trim_end().to_owned();
            table.row([figure.what.to_owned(), value, figure.source.words().to_owned()]);
        }
        table
    }

    fn bottleneck(&self) -> String {
        format!(
            "Bottleneck: {}. Headroom: the ingress may be {} times as much before that is over its limit (planned to {:.0} % \
             of saturation).",
            self.bottleneck.words(),
            times(self.headroom),
            self.load_max * 100.0
        )
    }

    /// The plan as a page, with the curve that its latency comes from.
    pub(crate) fn document(&self) -> Document {
        let latency = Lines::new(
            "Load and latency",
            "99th percentile of produce of such records over the share of saturation, by the curves of the profile, as far \
             as they were measured.",
            ("% of saturation", Scale::Linear),
            ("p99, ms", Scale::Log),
            vec![Series { name: "p99".to_owned(), points: self.curve.clone() }],
        );
        let mut blocks = vec![
            Block::Text(format!("Asked: {}.", self.asked)),
            Block::Text(format!("Profile: {}.", self.profile)),
            Block::Table(self.table()),
            Block::Text(self.bottleneck()),
            Block::Heading("How far to believe it".to_owned()),
            Block::Text(self.validation.sentence()),
        ];
        if !self.reasons.is_empty() {
            blocks.push(Block::Text("Figures are extrapolated, because:".to_owned()));
            blocks.push(Block::List(self.reasons.clone()));
        }
        blocks.push(Block::Figure(Box::new(Drawing::Lines(latency)), None));
        blocks.push(Block::Heading("Predicted and measured".to_owned()));
        blocks.push(Block::Table(self.validation.table()));
        Document { title: "Capacity plan".to_owned(), blocks }
    }

    pub(crate) fn text(&self) -> String {
        let mut out =
            format!("Asked: {}.\nProfile: {}.\n\n{}\n", self.asked, self.profile, self.table().text());
        let _ = writeln!(out, "{}", self.bottleneck());
        let _ = writeln!(out, "{}", self.validation.sentence());
        if !self.reasons.is_empty() {
            let _ = writeln!(out, "Extrapolated, because:");
            for reason in &self.reasons {
                let _ = writeln!(out, "- {reason}");
            }
        }
        out
    }

    pub(crate) fn json(&self) -> Value {
        let figures: serde_json::Map<String, Value> = self
            .figures
            .iter()
            .map(|figure| {
                let value =
                    json!({"value": figure.value, "unit": figure.unit, "source": figure.source.words()});
                (figure.name.to_owned(), value)
            })
            .collect();
        json!({
            "kind": "plan", "format": 1,
            "asked": self.asked, "profile": self.profile,
            "figures": figures,
            "bottleneck": self.bottleneck.words(), "headroom": self.headroom, "load_max": self.load_max,
            "extrapolated_because": self.reasons,
            "errors": self.validation.json(),
        })
    }
}

impl Validation {
    pub(crate) fn json(&self) -> Value {
        let medians: serde_json::Map<String, Value> = What::ALL
            .into_iter()
            .map(|what| {
                let error = self.median_error(what);
                (
                    what.key().to_owned(),
                    json!({"median": error.map(|error| error.0), "points": error.map_or(0, |error| error.1),
                        "noise": self.noise_of(what)}),
                )
            })
            .collect();
        json!({"held_out": self.held_out, "figures": medians})
    }

    /// Everything predicted beside what was measured, and the costs it comes from.
    pub(crate) fn text(&self, model: &Model) -> String {
        let mut costs = Table::new(["cost", "value"]);
        for (name, cost) in TERM_NAMES.into_iter().zip(model.costs) {
            costs.row([name.to_owned(), short(cost)]);
        }
        costs.row(["ms of a commit that requests share".to_owned(), short(model.commit_s * 1e3)]);
        costs.row(["usable share of a core at saturation".to_owned(), short(model.usable)]);
        format!("{}\n{}\n{}\n", costs.text(), self.table().text(), self.sentence())
    }

    /// The same for programs.
    pub(crate) fn full_json(&self, model: &Model) -> Value {
        let costs: serde_json::Map<String, Value> = TERM_NAMES
            .into_iter()
            .zip(model.costs)
            .map(|(name, cost)| (name.to_owned(), json!(cost)))
            .collect();
        let judged: Vec<Value> = self
            .judged
            .iter()
            .map(|judged| {
                json!({"case": judged.case, "figure": judged.what.key(), "predicted": judged.predicted,
                    "measured": judged.measured, "error": judged.error()})
            })
            .collect();
        json!({"kind": "validation", "format": 1, "costs": costs, "commit_ms": model.commit_s * 1e3, "usable": model.usable, "cases": judged,
            "errors": self.json()})
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::samples::{question, truth};
    use crate::plan::{answer, model};

    #[test]
    fn every_plan_shows_its_errors_and_marks_every_figure() {
        let plan = answer(&truth().profile(), &question()).unwrap();
        let text = plan.text();
        assert!(text.contains("Median error of points held out of the fit: CPU s/GB 0 %"), "{text}");
        for figure in &plan.figures {
            let line = text.lines().find(|line| line.starts_with(figure.what)).unwrap();
            assert!(line.ends_with(figure.source.words()), "{line}");
        }
        let page = plan.document().html();
        assert!(
            page.contains("<polyline") && page.contains("Median error") && page.contains("clients shared")
        );
        let json = plan.json();
        assert_eq!(json["figures"]["nodes"]["value"], 1.0);
        assert_eq!(json["figures"]["nodes"]["source"], "extrapolated");
        assert!(json["errors"]["figures"]["p99_ms"]["points"].as_u64().unwrap() >= 2);
    }

    #[test]
    fn a_validation_shows_predicted_beside_measured() {
        let (model, validation) = model(&truth().profile()).unwrap();
        let text = validation.text(&model);
        assert!(
            text.contains("s per GB written") && text.contains("predicted") && text.contains("Median error")
        );
        let json = validation.full_json(&model);
        assert_eq!(json["cases"].as_array().unwrap().len(), validation.judged.len());
    }
}
