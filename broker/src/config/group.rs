//! Settings of consumer groups and of the offsets they commit.

use crate::config::definition::{Check, NotBuilt, settings};

const PROTOCOLS: &[&str] = &["classic", "consumer", "streams", "share"];

settings! {
    /// Consumer groups and committed offsets.
    pub struct GroupSettings in GROUP {
        /// The shortest session time-out a member may ask for.
        "group.min.session.timeout.ms" => min_session_timeout_ms: i32 = Some("6000"), check: Check::AtLeast(0);
        /// The longest session time-out a member may ask for.
        "group.max.session.timeout.ms" => max_session_timeout_ms: i32 = Some("1800000"), check: Check::AtLeast(0);
        /// How long the first rebalance of an empty group waits for more members.
        "group.initial.rebalance.delay.ms" => initial_rebalance_delay_ms: i32 = Some("3000"),
            check: Check::AtLeast(0);
        /// The most members of one group.
        "group.max.size" => max_size: i32 = Some("2147483647"), check: Check::AtLeast(1);
        /// The group protocols in service. Only classic is built.
        "group.coordinator.rebalance.protocols" => protocols: Vec<String> = Some("classic"),
            check: Check::EachOf(PROTOCOLS), not_built: &[
                NotBuilt { value: "consumer", reason: "only the classic protocol is built" },
                NotBuilt { value: "streams", reason: "only the classic protocol is built" },
                NotBuilt { value: "share", reason: "only the classic protocol is built" },
            ];
        /// How long the offsets of a group without members are kept.
        "offsets.retention.minutes" => offsets_retention_minutes: i32 = Some("10080"), check: Check::AtLeast(1);
        /// How often offsets are looked at for what may be forgotten.
        "offsets.retention.check.interval.ms" => offsets_retention_check_interval_ms: i64 = Some("600000"),
            check: Check::AtLeast(1);
        /// The most bytes of the text that a client may attach to an offset.
        "offset.metadata.max.bytes" => offset_metadata_max_bytes: i32 = Some("4096"), check: Check::AtLeast(0);
        /// How long a commit may wait for the disk.
        "offsets.commit.timeout.ms" => offsets_commit_timeout_ms: i32 = Some("5000"), check: Check::AtLeast(1);
        /// Partitions of the internal topic that keeps offsets. It cannot change once the topic exists.
        "offsets.topic.num.partitions" => offsets_topic_partitions: i32 = Some("50"), check: Check::AtLeast(1);
        /// Replicas of the internal topic that keeps offsets; not more than there are nodes.
        "offsets.topic.replication.factor" => offsets_topic_replication_factor: i16 = Some("3"),
            check: Check::AtLeast(1);
        /// The size in bytes at which a segment of the internal topic is closed.
        "offsets.topic.segment.bytes" => offsets_topic_segment_bytes: i32 = Some("104857600"),
            check: Check::AtLeast(1_048_576);
    }
}
