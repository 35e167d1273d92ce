//! The broker as a library, so that tests can hold a shard.
#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod error;
pub mod handlers;
pub mod limits;
pub mod metadata;
pub mod net;
pub mod runtime;
pub mod shard;
pub mod start;
