//! Charts as SVG, made to be read at 340 pixels: few words, a key below, never by colour alone.

mod axis;
mod bars;

use std::fmt::Write as _;

pub(crate) use axis::{Axis, Scale};
pub(crate) use bars::Bars;

use crate::limits::{LINE_POINTS_MAX, MARKED_POINTS_MAX};
use crate::number::short;

/// Kinds of lines that a page can tell apart: colours by as many dashes.
pub(crate) const COLOURS: usize = 8;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 36.0;

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over two axes.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    /// What is to be seen, in words, for those who do not see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

impl Lines {
    /// A chart with room for all points of `series`. `x` and `y`: label and scale.
    pub(crate) fn new(
        title: impl Into<String>,
        description: impl Into<String>,
        x: (&str, Scale),
        y: (&str, Scale),
        series: Vec<Series>,
    ) -> Self {
        let points = || series.iter().flat_map(|line| line.points.iter());
        Self {
            x: Axis::over(x.0, x.1, points().map(|point| point.0)),
            y: Axis::over(y.0, y.1, points().map(|point| point.1)),
            title: title.into(),
            description: description.into(),
            series,
        }
    }

    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.iter().all(|line| line.points.is_empty())
    }

    /// The chart; `id` is its own on the page.
    pub(crate) fn svg(&self, id: &str) -> String {
        let mut out = open(id, &self.title, &self.description, HEIGHT);
        self.grid(&mut out);
        for (place, line) in self.series.iter().enumerate() {
            self.line(&mut out, place, line);
        }
        out.push_str("</svg>");
        out
    }

    fn grid(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (place, text) in self.y.ticks() {
            let y = bottom - place * (bottom - TOP);
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            let text = escape(text);
            let _ = write!(
                out,
                "<text class=\"tick end\" x=\"{}\" y=\"{:.1}\">{text}</text>",
                LEFT - 5.0,
                y + 3.5
            );
        }
        for (place, text) in self.x.ticks() {
            let x = LEFT + place * (right - LEFT);
            let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            let text = escape(text);
            let _ =
                write!(out, "<text class=\"tick middle\" x=\"{x:.1}\" y=\"{}\">{text}</text>", bottom + 13.0);
        }
        let middle = f64::midpoint(LEFT, right);
        let _ = write!(
            out,
            "<text class=\"label middle\" x=\"{middle}\" y=\"{}\">{}</text>",
            HEIGHT - 6.0,
            escape(&self.x.label)
        );
        let (x, y) = (11.0, f64::midpoint(TOP, bottom));
        let _ = write!(
            out,
            "<text class=\"label middle\" transform=\"translate({x} {y}) rotate(-90)\">{}</text>",
            escape(&self.y.label)
        );
    }

    fn line(&self, out: &mut String, place: usize, line: &Series) {
        let class = style(place);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let places: Vec<(f64, f64, (f64, f64))> = line
            .points
            .iter()
            .filter_map(|point| {
                let (x, y) = (self.x.place(point.0)?, self.y.place(point.1)?);
                Some((LEFT + x * (right - LEFT), bottom - y * (bottom - TOP), *point))
            })
            .collect();
        let path: Vec<String> = places.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(out, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
        if places.len() <= MARKED_POINTS_MAX {
            for (x, y, (at, value)) in &places {
                let said = escape(&format!("{}: {}, {}", line.name, short(*at), short(*value)));
                let _ = write!(
                    out,
                    "<circle class=\"mark {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"><title>{said}</title></circle>"
                );
            }
        }
    }
}

/// The beginning of a drawing, which has a name and a description for those who listen to it.
fn open(id: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        escape(title),
        escape(description)
    )
}

/// Classes of the line, or bar, at this place: a colour and a dash.
pub(crate) fn style(place: usize) -> String {
    format!("c{} d{}", place % COLOURS, place % 3)
}

/// At most as many points as a line may have; of each stretch the one with the greatest value stays.
pub(crate) fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= LINE_POINTS_MAX {
        return points;
    }
    let stretch = points.len().div_ceil(LINE_POINTS_MAX);
    points
        .chunks(stretch)
        .filter_map(|points| points.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1)))
        .collect()
}

/// Text that may stand in HTML and SVG, also between double quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // What XML cannot say.
            control if control.is_control() && control != '\n' && control != '\t' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Lines {
        let series = vec![Series { name: "p99 of <a> & \"b\"".to_owned(), points }];
        Lines::new("Latency <x>", "it rises", ("s", Scale::Linear), ("ms", Scale::Log), series)
    }

    #[test]
    fn a_chart_scales_has_a_name_and_escapes_what_it_was_told() {
        let svg = chart(vec![(0.0, 1.0), (1.0, 10.0)]).svg("k1");
        assert!(svg.contains("viewBox=\"0 0 360 236\""), "{svg}");
        assert!(!svg.contains(" width="), "the page says how wide it is");
        assert!(
            svg.contains("aria-labelledby=\"k1-t k1-d\"")
                && svg.contains("<title id=\"k1-t\">Latency &lt;x&gt;")
        );
        assert!(svg.contains("p99 of &lt;a&gt; &amp; &quot;b&quot;: 1.00, 10.0"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn points_are_where_their_values_say() {
        let svg = chart(vec![(0.0, 1.0), (1.0, 10.0)]).svg("k");
        // From the lower left corner of the plot to its upper right one.
        assert!(svg.contains("points=\"44.0,200.0 346.0,10.0\""), "{svg}");
    }

    #[test]
    fn points_without_a_place_are_passed_over() {
        let svg = chart(vec![(0.0, 0.0), (0.5, f64::NAN), (1.0, 10.0)]).svg("k");
        assert_eq!(svg.matches("<circle").count(), 1, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_peaks() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|at| (f64::from(at), 1.0)).collect();
        points[7777].1 = 99.0;
        let thin = thinned(points);
        assert!(thin.len() <= LINE_POINTS_MAX);
        assert!(thin.contains(&(7777.0, 99.0)));
    }
}
