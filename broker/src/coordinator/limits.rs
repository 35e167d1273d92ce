//! Named bounds of the coordinator. At a bound a request gets an error; nothing grows.

/// Groups of one coordinator; one more is answered `COORDINATOR_NOT_AVAILABLE`.
pub const GROUPS_MAX: usize = 1_000_000;

/// Members of one group, also when `group.max.size` allows more.
pub const MEMBERS_PER_GROUP_MAX: usize = 100_000;

/// Members of one group that were given an id and have not joined with it yet.
pub const PENDING_MEMBERS_PER_GROUP_MAX: usize = 10_000;

/// Protocols (assignors) that one member may speak; more is an inconsistent group protocol.
pub const PROTOCOLS_PER_MEMBER_MAX: usize = 256;

/// Bytes of ids, protocols and assignments of all members of one coordinator.
pub const MEMBER_BYTES_MAX: usize = 256 << 20;

/// Partitions one group may have positions in; one more is answered `INVALID_COMMIT_OFFSET_SIZE`.
pub const OFFSETS_PER_GROUP_MAX: usize = 1_000_000;

/// Appends that are not durable yet; a request that needs one more is answered `COORDINATOR_NOT_AVAILABLE`.
pub const PENDING_APPENDS_MAX: usize = 100_000;

/// Timers that one tick runs; those left are due at once again.
pub const TIMERS_PER_TICK: usize = 256;

/// Positions that one step of a sweep (expiry, deleted topics) looks at, but always one whole group.
pub const SWEEP_OFFSETS_PER_STEP: usize = 2_000;

/// Topics whose deletion the sweep has not finished; the oldest gives way, its positions then expire by time.
pub const DELETED_TOPICS_MAX: usize = 100_000;

/// Topics read from one member's subscription.
pub const SUBSCRIBED_TOPICS_MAX: usize = 100_000;

/// A snapshot is asked for when this many records were appended since the last one, and twice the live ones.
pub const SNAPSHOT_APPENDED_MIN: u64 = 10_000;

/// Bytes of one batch of records that the coordinator appends, unless one record alone is larger.
pub const BATCH_BYTES_MAX: usize = 512 << 10;

/// Bytes that one compressed batch of `__consumer_offsets` may unpack to when it is read.
pub const BATCH_OUTPUT_BYTES_MAX: usize = 64 << 20;

/// A new member that waits in `JoinGroup` is taken for dead after this long; it is expected to retry. Kafka's constant.
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;
