//! Settings of topics: how they come to be, and the defaults of their own settings.

use crate::config::definition::{Check, NotBuilt, Scope, choice, settings};

/// Why `cleanup.policy=compact` is refused.
pub(crate) const COMPACT_NOT_BUILT: &[NotBuilt] =
    &[NotBuilt { value: "compact", reason: "compaction is missing, the policy can only be delete" }];

/// Why the weaker levels of durability are refused.
pub(crate) const DURABILITY_NOT_BUILT: &[NotBuilt] = &[
    NotBuilt { value: "replicated", reason: "it comes with replication, use fsync" },
    NotBuilt { value: "memory", reason: "it comes with queues, use fsync" },
];

pub(crate) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];

choice! {
    /// What an acknowledgement promises.
    pub enum Durability {
        /// The record is synced to disk.
        Fsync = "fsync",
        /// The record is in the memory of every in-sync replica.
        Replicated = "replicated",
        /// The record is in memory.
        Memory = "memory",
    }
}

choice! {
    /// Which time a record carries (KIP-32).
    pub enum TimestampType {
        /// The producer's.
        CreateTime = "CreateTime",
        /// The broker's, when it appended the batch.
        LogAppendTime = "LogAppendTime",
    }
}

choice! {
    /// How batches are compressed in the log.
    pub enum CompressionType {
        /// Not.
        Uncompressed = "uncompressed",
        /// Zstandard.
        Zstd = "zstd",
        /// LZ4.
        Lz4 = "lz4",
        /// Snappy.
        Snappy = "snappy",
        /// gzip.
        Gzip = "gzip",
        /// As the producer did.
        Producer = "producer",
    }
}

