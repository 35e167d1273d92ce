//! What can go wrong between this client and a broker, said so that the reader knows what to look at.

use std::{fmt, io};

use wire::kafka::frame::FrameError;
use wire::kafka::{ApiKey, DecodeError, ErrorCode};

/// A failure of the client.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// No connection could be made.
    Connect { address: String, cause: io::Error },
    /// There is a connection, but it cannot be protected.
    Tls { address: String, why: String },
    /// The broker does not let us in.
    Login { address: String, user: String, why: String },
    /// The connection ended while an answer was due.
    Lost { address: String, why: String },
    /// The answer did not come in time.
    Timeout { address: String, what: String },
    /// The answer is no frame.
    Frame { address: String, cause: FrameError },
    /// The answer is no message.
    Decode { api: ApiKey, cause: DecodeError },
    /// The broker does not speak the API in a version that this client speaks.
    Unsupported { address: String, api: ApiKey },
    /// The broker answered an error.
    Broker { what: String, code: i16, message: Option<String> },
    /// Bytes that were fetched are not what a broker may send.
    Corrupt(String),
    /// The run cannot be made as asked for.
    Usage(String),
    /// The machine this runs on refused something.
    Local { what: String, cause: io::Error },
    /// It was one part of a run.
    Part { name: String, cause: Box<ClientError> },
}

impl ClientError {
    /// An error code that a broker answered.
    pub(crate) fn broker(what: impl Into<String>, code: i16, message: Option<&str>) -> Self {
        Self::Broker { what: what.into(), code, message: message.map(str::to_owned) }
    }

    /// A reactor could not be started, or failed.
    pub(crate) fn no_reactor(cause: io::Error) -> Self {
        Self::Local { what: "cannot run a reactor (is io_uring allowed here?)".to_owned(), cause }
    }

    /// The same, of the part of this name.
    pub(crate) fn of_part(self, name: &str) -> Self {
        Self::Part { name: name.to_owned(), cause: Box::new(self) }
    }

    /// Whether the same may work a little later.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::Timeout { .. } => true,
            Self::Broker { code, .. } => ErrorCode::from_code(*code).is_some_and(ErrorCode::is_retriable),
            Self::Tls { .. }
            | Self::Login { .. }
            | Self::Frame { .. }
            | Self::Decode { .. }
            | Self::Unsupported { .. }
            | Self::Corrupt(_)
            | Self::Usage(_)
            | Self::Local { .. } => false,
            Self::Part { cause, .. } => cause.is_retriable(),
        }
    }
}

/// An error code in words: its number and Kafka's text.
pub(crate) fn describe(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(known) => format!("{known:?} ({code}): {}", known.text()),
        None => format!("unknown error code {code}"),
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { address, cause } => write!(f, "cannot connect to {address}: {cause}"),
            Self::Tls { address, why } => write!(f, "no TLS with {address}: {why}"),
            Self::Login { address, user, why } => write!(f, "{address} does not let {user} in: {why}"),
            Self::Lost { address, why } => write!(f, "lost the connection to {address}: {why}"),
            Self::Timeout { address, what } => write!(f, "no answer from {address} in time: {what}"),
            Self::Frame { address, cause } => write!(f, "{address} does not speak Kafka's protocol: {cause}"),
            Self::Decode { api, cause } => write!(f, "cannot read the answer to {}: {cause}", api.name()),
            Self::Unsupported { address, api } => {
                write!(f, "{address} and this client share no version of {}", api.name())
            }
            Self::Broker { what, code, message } => {
                write!(f, "{what}: {}", describe(*code))?;
                message.as_ref().map_or(Ok(()), |message| write!(f, " ({message})"))
            }
            Self::Corrupt(what) => write!(f, "corrupt: {what}"),
            Self::Usage(what) => f.write_str(what),
            Self::Local { what, cause } => write!(f, "{what}: {cause}"),
            Self::Part { name, cause } => write!(f, "{name}: {cause}"),
        }
    }
}

impl std::error::Error for ClientError {}
