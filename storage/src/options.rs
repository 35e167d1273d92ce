//! What a store and a log are told from outside.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::commit_rate::FrequentCommits;
use crate::limits::{RING_FILE_BYTES, RING_FIRST_FILE_BYTES, SYNC_TOGETHER_FROM};
use crate::types::LogId;

/// Whether files are written past the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direct {
    /// `O_DIRECT`; a file system that has none is refused.
    Required,
    /// Through the page cache: for trying out.
    Off,
}

/// Whether a shard must have been in the data folder before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// It may be new.
    Perhaps,
    /// The folder is laid out for it ([`place_anew`](crate::place_anew) has returned).
    Surely,
}

/// How a commit is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncChoice {
    /// Both are timed at start where the device says that it can; the faster one is taken.
    Auto,
    /// A write with an fdatasync linked behind it.
    Fdatasync,
    /// One write with `RWF_DSYNC`.
    Dsync,
}

/// What recovery does with damage that means lost acknowledged records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDamage {
    /// Refuse to start and name the range.
    Refuse,
    /// Start with what comes before the damage.
    Discard,
}

/// How one shard's store is to run.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data folder: segments are in `topics/`, this shard's ring and checkpoint in `shard-<n>/`.
    pub data_dir: PathBuf,
    /// Where the rings are, if not in the data folder: `shard-<n>/` in here.
    pub commit_log_dir: Option<PathBuf>,
    /// Which shard.
    pub shard: u32,
    /// Bytes of the ring when fully grown.
    pub commit_log_bytes: u64,
    /// Bytes of the first ring file, written before the store opens.
    pub ring_first_file_bytes: u64,
    /// Bytes of each further ring file.
    pub ring_file_bytes: u64,
    /// Appended bytes not yet handled by writeback, above which appends wait.
    pub dirty_bytes: u64,
    /// Bytes of newest batches kept in memory for readers.
    pub tail_bytes: u64,
    /// Free disk space below which appends are refused, in bytes.
    pub free_bytes_min: u64,
    /// Whether this shard must have been here before, once any log was issued: a folder without its checkpoint is
    /// refused then.
    pub known: Known,
    /// Past the page cache or not.
    pub direct: Direct,
    /// How commits are made durable.
    pub sync: SyncChoice,
    /// What to do with damage.
    pub on_damage: OnDamage,
    /// Milliseconds after which an idle producer is forgotten (`producer.id.expiration.ms`).
    pub producer_expiration_ms: u64,
    /// Shared by the shards of a broker, which share a device.
    pub frequent_commits: Arc<FrequentCommits>,
    /// For tests: files from which a checkpoint syncs their file system instead of each.
    #[doc(hidden)]
    pub sync_together_from: usize,
    /// For tests: writes of the commit log from this sequence on fail.
    #[doc(hidden)]
    pub fail_commits_from: Option<u64>,
}

impl StoreOptions {
    /// The defaults, for one shard of a data folder.
    pub fn new(data_dir: impl Into<PathBuf>, shard: u32) -> Self {
        Self {
            data_dir: data_dir.into(),
            commit_log_dir: None,
            shard,
            commit_log_bytes: 256 << 20,
            ring_first_file_bytes: RING_FIRST_FILE_BYTES,
            ring_file_bytes: RING_FILE_BYTES,
            dirty_bytes: 64 << 20,
            tail_bytes: 64 << 20,
            free_bytes_min: 64 << 20,
            known: Known::Perhaps,
            direct: Direct::Required,
            sync: SyncChoice::Auto,
            on_damage: OnDamage::Refuse,
            producer_expiration_ms: 86_400_000,
            frequent_commits: Arc::default(),
            sync_together_from: SYNC_TOGETHER_FROM,
            fail_commits_from: None,
        }
    }

    /// Folder of the checkpoint of this shard.
    pub fn shard_dir(&self) -> PathBuf {
        self.data_dir.join(format!("shard-{}", self.shard))
    }

    /// Folder of the ring of this shard.
    pub fn ring_dir(&self) -> PathBuf {
        self.commit_log_dir.as_ref().unwrap_or(&self.data_dir).join(format!("shard-{}", self.shard))
    }

    /// Folder of all partitions' folders.
    pub fn topics_dir(&self) -> PathBuf {
        self.data_dir.join("topics")
    }
}

/// Settings of one log; Kafka's names and meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `retention.ms`; `None` is for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` is without bound.
    pub retention_bytes: Option<u64>,
    /// Whether `cleanup.policy` has `delete`.
    pub retention: Retention,
}

/// Whether old segments are deleted by time and size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retention {
    /// `cleanup.policy=delete`.
    Delete,
    /// Never by time or size; only by `DeleteRecords`.
    Keep,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 86_400_000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 86_400_000),
            retention_bytes: None,
            retention: Retention::Delete,
        }
    }
}

/// One partition instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Never reused.
    pub id: LogId,
    /// `<topic>-<partition>`, by Kafka's rules for names: it becomes part of a folder's name.
    pub name: String,
    /// Its settings.
    pub config: LogConfig,
}

/// What the metadata log knows of partition instances, for recovery.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Those that exist, on any shard.
    pub live: HashMap<LogId, LogSpec>,
    /// The highest id ever issued. One at or below that is not live was deleted; one above is of another broker.
    pub issued_max: LogId,
}
