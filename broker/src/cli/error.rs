//! Why a command failed, in one sentence.

use std::fmt;
use std::io;

use wire::kafka::{DecodeError, ErrorCode};

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// No connection, or one that broke.
    Unreachable {
        /// The broker's address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The broker refused.
    Refused {
        /// What was asked, as the start of a sentence.
        what: String,
        /// The code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// The broker answered what is not the protocol.
    Protocol(String),
    /// A value on the command line makes no sense.
    Usage(String),
    /// Standard input or output failed.
    Io(io::Error),
    /// The reader of standard output has gone.
    OutputClosed,
}

impl CliError {
    /// The number that the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Protocol(_) | Self::Io(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::OutputClosed => 0,
        }
    }

    /// An error for a code that is not zero.
    pub fn check(what: impl FnOnce() -> String, code: i16, message: Option<&str>) -> Result<(), Self> {
        if code == 0 {
            return Ok(());
        }
        Err(Self::Refused { what: what(), code, message: message.map(str::to_owned) })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, error } => {
                write!(f, "no broker answers at {address} ({error}); is it running, and is --server right?")
            }
            Self::Refused { what, code, message } => {
                let known = ErrorCode::from_code(*code);
                let text = known.map_or_else(|| format!("error {code}"), |known| known.text().to_owned());
                match message.as_deref().filter(|message| !message.is_empty()) {
                    Some(message) => write!(f, "{what}: {message}"),
                    None => write!(f, "{what}: {text}"),
                }
            }
            Self::Protocol(what) => write!(f, "the broker's answer makes no sense: {what}"),
            Self::Usage(what) => f.write_str(what),
            Self::Io(error) => error.fmt(f),
            Self::OutputClosed => f.write_str("standard output is closed"),
        }
    }
}

impl std::error::Error for CliError {}

/// For standard input and output; connections name their address.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Io(error) }
    }
}

impl From<DecodeError> for CliError {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}
