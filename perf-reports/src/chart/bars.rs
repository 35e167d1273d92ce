//! Bars that lie: a name, a length, a value.

use std::fmt::Write as _;

use super::{Axis, RIGHT, Scale, WIDTH, escape, open, style};
use crate::number::short;

/// One bar for each run, all from zero.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) unit: String,
    pub(crate) values: Vec<(String, f64)>,
}

const ROW: f64 = 34.0;
const MARGIN: f64 = 6.0;

/// Room for the value behind the longest bar.
const VALUE_ROOM: f64 = 64.0;

impl Bars {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn svg(&self, id: &str) -> String {
        let height = ROW * self.values.len() as f64 + 2.0 * MARGIN;
        let mut out = open(id, &self.title, &self.description, height);
        let axis = Axis::over("", Scale::Linear, self.values.iter().map(|bar| bar.1));
        for (place, (name, value)) in self.values.iter().enumerate() {
            let y = MARGIN + ROW * place as f64;
            let length = axis.place(*value).unwrap_or(0.0) * (WIDTH - MARGIN - RIGHT - VALUE_ROOM);
            let _ = write!(
                out,
                "<text class=\"label\" x=\"{MARGIN}\" y=\"{:.1}\">{}</text>",
                y + 10.0,
                escape(name)
            );
            let _ = write!(
                out,
                "<rect class=\"bar {}\" x=\"{MARGIN}\" y=\"{:.1}\" width=\"{:.1}\" height=\"13\"/>",
                style(place),
                y + 15.0,
                length.max(1.0)
            );
            let said = format!("{} {}", short(*value), self.unit);
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                MARGIN + length + 5.0,
                y + 26.0,
                escape(&said)
            );
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let values = vec![("a".to_owned(), 2.0), ("b & c".to_owned(), 1.0), ("none".to_owned(), 0.0)];
        let chart =
            Bars { title: "CPU".to_owned(), description: String::new(), unit: "s/GB".to_owned(), values };
        let svg = chart.svg("k");
        let widths: Vec<f64> = svg
            .split("width=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!((widths[0] / widths[1] - 2.0).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("2.00 s/GB") && svg.contains("b &amp; c"), "{svg}");
    }
}
