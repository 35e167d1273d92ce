//! The broker as a library, so that tests can hold a shard.
#![forbid(unsafe_code)]

pub mod args;
pub mod cli;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod error;
pub mod handlers;
pub mod limits;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod runtime;
pub mod serve;
pub mod shard;
pub mod start;
