//! What a report says, before it is a page, markdown or plain text.

use crate::chart::{Bars, Lines};

/// A report: a title and what follows.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(crate) enum Block {
    Heading(String),
    Text(String),
    List(Vec<String>),
    Table(Table),
    /// A drawing, and the same in figures.
    Figure(Box<Drawing>, Option<Table>),
    /// What is to be read, or typed, letter by letter.
    Code(Vec<String>),
}

#[derive(Debug)]
pub(crate) enum Drawing {
    Lines(Lines),
    Bars(Bars),
}

/// A table; its first column names the rows, the others hold figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) heads: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Drawing {
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Lines(lines) => &lines.title,
            Self::Bars(bars) => &bars.title,
        }
    }

    pub(crate) fn description(&self) -> &str {
        match self {
            Self::Lines(lines) => &lines.description,
            Self::Bars(bars) => &bars.description,
        }
    }

    /// Names of what is drawn with lines, for the key.
    pub(crate) fn key(&self) -> Vec<&str> {
        match self {
            Self::Lines(lines) => lines.series.iter().map(|line| line.name.as_str()).collect(),
            Self::Bars(_) => Vec::new(),
        }
    }

    pub(crate) fn svg(&self, id: &str) -> String {
        match self {
            Self::Lines(lines) => lines.svg(id),
            Self::Bars(bars) => bars.svg(id),
        }
    }
}

impl Table {
    pub(crate) fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { heads: heads.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.heads.len(), "a cell for each head");
        self.rows.push(cells);
    }

    /// Columns in line, for a terminal; the first to the left, the others to the right.
    pub(crate) fn text(&self) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let mut out = String::new();
            for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                if place == 0 {
                    out = format!("{cell}{padding}");
                } else {
                    out = format!("{out}  {padding}{cell}");
                }
            }
            out.trim_end().to_owned() + "\n"
        };
        let mut out = line(&self.heads);
        for row in &self.rows {
            out += &line(row);
        }
        out
    }

    /// Rows for columns: for many runs on a narrow page.
    pub(crate) fn turned(&self) -> Self {
        let mut turned =
            Self { heads: vec![self.heads.first().cloned().unwrap_or_default()], rows: Vec::new() };
        turned.heads.extend(self.rows.iter().filter_map(|row| row.first().cloned()));
        for (column, head) in self.heads.iter().enumerate().skip(1) {
            let mut row = vec![head.clone()];
            row.extend(self.rows.iter().map(|cells| cells[column].clone()));
            turned.rows.push(row);
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["figure", "a", "b"]);
        table.row(["rate", "1", "1,000"]);
        table.row(["p99 µs", "20", "3"]);
        table
    }

    #[test]
    fn columns_stand_in_line_by_characters() {
        assert_eq!(table().text(), "figure   a      b\nrate     1  1,000\np99 µs  20      3\n");
    }

    #[test]
    fn a_turned_table_says_the_same() {
        let turned = table().turned();
        assert_eq!(turned.heads, ["figure", "rate", "p99 µs"]);
        assert_eq!(turned.rows[1], ["b", "1,000", "3"]);
        assert_eq!(turned.turned(), table());
    }
}
