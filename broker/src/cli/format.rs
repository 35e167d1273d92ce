//! What is printed for a record: a text with places for its parts.

use std::io::{self, Write};

use wire::kafka::record::Record;

use super::error::CliError;

/// A format, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Timestamp,
    Headers,
}

impl Format {
    /// Parses a format.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let part = match (c, c == '%' || c == '\\') {
                (_, false) => {
                    plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                ('%', _) => place(characters.next())?,
                _ => Part::Text(vec![escape(characters.next())?]),
            };
            match part {
                Part::Text(bytes) => plain.extend(bytes),
                part => {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(part);
                }
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// Prints one record.
    pub(super) fn print(
        &self,
        out: &mut impl Write,
        topic: &str,
        partition: i32,
        record: &Record,
    ) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_all(text)?,
                Part::Topic => out.write_all(topic.as_bytes())?,
                Part::Partition => write!(out, "{partition}")?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Part::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Part::Timestamp => write!(out, "{}", record.timestamp)?,
                Part::Headers => {
                    for (index, header) in record.headers.iter().enumerate() {
                        out.write_all(if index == 0 { b"" } else { b"," })?;
                        out.write_all(&header.key)?;
                        out.write_all(b"=")?;
                        out.write_all(header.value.as_deref().unwrap_or_default())?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn place(letter: Option<char>) -> Result<Part, CliError> {
    Ok(match letter {
        Some('t') => Part::Topic,
        Some('p') => Part::Partition,
        Some('o') => Part::Offset,
        Some('k') => Part::Key,
        Some('v' | 's') => Part::Value,
        Some('T') => Part::Timestamp,
        Some('h') => Part::Headers,
        Some('%') => Part::Text(b"%".to_vec()),
        other => {
            let shown = other.map_or_else(String::new, String::from);
            return Err(CliError::Usage(format!("--format: %{shown} is none of %v %k %t %p %o %T %h %%")));
        }
    })
}

fn escape(letter: Option<char>) -> Result<u8, CliError> {
    match letter {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        _ => Err(CliError::Usage(
            "--format: a backslash stands before n, t, r, 0 or another backslash".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use wire::kafka::record::Headers;

    use super::*;

    #[test]
    fn places_are_filled_and_escapes_are_characters() {
        let record = Record {
            offset: 7,
            timestamp: 9,
            key: None,
            value: Some("ä%v".into()),
            headers: Headers::default(),
        };
        let mut out = Vec::new();
        Format::parse("%t[%p]@%o %k=%v (%T) %h%%\\t\\\\\\n")
            .unwrap()
            .print(&mut out, "t", 3, &record)
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "t[3]@7 =ä%v (9) %\t\\\n");
        for bad in ["%x", "%", "\\", "\\q"] {
            assert!(Format::parse(bad).is_err());
        }
    }
}
