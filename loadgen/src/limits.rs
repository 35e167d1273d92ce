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

/// Bytes that a compressed batch may have when it is read back.
pub(crate) const DECOMPRESSED_BATCH_BYTES_MAX: usize = 64 << 20;

/// Longest time to wait for a TCP connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a broker is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Threads of one run.
pub(crate) const THREADS_MAX: usize = 256;

/// Records of one partition that `verify` can tell apart: a bit each.
pub(crate) const VERIFIED_RECORDS_MAX: u64 = 1 << 32;
