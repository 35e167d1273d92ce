//! The broker as a library, so that tests can hold a shard.
#![forbid(unsafe_code)]

pub mod args;
pub mod cli;
pub mod config;
pub mod control;
pub mod coordinator;
pub mod metadata;
