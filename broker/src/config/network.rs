//! Settings of connections, requests and fetches.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};

use crate::config::definition::{Check, settings};

settings! {
    /// Connections, requests and fetches.
    pub struct NetworkSettings in NETWORK {
        /// A connection without a request for so long is closed.
        "connections.max.idle.ms" => connections_max_idle_ms: i64 = Some("600000"), check: Check::AtLeast(1);
        /// How many connections the node keeps open; more wait until others end.
        "max.connections" => max_connections: i32 = Some("2147483647"), check: Check::AtLeast(0);
        /// How many connections one address may keep open; more are closed.
        "max.connections.per.ip" => max_connections_per_ip: i32 = Some("2147483647"), check: Check::AtLeast(0);
        /// The same for some hosts, as host:number with commas between them.
        "max.connections.per.ip.overrides" => max_connections_per_ip_overrides: Vec<String> = None;
        /// How many connections are accepted in a second; more wait.
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

/// `max.connections.per.ip.overrides` by address; a host may have several.
///
/// # Errors
/// The entry at fault, and why.
pub(super) fn by_address(entries: &[String]) -> Result<BTreeMap<IpAddr, i32>, (String, String)> {
    let mut all = BTreeMap::new();
    for entry in entries {
        let wrong = |reason: &str| (entry.clone(), reason.to_owned());
        let (host, number) = entry.rsplit_once(':').ok_or_else(|| wrong("write it as host:number"))?;
        let max = number.trim().parse::<i32>().ok().filter(|max| *max >= 0);
        let max = max.ok_or_else(|| wrong("what follows the host is not a number from 0 on"))?;
        let host = host.trim().trim_start_matches('[').trim_end_matches(']');
        let found = (host, 0).to_socket_addrs().map_err(|error| (entry.clone(), error.to_string()))?;
        all.extend(found.map(|address| (address.ip().to_canonical(), max)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_number_of_connections_of_their_own() {
        let entries = ["127.0.0.1:5".to_owned(), "[::1]:0".to_owned(), "127.0.0.9:7".to_owned()];
        let all = by_address(&entries).unwrap();
        assert_eq!(all.get(&IpAddr::from([127, 0, 0, 1])), Some(&5));
        assert_eq!(all.get(&"::1".parse().unwrap()), Some(&0));
        assert_eq!(all.len(), 3);
        for bad in ["127.0.0.1", "127.0.0.1:-1", "127.0.0.1:x"] {
            assert_eq!(by_address(&[bad.to_owned()]).unwrap_err().0, bad);
        }
    }
}
