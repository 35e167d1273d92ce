//! A report as one HTML file that needs nothing else: no script, no font, no network.

use std::fmt::Write as _;

use crate::chart::{escape, style};
use crate::document::{Block, Document, Drawing, Table};

/// Light and dark by what the reader's system prefers; one column on a phone, as many as fit elsewhere.
const STYLE: &str = include_str!("page.css");

impl Document {
    pub(crate) fn html(&self) -> String {
        let title = escape(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        let mut figures = false;
        for (place, block) in self.blocks.iter().enumerate() {
            let is_figure = matches!(block, Block::Figure(..));
            if is_figure != figures {
                out.push_str(if is_figure { "<div class=\"figures\">\n" } else { "</div>\n" });
                figures = is_figure;
            }
            block.html(place, &mut out);
        }
        if figures {
            out.push_str("</div>\n");
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }
}

impl Block {
    fn html(&self, place: usize, out: &mut String) {
        let _ = match self {
            Self::Heading(text) => writeln!(out, "<h2>{}</h2>", escape(text)),
            Self::Text(text) => writeln!(out, "<p>{}</p>", escape(text)),
            Self::List(items) => {
                let items: Vec<String> =
                    items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
                writeln!(out, "<ul>{}</ul>", items.concat())
            }
            Self::Table(table) => writeln!(out, "{}", table.html()),
            Self::Figure(drawing, table) => writeln!(out, "{}", figure(drawing, table.as_ref(), place)),
            Self::Code(lines) => writeln!(out, "<pre>{}</pre>", escape(&lines.join("\n"))),
        };
    }
}

impl Table {
    /// A table that scrolls by itself where the page is too narrow, also by keys.
    fn html(&self) -> String {
        let name = escape(self.heads.first().map_or("", String::as_str));
        let mut out = format!(
            "<div class=\"wide\" role=\"region\" aria-label=\"table: {name}\" tabindex=\"0\"><table><thead><tr>"
        );
        for head in &self.heads {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escape(head));
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let cell = escape(cell);
                let _ = match column {
                    0 => write!(out, "<th scope=\"row\">{cell}</th>"),
                    _ => write!(out, "<td>{cell}</td>"),
                };
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
        out
    }
}

fn figure(drawing: &Drawing, table: Option<&Table>, place: usize) -> String {
    let id = format!("figure-{place}");
    let mut out = format!("<figure><h3>{}</h3>{}", escape(drawing.title()), drawing.svg(&id));
    let key = drawing.key();
    if key.len() > 1 {
        out.push_str("<ul class=\"key\">");
        for (place, name) in key.iter().enumerate() {
            let class = style(place);
            let _ = write!(
                out,
                "<li><svg viewBox=\"0 0 24 8\" aria-hidden=\"true\"><path class=\"line {class}\" d=\"M0 4H24\"/></svg>{}</li>",
                escape(name)
            );
        }
        out.push_str("</ul>");
    }
    let _ = write!(out, "<figcaption>{}</figcaption>", escape(drawing.description()));
    if let Some(table) = table {
        let _ = write!(out, "<details><summary>In figures</summary>{}</details>", table.html());
    }
    out.push_str("</figure>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Bars, Lines, Scale, Series};

    fn document() -> Document {
        let series = |name: &str| Series { name: name.to_owned(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let lines = Lines::new(
            "Latency",
            "how long",
            ("s", Scale::Linear),
            ("ms", Scale::Log),
            vec![series("a"), series("b <")],
        );
        let bars = Bars {
            title: "CPU".to_owned(),
            description: "how much".to_owned(),
            unit: "s".to_owned(),
            values: vec![("a".to_owned(), 1.0)],
        };
        let mut table = Table::new(["figure", "<b>"]);
        table.row(["rate", "1 & 2"]);
        Document {
            title: "Runs & <more>".to_owned(),
            blocks: vec![
                Block::Text("<script>alert(1)</script>".to_owned()),
                Block::Figure(Box::new(Drawing::Lines(lines)), Some(table)),
                Block::Figure(Box::new(Drawing::Bars(bars)), None),
                Block::Heading("last".to_owned()),
            ],
        }
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = document().html();
        for needs in ["http://", "https://", "<script", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(needs), "{needs}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn what_runs_say_is_no_markup() {
        let page = document().html();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("<title>Runs &amp; &lt;more&gt;</title>") && page.contains("1 &amp; 2"));
        assert!(page.contains("b &lt;</li>"), "also in a key");
    }

    #[test]
    fn every_element_is_closed_and_every_id_is_one() {
        let page = document().html();
        for element in
            ["div", "figure", "svg", "table", "ul", "details", "main", "section", "th", "td", "p", "h2"]
        {
            let opened =
                page.matches(&format!("<{element} ")).count() + page.matches(&format!("<{element}>")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
        assert!(ids.len() >= 4);
    }
}
