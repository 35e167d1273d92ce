//! Storage: one log per partition, one commit log per shard.
//!
//! A [`Store`] is one shard's: it lives on that shard's reactor and shares nothing. Appends of all its [`Log`]s are
//! staged in memory and made durable together by the commit log, one write and one sync for everything that waits;
//! so an acknowledgement costs the same however many partitions are written. Behind it, writeback brings the bytes
//! into each partition's segments, checkpoints say how far that is, and ring files are used again. Recovery believes
//! the newest checkpoint and the ring, nothing else.
//!
//! The way of a batch: `Log::stage` → `commit_log` (write, sync) → `tail` (readers) → `writeback` → segment files →
//! `reader` (ranges of them). The order of writes that makes a crash harmless is told where it is kept:
//! `commit_log`, `writeback`, `checkpointer`, `settling`, `recovery`, `truncate`, `deletion`.
#![forbid(unsafe_code)]

mod checkpoint;
mod checkpointer;
mod cold_segments;
mod commit_log;
mod commit_rate;
pub mod corrupt;
pub mod data_dir;
mod deletion;
mod error;
mod first_read;
mod gathered;
mod index_file;
pub mod leader_epochs;
pub mod limits;
mod log;
mod log_record;
mod maintenance;
mod new_segments;
pub mod offset_index;
mod options;
pub mod producer_state;
mod reader;
mod recovery;
mod retention;
mod salvage;
mod segment;
mod segment_reader;
mod settling;
mod shards;
mod space;
mod store;
mod tail;
pub mod time_index;
mod time_search;
mod together;
mod truncate;
pub mod types;
mod watch;
mod writeback;

#[cfg(test)]
mod seeded;

pub use commit_log::CommitStats;
pub use commit_rate::FrequentCommits;
pub use data_dir::DataDir;
pub use deletion::Retired;
pub use error::{ReadError, StageError, StorageError};
pub use log::{Append, Log, Staged, Ticket, TimestampedRecord};
pub use options::{
    Catalog, Direct, Known, LogConfig, LogSpec, OnDamage, Retention, StoreOptions, SyncChoice,
};
pub use reader::{Read, ReadPart};
pub use recovery::RecoveryReport;
pub use shards::place_anew;
pub use store::{Store, StoreStats, SyncProbe};
pub use watch::Watch;
