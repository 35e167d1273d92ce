//! Why a command cannot do what it was asked: one sentence each.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// What stands between a command and its answer.
#[derive(Debug)]
pub(crate) enum ReportError {
    /// A file cannot be read or written.
    File { what: &'static str, path: PathBuf, cause: io::Error },
    /// A file that is no JSON, or not the object that it says it is.
    Shape { path: PathBuf, expected: &'static str, cause: serde_json::Error },
    /// A file of another kind.
    Kind { path: PathBuf, expected: &'static str, found: String },
    /// A file of another version.
    Format { path: PathBuf, expected: &'static str, found: String, known: u64 },
    /// What was asked makes no sense with the files that were given.
    Asked(String),
}

impl ReportError {
    pub(crate) fn asked(sentence: impl Into<String>) -> Self {
        Self::Asked(sentence.into())
    }

    pub(crate) fn reading(path: &Path, cause: io::Error) -> Self {
        Self::File { what: "read", path: path.to_owned(), cause }
    }

    pub(crate) fn writing(path: &Path, cause: io::Error) -> Self {
        Self::File { what: "write", path: path.to_owned(), cause }
    }
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { what, path, cause } => write!(f, "cannot {what} {}: {cause}", path.display()),
            Self::Shape { path, expected, cause } => {
                write!(f, "{} is no {expected}: {cause}", path.display())
            }
            Self::Kind { path, expected, found } => {
                write!(f, "{} is no {expected}: {found}", path.display())
            }
            Self::Format { path, expected, found, known } => write!(
                f,
                "{} has format {found}, and this program reads a {expected} of format {known}: \
                 use the perf-reports that came with the loadgen that wrote it",
                path.display()
            ),
            Self::Asked(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for ReportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { cause, .. } => Some(cause),
            Self::Shape { cause, .. } => Some(cause),
            Self::Kind { .. } | Self::Format { .. } | Self::Asked(_) => None,
        }
    }
}
