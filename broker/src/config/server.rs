//! Settings of the node itself: who it is, where it listens, where its data is, how many cores it takes.

use crate::config::definition::{Check, choice, settings};

choice! {
    /// How clients find the shards of a node.
    pub enum ListenMode {
        /// One port for all shards; a node is one broker to its clients.
        Shared = "shared",
        /// Each shard also has a port of its own and is a broker of its own to clients.
        Direct = "direct",
    }
}

settings! {
    /// Who the node is, where it listens, where its data is.
    pub struct ServerSettings in SERVER {
        /// The number of this node in its cluster.
        "node.id" => node_id: i32 = Some("1"), check: Check::AtLeast(0);
        /// The rack or zone of this node, told to clients.
        "broker.rack" => rack: Option<String> = None;
        /// Addresses to listen on, as name://host:port with commas between them; an empty host is every
        /// address of the machine. Only PLAINTEXT is built.
        "listeners" => listeners: Vec<String> = Some("PLAINTEXT://127.0.0.1:9092"), check: Check::NotEmpty;
        /// Addresses that clients are told to connect to, when they differ from listeners.
        "advertised.listeners" => advertised_listeners: Vec<String> = None;
        /// The protocol of each listener name, as name:protocol with commas between them.
        "listener.security.protocol.map" => protocol_map: Vec<String> =
            Some("PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL");
        /// Listener names of Kafka's controller. Corelane has no such port: these listeners are left out.
        "controller.listener.names" => controller_listener_names: Vec<String> = None;
        /// The data folder. One folder for now; a relative one is relative to the working directory.
        "log.dirs" => data_dirs: Vec<String> = Some("./data"), check: Check::NotEmpty;
        /// How many cores to use, one shard each. Not set means all that the process may run on; a folder with data
        /// keeps the number that it was made with.
        "cores" => cores: Option<u32> = None, check: Check::Between(1, 1024);
        /// Whether each shard is pinned to its core.
        "cores.pin" => pin_cores: bool = Some("true");
        /// Microseconds for which an idle shard looks for work before it sleeps. Above 0 it saves the time to wake up
        /// and costs CPU whenever little is to be done; for cores that nothing else runs on.
        "idle.spin.us" => idle_spin_us: u64 = Some("0"), check: Check::Between(0, 10_000);
        /// shared: one port, a node is one broker. direct: each shard has a port of its own as well, those that
        /// follow the listener's, and is a broker of its own to clients.
        "listen" => listen: ListenMode = Some("shared"), check: Check::OneOf(ListenMode::WORDS);
    }
}
