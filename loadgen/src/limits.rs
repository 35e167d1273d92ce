//! Named bounds of this crate.

use std::time::Duration;

/// Bytes of one response frame that are believed; above it the broker is out of its mind.
pub(crate) const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// Bytes asked for from a socket at once; what a large frame still lacks is asked for whole.
pub(crate) const RECV_BYTES: usize = 256 << 10;

/// Requests handed to a connection and not yet written to its socket.
pub(crate) const OUTBOX_REQUESTS_MAX: usize = 64;

/// Bytes of record batches in one produce request, as `max.request.size` of the Java client.
pub(crate) const PRODUCE_REQUEST_BYTES_MAX: usize = 1 << 20;

/// Records written by one thread and not yet acknowledged may hold this many bytes, as `buffer.memory`.
pub(crate) const UNACKNOWLEDGED_BYTES_MAX: usize = 32 << 20;

/// Buffers of acknowledged batches that a connection keeps for the next ones.
pub(crate) const SPARE_BUFFERS_MAX: usize = 64;

/// Bytes that a compressed batch may have when it is read back.
pub(crate) const DECOMPRESSED_BATCH_BYTES_MAX: usize = 64 << 20;

/// Longest time to wait for a TCP connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for renewing a login, which waits behind the requests that are in flight.
pub(crate) const RENEWAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause before a coordinator is asked again that has not ended the transaction before yet, as that of the Java client.
pub(crate) const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

/// Steps of a login: SCRAM has two.
pub(crate) const LOGIN_STEPS_MAX: usize = 4;

/// Iterations of a SCRAM password hash that a broker may ask for; beyond that it would only waste our time.
pub(crate) const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// Pause before a broker is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Threads of one run.
pub(crate) const THREADS_MAX: usize = 256;

/// Records of one partition that `verify` can tell apart: a bit each.
pub(crate) const VERIFIED_RECORDS_MAX: u64 = 1 << 32;

/// Bytes of one value.
pub(crate) const VALUE_BYTES_MAX: usize = 64 * PRODUCE_REQUEST_BYTES_MAX;

/// Largest value of a lognormal distribution that names no other: a little below the usual limit of brokers.
pub(crate) const LOGNORMAL_BYTES_MAX: usize = 1_000_000;

/// Bytes that values are made of, again and again: more than a batch and more than the window of any codec at its
/// usual level.
pub(crate) const PAYLOAD_POOL_BYTES: usize = 4 << 20;

/// Headers of a record.
pub(crate) const HEADERS_MAX: usize = 16;

/// Bytes of a header's value.
pub(crate) const HEADER_BYTES_MAX: usize = 4096;

/// Full batches of a thread that are made once and sent again and again by a closed loop.
pub(crate) const TEMPLATES_MAX: usize = 8;

/// Windows of figures on their way to the recorder.
pub(crate) const WINDOWS_QUEUED_MAX: usize = 4096;

/// Shortest interval of the series.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How often threads look whether the run is to end.
pub(crate) const STOP_LOOK: Duration = Duration::from_millis(50);

/// How long an interrupted run waits for what is in flight.
pub(crate) const INTERRUPTED_GRACE: Duration = Duration::from_secs(3);

/// Bytes of a page of metrics.
pub(crate) const METRICS_BYTES_MAX: u64 = 32 << 20;

/// Samples of a page of metrics that are kept.
pub(crate) const METRICS_SAMPLES_MAX: usize = 5000;

/// Longest wait for a page of metrics.
pub(crate) const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// Segments of a rate curve.
pub(crate) const CURVE_SEGMENTS_MAX: usize = 1_000_000;

/// Parts of a scenario.
pub(crate) const PARTS_MAX: usize = 256;

/// Connections, topics, groups or members that one run may ask for.
pub(crate) const THINGS_MAX: usize = 1_000_000;

/// Connections that a thread opens at the same time.
pub(crate) const OPENING_MAX: usize = 64;

/// Topics in one request to create or delete them.
pub(crate) const TOPICS_PER_REQUEST_MAX: usize = 10_000;

/// How often a point of a profile is looked at while it is made.
pub(crate) const PROFILE_LOOK: Duration = Duration::from_millis(100);

/// Bytes of a block that a profile writes to the disk or reads from it.
pub(crate) const PROFILE_BLOCK_BYTES: usize = 1 << 20;

/// Bytes handed to a loopback socket at once.
pub(crate) const PROFILE_LOOPBACK_SEND_BYTES: usize = 256 << 10;

/// Longest wait between two points until the broker has nothing left to do.
pub(crate) const PROFILE_SETTLE_MAX: Duration = Duration::from_secs(10);

/// Longest wait for the disk space of topics that were deleted.
pub(crate) const PROFILE_SPACE_WAIT_MAX: Duration = Duration::from_secs(90);
