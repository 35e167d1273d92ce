//! The syntax of a Java properties file, as `java.util.Properties.load` reads it.
//!
//! Lines end in LF, CR or CR LF. A line whose first character is `#` or `!` is a comment. A backslash at the end
//! joins the next line, whose leading blanks go. The key ends at the first `=`, `:` or blank that no backslash
//! protects. `\t`, `\n`, `\r`, `\f` and `\uXXXX` are what they are in Java; any other protected character is itself.
//! The text is UTF-8, as in Java 9 and later.

use std::fmt;

/// One entry, in the order of the file. A later entry of the same key wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The key, without escapes.
    pub key: String,
    /// The value, without escapes; may be empty.
    pub value: String,
    /// The line on which the entry starts, from 1.
    pub line: usize,
}

/// An escape that is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEscape {
    /// The line on which the entry starts, from 1.
    pub line: usize,
}

impl fmt::Display for BadEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: \\u needs four hexadecimal digits of a character", self.line)
    }
}

impl std::error::Error for BadEscape {}

/// Reads the entries of a properties file.
///
/// # Errors
/// A `\u` without four hexadecimal digits.
pub fn parse(text: &str) -> Result<Vec<Property>, BadEscape> {
    logical_lines(text).into_iter().map(|(line, entry)| split(&entry, line)).collect()
}

/// Joins continuation lines; leaves out comments and blank lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut entries: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches([' ', '\t', '\x0c']);
        let (number, mut entry) = match open.take() {
            Some(joined) => joined,
            None if line.is_empty() || line.starts_with(['#', '!']) => continue,
            None => (index + 1, String::new()),
        };
        entry.push_str(line);
        let slashes = line.len() - line.trim_end_matches('\\').len();
        if slashes % 2 == 1 {
            entry.pop();
            open = Some((number, entry));
        } else {
            entries.push((number, entry));
        }
    }
    entries.extend(open.filter(|(_, entry)| !entry.is_empty()));
    entries
}

fn split(entry: &str, line: usize) -> Result<Property, BadEscape> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
    let mut protected = false;
    let end = entry.char_indices().find(|&(_, c)| {
        let ends = !protected && (matches!(c, '=' | ':') || blank(c));
        protected = c == '\\' && !protected;
        ends
    });
    let end = end.map_or(entry.len(), |(index, _)| index);
    let rest = entry[end..].trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(blank);
    Ok(Property { key: unescape(&entry[..end], line)?, value: unescape(rest, line)?, line })
}

fn unescape(text: &str, line: usize) -> Result<String, BadEscape> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match characters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let hexadecimal = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| hexadecimal);
                plain.push(code.and_then(char::from_u32).ok_or(BadEscape { line })?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|each| (each.key, each.value)).collect()
    }

    #[test]
    fn separators_comments_and_blanks_are_those_of_java() {
        let text = "# comment\n! comment\n\n  a=1\r\nb : 2\rc 3\nd\ne = x = y \nf=";
        let expected = [("a", "1"), ("b", "2"), ("c", "3"), ("d", ""), ("e", "x = y "), ("f", "")];
        assert_eq!(pairs(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_backslash_joins_lines_and_protects_characters() {
        assert_eq!(pairs("a=1,\\\n   2,\\\n\t3\nb=4")[0].1, "1,2,3");
        assert_eq!(pairs("a\\=b\\:c\\ d=e\\\\")[0], ("a=b:c d".to_owned(), "e\\".to_owned()));
        assert_eq!(pairs("a=\\u00e4\\t\\q")[0].1, "ä\tq");
        assert_eq!(pairs("a=1\\"), vec![("a".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_comment_is_not_continued_and_a_continuation_is_not_a_comment() {
        assert_eq!(pairs("# no \\\na=1"), vec![("a".to_owned(), "1".to_owned())]);
        assert_eq!(pairs("a=1\\\n#2"), vec![("a".to_owned(), "1#2".to_owned())]);
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        assert_eq!(parse("a=1\nb=\\u12"), Err(BadEscape { line: 2 }));
        assert_eq!(parse("b=\\ud800"), Err(BadEscape { line: 1 }));
        assert_eq!(parse("b=\\u+123"), Err(BadEscape { line: 1 }));
    }
}