settings! {
    /// How topics come to be, and the defaults of their own settings.
    pub struct LogSettings in LOG {
        /// Partitions of a topic whose creator did not say how many.
        "num.partitions" => num_partitions: i32 = Some("1"), check: Check::AtLeast(1);
        /// Replicas of a topic whose creator did not say how many.
        "default.replication.factor" => default_replication_factor: i16 = Some("1"), check: Check::AtLeast(1);
        /// Whether a client's first use of a topic creates it.
        "auto.create.topics.enable" => auto_create_topics: bool = Some("true");
        /// Whether topics can be deleted.
        "delete.topic.enable" => delete_topics: bool = Some("true");
        /// The largest record batch in bytes, as compressed.
        "message.max.bytes" => message_max_bytes: i32 = Some("1048588"), check: Check::AtLeast(0),
            scope: Scope::ClusterWide;
        /// How long records are kept, in ms, -1 for ever; before log.retention.minutes and log.retention.hours.
        "log.retention.ms" => retention_ms: Option<i64> = None, check: Check::AtLeast(-1), scope: Scope::ClusterWide;
        /// How long records are kept, in minutes; before log.retention.hours.
        "log.retention.minutes" => retention_minutes: Option<i32> = None, check: Check::AtLeast(-1);
        /// How long records are kept, in hours.
        "log.retention.hours" => retention_hours: i32 = Some("168"), check: Check::AtLeast(-1);
        /// How many bytes of a partition are kept, -1 for all.
        "log.retention.bytes" => retention_bytes: i64 = Some("-1"), check: Check::AtLeast(-1),
            scope: Scope::ClusterWide;
        /// How often logs are looked at for what may be deleted.
        "log.retention.check.interval.ms" => retention_check_interval_ms: i64 = Some("300000"),
            check: Check::AtLeast(1);
        /// What happens to old records: delete. compact is not built.
        "log.cleanup.policy" => cleanup_policy: Vec<String> = Some("delete"), check: Check::EachOf(CLEANUP_POLICIES),
            scope: Scope::ClusterWide, not_built: COMPACT_NOT_BUILT;
        /// The size in bytes at which a segment is closed.
        "log.segment.bytes" => segment_bytes: i32 = Some("1073741824"), check: Check::AtLeast(1_048_576),
            scope: Scope::ClusterWide;
        /// The age in ms at which a segment is closed; before log.roll.hours.
        "log.roll.ms" => roll_ms: Option<i64> = None, check: Check::AtLeast(1), scope: Scope::ClusterWide;
        /// The age in hours at which a segment is closed.
        "log.roll.hours" => roll_hours: i32 = Some("168"), check: Check::AtLeast(1);
        /// Bytes between two entries of an offset index.
        "log.index.interval.bytes" => index_interval_bytes: i32 = Some("4096"), check: Check::AtLeast(0),
            scope: Scope::ClusterWide;
        /// The size of an offset index at which its segment is closed.
        "log.index.size.max.bytes" => index_size_max_bytes: i32 = Some("10485760"), check: Check::AtLeast(4),
            scope: Scope::ClusterWide;
        /// How long the files of a deleted segment stay.
        "log.segment.delete.delay.ms" => segment_delete_delay_ms: i64 = Some("60000"), check: Check::AtLeast(0),
            scope: Scope::ClusterWide;
        /// Whether the space of a segment is taken when it is made.
        "log.preallocate" => preallocate: bool = Some("false"), scope: Scope::ClusterWide;
        /// Kept for tools. Every acknowledged record is synced before its acknowledgement whatever this says.
        "log.flush.interval.messages" => flush_interval_messages: i64 = Some("9223372036854775807"),
            check: Check::AtLeast(1), scope: Scope::ClusterWide;
        /// Kept for tools. Every acknowledged record is synced before its acknowledgement whatever this says.
        "log.flush.interval.ms" => flush_interval_ms: Option<i64> = None, check: Check::AtLeast(0),
            scope: Scope::ClusterWide;
        /// Which time records carry: CreateTime or LogAppendTime.
        "log.message.timestamp.type" => timestamp_type: TimestampType = Some("CreateTime"),
            check: Check::OneOf(TimestampType::WORDS), scope: Scope::ClusterWide;
        /// How far in the past, in ms, the time of a record may lie.
        "log.message.timestamp.before.max.ms" => timestamp_before_max_ms: i64 = Some("9223372036854775807"),
            check: Check::AtLeast(0), scope: Scope::ClusterWide;
        /// How far in the future, in ms, the time of a record may lie.
        "log.message.timestamp.after.max.ms" => timestamp_after_max_ms: i64 = Some("3600000"),
            check: Check::AtLeast(0), scope: Scope::ClusterWide;
        /// How batches are compressed in the log: producer keeps them as they came, a codec compresses them anew.
        "compression.type" => compression_type: CompressionType = Some("producer"),
            check: Check::OneOf(CompressionType::WORDS), scope: Scope::ClusterWide;
        /// How many replicas must have a record before acks=all is answered.
        "min.insync.replicas" => min_insync_replicas: i32 = Some("1"), check: Check::AtLeast(1),
            scope: Scope::ClusterWide;
        /// Whether a replica that is behind may become leader.
        "unclean.leader.election.enable" => unclean_leader_election: bool = Some("false"),
            scope: Scope::ClusterWide;
        /// How long the mark of a deleted key stays. No effect before compaction.
        "log.cleaner.delete.retention.ms" => cleaner_delete_retention_ms: i64 = Some("86400000"),
            check: Check::AtLeast(0), scope: Scope::ClusterWide;
        /// The share of a log that may be uncompacted. No effect before compaction.
        "log.cleaner.min.cleanable.ratio" => cleaner_min_cleanable_ratio: f64 = Some("0.5"),
            check: Check::Fraction(0.0, 1.0), scope: Scope::ClusterWide;
        /// How long a record stays uncompacted at least. No effect before compaction.
        "log.cleaner.min.compaction.lag.ms" => cleaner_min_compaction_lag_ms: i64 = Some("0"),
            check: Check::AtLeast(0), scope: Scope::ClusterWide;
        /// How long a record stays uncompacted at most. No effect before compaction.
        "log.cleaner.max.compaction.lag.ms" => cleaner_max_compaction_lag_ms: i64 = Some("9223372036854775807"),
            check: Check::AtLeast(1), scope: Scope::ClusterWide;
        /// What an acknowledgement promises: fsync, the record is on disk.
        "durability" => durability: Durability = Some("fsync"), check: Check::OneOf(Durability::WORDS),
            scope: Scope::ClusterWide, not_built: DURABILITY_NOT_BUILT;
        /// How long an idempotent producer that went silent is remembered.
        "producer.id.expiration.ms" => producer_id_expiration_ms: i32 = Some("86400000"), check: Check::AtLeast(1);
        /// How often producers are looked at for who may be forgotten.
        "producer.id.expiration.check.interval.ms" => producer_id_expiration_check_interval_ms: i32 =
            Some("600000"), check: Check::AtLeast(1);
    }
}
