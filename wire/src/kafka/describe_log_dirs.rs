//! `DescribeLogDirs` (key 35): bytes on disk by directory and partition (KIP-113).

use super::types::Str;

messages! {
    api DescribeLogDirs: DescribeLogDirsRequest -> DescribeLogDirsResponse, versions 1-5;
    flexible 2+;

    /// Partitions to look at.
    struct DescribeLogDirsRequest {
        /// Null: all of them.
        topics: Option<Vec<DescribableLogDirTopic>> [0+],
    }

    /// Partitions of one topic.
    struct DescribableLogDirTopic {
        topic: Str [0+],
        partitions: Vec<i32> [0+],
    }

    /// The directories.
    struct DescribeLogDirsResponse {
        /// How long the client was, or is to be, held back for its quota (KIP-219).
        throttle_time_ms: i32 [0+],
        error_code: i16 [3+ ignorable],
        results: Vec<DescribeLogDirsResult> [0+],
    }

    /// One directory.
    struct DescribeLogDirsResult {
        error_code: i16 [0+],
        log_dir: Str [0+],
        topics: Vec<DescribeLogDirsTopic> [0+],
        total_bytes: i64 [4+ ignorable] = -1,
        usable_bytes: i64 [4+ ignorable] = -1,
        is_cordoned: bool [5+ ignorable],
    }

    /// Partitions of one topic.
    struct DescribeLogDirsTopic {
        name: Str [0+],
        partitions: Vec<DescribeLogDirsPartition> [0+],
    }

    /// One partition's bytes.
    struct DescribeLogDirsPartition {
        partition_index: i32 [0+],
        partition_size: i64 [0+],
        offset_lag: i64 [0+],
        is_future_key: bool [0+],
    }
}
