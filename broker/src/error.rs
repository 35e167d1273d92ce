//! Why the broker does not start.

use std::fmt;
use std::net::SocketAddr;

use storage::StorageError;

use crate::control::ControlError;

/// One sentence for the person who started it.
#[derive(Debug)]
pub enum StartError {
    /// The address is taken or not ours.
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// Not every shard can have a port and a number of its own.
    NoPorts {
        /// Of the listener.
        shared: SocketAddr,
        /// How many shards there are.
        shards: u32,
    },
    /// The address of the admin port is taken or not ours.
    Admin {
        /// As configured.
        address: SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// A thread or its ring could not be made.
    Reactor(std::io::Error),
    /// The data folder, a commit log or a segment.
    Storage(StorageError),
    /// The metadata log.
    Control(ControlError),
    /// A shard ended before it served.
    ShardEnded,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            StartError::NoPorts { shared, shards } => write!(
                f,
                "listen=direct gives each of {shards} shards the ports that follow {} and what is advertised for it, up to \
                 65535, and the numbers of 1000 shards at most: use a lower port, fewer cores, or listen=shared",
                shared.port()
            ),
            StartError::Admin { address, error } => write!(
                f,
                "cannot serve metrics and health on {address}: {error}; give this node another address with \
                 admin.listener=host:port, or admin.listener=none"
            ),
            StartError::Reactor(error) => write!(f, "cannot start a shard: {error}"),
            StartError::Storage(error) => write!(f, "{error}"),
            StartError::Control(error) => write!(f, "{error}"),
            StartError::ShardEnded => write!(f, "a shard ended before it served; see the log above"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Listen { error, .. }
            | StartError::Admin { error, .. }
            | StartError::Reactor(error) => Some(error),
            StartError::Storage(error) => Some(error),
            StartError::Control(error) => Some(error),
            StartError::NoPorts { .. } | StartError::ShardEnded => None,
        }
    }
}

impl From<StorageError> for StartError {
    fn from(error: StorageError) -> Self {
        StartError::Storage(error)
    }
}

impl From<ControlError> for StartError {
    fn from(error: ControlError) -> Self {
        StartError::Control(error)
    }
}
