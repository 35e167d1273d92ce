//! What can go wrong in storage.
//!
//! Three enums for three callers: [`StorageError`] for start, stop and operations (someone must look), [`StageError`]
//! for produce and [`ReadError`] for fetch (mapped to Kafka's codes by the broker, in one place).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::types::{LogId, Offset};

/// An error of start, stop, checkpoint or a partition's operations.
#[derive(Clone, Debug)]
pub enum StorageError {
    /// A file operation failed; `doing` says which, on which path.
    Io {
        /// The operation, in words.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// The commit log has failed a write or a sync: nothing is accepted until the next start. Kept cause.
    Poisoned(Arc<str>),
    /// The data folder has a format version that this program does not know.
    UnknownFormat {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// Another process uses the folder.
    Locked {
        /// The folder.
        path: PathBuf,
        /// What the lock's owner left.
        cause: Arc<io::Error>,
    },
    /// The folder's file system cannot write past the page cache, and that was not allowed.
    NoDirectIo(PathBuf),
    /// Acknowledged bytes are missing or changed: the start is refused. The text names file and range.
    Corrupt {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and where.
        what: String,
    },
    /// The disk holds a partition that the metadata log has never issued: the two are not of the same broker.
    UnknownLog {
        /// The partition instance.
        id: LogId,
        /// Its name on disk, when known.
        name: String,
    },
    /// Free space is below the reserve. A state: it ends by itself when there is space again.
    NoSpace,
    /// The partition was deleted, or the store was closed.
    Gone,
    /// The partition's files have failed; its shard goes on without it.
    Offline(LogId),
    /// An offset outside of the log was asked for.
    OffsetOutOfRange {
        /// Log start.
        start: Offset,
        /// Log end.
        end: Offset,
    },
}

impl StorageError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { doing, path, cause: Arc::new(cause) }
    }

    pub(crate) fn corrupt(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), what: what.into() }
    }

    /// Whether the process has too few descriptors or too little memory for now.
    pub(crate) fn is_shortage(&self) -> bool {
        // EMFILE, ENFILE and ENOMEM have no kinds of their own but the last.
        const DESCRIPTORS: [i32; 2] = [24, 23];
        let Self::Io { cause, .. } = self else { return false };
        cause.kind() == io::ErrorKind::OutOfMemory
            || cause.raw_os_error().is_some_and(|errno| DESCRIPTORS.contains(&errno))
    }

    /// Whether the file system said that it is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { cause, .. } => {
                matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::NoSpace => true,
            _ => false,
        }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, cause } => write!(f, "cannot {doing} {}: {cause}", path.display()),
            Self::Poisoned(cause) => {
                write!(f, "the commit log has failed and takes nothing until a restart: {cause}")
            }
            Self::UnknownFormat { path, found } => write!(
                f,
                "{} says {found:?}: the data was written by another version of corelane, and this one cannot read it",
                path.display()
            ),
            Self::Locked { path, cause } => write!(f, "{} cannot be locked: {cause}", path.display()),
            Self::NoDirectIo(path) => write!(
                f,
                "{} is on a file system without O_DIRECT; use another one, or storage.o_direct=false to try things out",
                path.display()
            ),
            Self::Corrupt { path, what } => write!(f, "{} is damaged: {what}", path.display()),
            Self::UnknownLog { id, name } => write!(
                f,
                "partition {name} (log {id}) is on disk, but the metadata log has never issued it: is this the folder of another broker?"
            ),
            Self::NoSpace => f.write_str("free disk space is below the reserve"),
            Self::Gone => f.write_str("the partition is gone"),
            Self::Offline(id) => write!(f, "the files of log {id} have failed"),
            Self::OffsetOutOfRange { start, end } => {
                write!(f, "the offset is not within {start} to {end}")
            }
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { cause, .. } | Self::Locked { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

/// Why a batch was not staged. Nothing of it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageError {
    /// The ring or the budget of bytes not yet written back is full: await `Store::admit`, then stage.
    Full,
    /// Free space is below the reserve (Kafka: `KAFKA_STORAGE_ERROR`, retriable).
    NoSpace,
    /// The commit log has failed (Kafka: `KAFKA_STORAGE_ERROR`).
    Poisoned,
    /// This partition's files have failed (Kafka: `KAFKA_STORAGE_ERROR`).
    Offline,
    /// The partition was deleted or the store closed (Kafka: `NOT_LEADER_OR_FOLLOWER`).
    Gone,
    /// Longer than the commit log can ever take (Kafka: `MESSAGE_TOO_LARGE`).
    TooLarge {
        /// Largest batch the commit log takes, in bytes.
        max: usize,
    },
    /// The header does not fit the bytes, or offsets would overflow (Kafka: `INVALID_RECORD`).
    Invalid,
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the commit log is full for the moment"),
            Self::NoSpace => f.write_str("free disk space is below the reserve"),
            Self::Poisoned => f.write_str("the commit log has failed"),
            Self::Offline => f.write_str("the partition's files have failed"),
            Self::Gone => f.write_str("the partition is gone"),
            Self::TooLarge { max } => write!(f, "the batch is larger than {max} bytes"),
            Self::Invalid => f.write_str("the batch does not hold together"),
        }
    }
}

impl std::error::Error for StageError {}

/// Why there is nothing to read.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// Below the log's start or above its end (Kafka: `OFFSET_OUT_OF_RANGE`).
    OffsetOutOfRange {
        /// Log start.
        start: Offset,
        /// Log end.
        end: Offset,
    },
    /// The partition was deleted (Kafka: `NOT_LEADER_OR_FOLLOWER`).
    Gone,
    /// The bytes cannot be read (Kafka: `KAFKA_STORAGE_ERROR`).
    Storage(StorageError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OffsetOutOfRange { start, end } => {
                write!(f, "the offset is not within {start} to {end}")
            }
            Self::Gone => f.write_str("the partition is gone"),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Gone => Self::Gone,
            other => Self::Storage(other),
        }
    }
}
