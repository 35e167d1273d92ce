//! A report as markdown: everything but the drawings, whose figures stand in tables.

use std::fmt::Write as _;

use crate::document::{Block, Document, Table};

impl Document {
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("# {}\n", plain(&self.title));
        for block in &self.blocks {
            out.push('\n');
            match block {
                Block::Heading(text) => {
                    let _ = writeln!(out, "## {}", plain(text));
                }
                Block::Text(text) => {
                    let _ = writeln!(out, "{}", plain(text));
                }
                Block::List(items) => {
                    for item in items {
                        let _ = writeln!(out, "- {}", plain(item));
                    }
                }
                Block::Table(table) => out += &table.markdown(),
                Block::Figure(drawing, table) => {
                    let _ =
                        writeln!(out, "### {}\n\n{}", plain(drawing.title()), plain(drawing.description()));
                    if let Some(table) = table {
                        let _ = write!(out, "\n{}", table.markdown());
                    }
                }
                Block::Code(lines) => {
                    let _ = writeln!(out, "```\n{}\n```", lines.join("\n").replace("```", "` ` `"));
                }
            }
        }
        out
    }
}

impl Table {
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| plain(cell).replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut out = line(&self.heads);
        out.push_str("|---|");
        out.push_str(&"---:|".repeat(self.heads.len().saturating_sub(1)));
        out.push('\n');
        for row in &self.rows {
            out += &line(row);
        }
        out
    }
}

/// Text that is no markup, in one line.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '*' | '`' | '[' => out.extend(['\\', character]),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_tables_and_words() {
        let mut table = Table::new(["figure", "a|b"]);
        table.row(["rate *", "1"]);
        let document = Document {
            title: "Runs <of> x".to_owned(),
            blocks: vec![
                Block::Text("first".to_owned()),
                Block::Table(table),
                Block::List(vec!["one".to_owned(), "two".to_owned()]),
                Block::Code(vec!["loadgen produce".to_owned()]),
            ],
        };
        assert_eq!(
            document.markdown(),
            "# Runs &lt;of> x\n\nfirst\n\n| figure | a\\|b |\n|---|---:|\n| rate \\* | 1 |\n\n- one\n- two\n\n```\nloadgen produce\n```\n"
        );
    }
}
