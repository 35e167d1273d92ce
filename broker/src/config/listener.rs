//! Listener addresses: `name://host:port`, as `listeners` and `advertised.listeners` hold them, and what follows from
//! them for each shard.

use std::collections::HashSet;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::config::server::{ListenMode, ServerSettings};
use crate::metadata::ids::ShardId;

/// Kafka's protocols; only the first is built.
const PROTOCOLS: &[&str] = &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// One address that the node listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, such as `PLAINTEXT`.
    pub name: String,
    /// Where to bind. Port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// The host that clients of this listener are told.
    pub advertised_host: String,
    /// The port that clients are told; 0 means the one that was bound.
    pub advertised_port: u16,
}

/// What a node binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Where every shard listens.
    pub shared: SocketAddr,
    /// Where each shard listens alone; nothing with `listen=shared`.
    pub of_shards: Vec<SocketAddr>,
}

impl Addresses {
    /// The addresses of so many shards: with `listen=direct` they have the ports that follow the shared one, or any if
    /// that is any. `None`: there are not so many ports.
    pub fn new(shared: SocketAddr, mode: ListenMode, shards: u32) -> Option<Addresses> {
        let of_shard = |shard: u32| {
            let port = match shared.port() {
                0 => 0,
                port => u16::try_from(u32::from(port) + 1 + shard).ok()?,
            };
            Some(SocketAddr::new(shared.ip(), port))
        };
        let of_shards = match mode {
            ListenMode::Shared => Vec::new(),
            ListenMode::Direct => (0..shards).map(of_shard).collect::<Option<_>>()?,
        };
        Some(Addresses { shared, of_shards })
    }

    /// Those that one shard binds.
    pub fn of(&self, shard: ShardId) -> Vec<SocketAddr> {
        [self.shared].into_iter().chain(self.of_shards.get(shard.index()).copied()).collect()
    }
}

/// A value of a listener setting that cannot be used: the setting, and one clause about the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadListener {
    /// The setting at fault.
    pub setting: &'static str,
    /// The element at fault.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

struct Endpoint {
    name: String,
    host: String,
    port: u16,
}

/// The listeners of a node, from the texts of its settings.
///
/// # Errors
/// An address that does not parse or resolve, a name twice, a protocol that is not built, or an advertised
/// listener that does not exist.
pub fn listeners(settings: &ServerSettings) -> Result<Vec<Listener>, BadListener> {
    let controllers = &settings.controller_listener_names;
    let of_controller =
        |each: &Endpoint| controllers.iter().any(|name| name.eq_ignore_ascii_case(&each.name));
    let mut advertised = endpoints("advertised.listeners", &settings.advertised_listeners)?;
    advertised.retain(|each| !of_controller(each));
    let mut listeners = Vec::new();
    for endpoint in endpoints("listeners", &settings.listeners)? {
        if of_controller(&endpoint) {
            continue;
        }
        check_protocol(&endpoint, &settings.protocol_map)?;
        let told = advertised.iter().find(|each| each.name == endpoint.name);
        let (advertised_host, advertised_port) = match told {
            Some(told) => (told.host.clone(), told.port),
            None => (default_host(&endpoint.host), endpoint.port),
        };
        if matches!(advertised_host.as_str(), "" | "0.0.0.0" | "::") {
            return Err(bad(
                if told.is_some() { "advertised.listeners" } else { "listeners" },
                &endpoint.name,
                "clients cannot connect to 0.0.0.0; name a host that they can reach in advertised.listeners",
            ));
        }
        let address = resolve(&endpoint)?;
        listeners.push(Listener { name: endpoint.name, address, advertised_host, advertised_port });
    }
    if let Some(stray) = advertised.iter().find(|each| listeners.iter().all(|known| known.name != each.name))
    {
        return Err(bad(
            "advertised.listeners",
            &stray.name,
            "there is no listener of this name in listeners",
        ));
    }
    if listeners.is_empty() {
        return Err(bad("listeners", "", "at least one listener for clients is needed"));
    }
    Ok(listeners)
}

fn bad(setting: &'static str, value: &str, reason: &str) -> BadListener {
    BadListener { setting, value: value.to_owned(), reason: reason.to_owned() }
}

fn endpoints(setting: &'static str, texts: &[String]) -> Result<Vec<Endpoint>, BadListener> {
    let mut names = HashSet::new();
    texts
        .iter()
        .map(|text| {
            let endpoint = endpoint(text)
                .ok_or_else(|| bad(setting, text, "not an address of the form name://host:port"))?;
            if names.insert(endpoint.name.clone()) {
                Ok(endpoint)
            } else {
                Err(bad(setting, text, "each listener must have a name of its own"))
            }
        })
        .collect()
}

fn endpoint(text: &str) -> Option<Endpoint> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let plain = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let named = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c));
    named.then_some(())?;
    Some(Endpoint { name: name.to_ascii_uppercase(), host: plain.to_owned(), port: port.parse().ok()? })
}

fn check_protocol(endpoint: &Endpoint, map: &[String]) -> Result<(), BadListener> {
    let protocol = map.iter().find_map(|entry| {
        let (name, protocol) = entry.split_once(':')?;
        name.trim().eq_ignore_ascii_case(&endpoint.name).then(|| protocol.trim())
    });
    let map_setting = "listener.security.protocol.map";
    match protocol {
        Some("PLAINTEXT") => Ok(()),
        Some(known) if PROTOCOLS.contains(&known) => Err(bad(
            "listeners",
            &format!("{}://{}:{}", endpoint.name, endpoint.host, endpoint.port),
            &format!("{known} is not supported yet: TLS and SASL are missing, only PLAINTEXT is built"),
        )),
        Some(other) => Err(bad(map_setting, other, "not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")),
        None => Err(bad(map_setting, &endpoint.name, "no protocol is given for this listener")),
    }
}

/// An empty host listens everywhere, and clients are told the machine's name, as Kafka does.
fn default_host(host: &str) -> String {
    if host.is_empty() {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
    } else {
        host.to_owned()
    }
}

fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, BadListener> {
    let host = if endpoint.host.is_empty() { "0.0.0.0" } else { &endpoint.host };
    let found = (host, endpoint.port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| {
        bad("listeners", &format!("{host}:{}", endpoint.port), "this host has no address on this machine")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_shards_follow_the_shared_one() {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let of = |port, mode| Addresses::new(at(port), mode, 3).map(|addresses| addresses.of_shards);
        assert_eq!(of(9092, ListenMode::Direct), Some(vec![at(9093), at(9094), at(9095)]));
        assert_eq!(of(0, ListenMode::Direct), Some(vec![at(0); 3]), "the kernel chooses");
        assert_eq!(of(65532, ListenMode::Direct), Some(vec![at(65533), at(65534), at(65535)]));
        assert_eq!(of(65533, ListenMode::Direct), None);
        assert_eq!(of(65533, ListenMode::Shared), Some(Vec::new()));
    }
}
