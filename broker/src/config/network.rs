//! Settings of connections, requests and fetches.

use crate::config::definition::{Check, settings};

settings! {
    /// Connections, requests and fetches.
    pub struct NetworkSettings in NETWORK {
        /// A connection without a request for so long is closed.
        "connections.max.idle.ms" => connections_max_idle_ms: i64 = Some("600000"), check: Check::AtLeast(1);
        /// How many connections the node keeps open; more are closed when they are accepted.
        "max.connections" => max_connections: i32 = Some("2147483647"), check: Check::AtLeast(0);
        /// How many connections one address may keep open.
        "max.connections.per.ip" => max_connections_per_ip: i32 = Some("2147483647"), check: Check::AtLeast(0);
        /// How many connections are accepted in a second.
        "max.connection.creation.rate" => max_connection_creation_rate: i32 = Some("2147483647"),
            check: Check::AtLeast(0);
        /// The largest request in bytes; a larger one closes its connection.
        "socket.request.max.bytes" => socket_request_max_bytes: i32 = Some("104857600"), check: Check::AtLeast(1);
        /// SO_SNDBUF of a connection; -1 leaves it to the kernel.
        "socket.send.buffer.bytes" => socket_send_buffer_bytes: i32 = Some("102400"), check: Check::AtLeast(-1);
        /// SO_RCVBUF of a connection; -1 leaves it to the kernel.
        "socket.receive.buffer.bytes" => socket_receive_buffer_bytes: i32 = Some("102400"),
            check: Check::AtLeast(-1);
        /// How many connections may wait to be accepted.
        "socket.listen.backlog.size" => socket_listen_backlog_size: i32 = Some("50"), check: Check::AtLeast(1);
        /// The most bytes of one fetch response; whole batches are counted, and the first is always sent.
        "fetch.max.bytes" => fetch_max_bytes: i32 = Some("57671680"), check: Check::AtLeast(1024);
        /// How many fetch sessions the node keeps.
        "max.incremental.fetch.session.cache.slots" => fetch_session_slots: i32 = Some("1000"),
            check: Check::AtLeast(0);
    }
}
