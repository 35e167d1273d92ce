//! Bounds of the control plane.

use std::time::Duration;

/// Requests that wait for the control thread; more wait at their shard.
pub const REQUESTS_MAX: usize = 1024;
/// Requests that are decided, written and synced together.
pub const REQUESTS_PER_SYNC_MAX: usize = 256;
/// Images on their way to one shard.
pub const UPDATES_MAX: usize = 64;
/// Partitions that one request may create, as in Kafka's controller.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Partitions of a cluster.
pub const PARTITIONS_MAX: usize = 1_000_000;
/// Bytes of the value of one setting, as in Kafka's metadata.
pub const CONFIG_VALUE_BYTES_MAX: usize = 32_767;
/// Entities that have quotas.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;
/// Producer ids that are given away at once, as in Kafka.
pub const PRODUCER_IDS_PER_BLOCK: i64 = 1000;
/// The payload of one frame of the metadata log.
pub const FRAME_BYTES_MAX: usize = 256 << 20;
/// Records in one frame of a snapshot.
pub const SNAPSHOT_FRAME_RECORDS: usize = 10_000;
/// Bytes of the file that is given up for changes of metadata on a full disk.
pub const RESERVE_BYTES: usize = 1 << 20;
/// Connections of the admin port.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long a connection of the admin port may last.
pub const ADMIN_CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// How long a shard may take to answer what the admin port asks.
pub const ADMIN_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Questions of the admin port that wait at a shard.
pub const ADMIN_ASKS_MAX: usize = 1;
/// How long a shard may be silent before the broker calls itself dead.
pub const SHARD_SILENT_MAX: Duration = Duration::from_secs(30);
/// A log below this size is not worth a snapshot.
pub const LOG_BYTES_BEFORE_SNAPSHOT: u64 = 4 << 20;
/// Images that the control thread keeps until no request looks at them any more.
pub const REPLACED_IMAGES_MAX: usize = 8;
