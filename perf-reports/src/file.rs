//! Files with a `format` number: what another version wrote is refused by name, never guessed at.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ReportError;
use crate::limits::FILE_BYTES_MAX;

/// A kind of file, as its reader knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileKind {
    /// For sentences: "run file", "profile".
    pub(crate) name: &'static str,
    /// What its member `kind` says; run files have no such member.
    pub(crate) kind: Option<&'static str>,
    /// The `format` that is known.
    pub(crate) format: u64,
}

impl FileKind {
    /// Reads the file at `path`.
    pub(crate) fn read<T: DeserializeOwned>(self, path: &Path) -> Result<T, ReportError> {
        let length = fs::metadata(path).map_err(|cause| ReportError::reading(path, cause))?.len();
        if length > FILE_BYTES_MAX {
            return Err(ReportError::asked(format!(
                "{} has {length} bytes, and this program reads files of up to {FILE_BYTES_MAX}",
                path.display()
            )));
        }
        let text = fs::read_to_string(path).map_err(|cause| ReportError::reading(path, cause))?;
        self.parse(path, &text)
    }

    /// The content of a file that was read from `path`.
    pub(crate) fn parse<T: DeserializeOwned>(self, path: &Path, text: &str) -> Result<T, ReportError> {
        let shape = |cause| ReportError::Shape { path: path.to_owned(), expected: self.name, cause };
        let value: Value = serde_json::from_str(text).map_err(shape)?;
        let kind = |found: String| ReportError::Kind { path: path.to_owned(), expected: self.name, found };
        match (self.kind, value.get("kind").and_then(Value::as_str)) {
            (Some(own), Some(found)) if own == found => {}
            (None, None) => {}
            (_, Some(found)) => return Err(kind(format!("its `kind` is \"{found}\""))),
            (Some(own), None) => return Err(kind(format!("it has no `kind` of \"{own}\""))),
        }
        match value.get("format") {
            Some(Value::Number(found)) if found.as_u64() == Some(self.format) => {}
            Some(found) => {
                return Err(ReportError::Format {
                    path: path.to_owned(),
                    expected: self.name,
                    found: found.to_string(),
                    known: self.format,
                });
            }
            None => return Err(kind("it has no `format`".to_owned())),
        }
        serde_json::from_value(value).map_err(shape)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Thing {
        size: u64,
    }

    const RUN: FileKind = FileKind { name: "run file", kind: None, format: 1 };
    const PROFILE: FileKind = FileKind { name: "profile", kind: Some("profile"), format: 3 };

    fn read(kind: FileKind, text: &str) -> Result<Thing, String> {
        kind.parse(Path::new("some.json"), text).map_err(|error: ReportError| error.to_string())
    }

    #[test]
    fn a_file_of_the_known_format_is_read_and_unknown_members_are_passed_over() {
        assert_eq!(read(RUN, r#"{"format": 1, "size": 7, "new": []}"#).unwrap().size, 7);
        assert_eq!(read(PROFILE, r#"{"kind": "profile", "format": 3, "size": 8}"#).unwrap().size, 8);
    }

    #[test]
    fn another_format_is_refused_with_both_numbers() {
        let said = read(RUN, r#"{"format": 2, "size": 7}"#).unwrap_err();
        assert!(said.contains("some.json has format 2") && said.contains("of format 1"), "{said}");
        let said = read(RUN, r#"{"format": "1", "size": 7}"#).unwrap_err();
        assert!(said.contains("format \"1\""), "{said}");
    }

    #[test]
    fn files_of_another_kind_are_refused() {
        for (kind, text, part) in [
            (RUN, r#"{"size": 7}"#, "no `format`"),
            (RUN, r#"{"kind": "profile", "format": 1, "size": 7}"#, "its `kind` is \"profile\""),
            (PROFILE, r#"{"format": 3, "size": 7}"#, "no `kind` of \"profile\""),
            (RUN, r#"{"format": 1}"#, "missing field `size`"),
            (RUN, "produce 7", "some.json is no run file"),
        ] {
            let said = read(kind, text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
