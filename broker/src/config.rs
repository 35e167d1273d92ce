//! The configuration of a broker: Kafka's property names, and ours.
//!
//! Sources, the later ones stronger: defaults, the file of `--config`, the environment, `--set`, and flags of
//! their own such as `--cores`. An unknown key is a warning, as in Kafka. A value that is not allowed ends the
//! start with its key, its value, where it came from and what is allowed. What is not built yet is refused by its
//! name, so that nobody believes in a guarantee that is not there.
//!
//! [`Settings`] keeps the texts and where each came from, for `DescribeConfigs` and for the defaults of topics.
//! [`BrokerConfig`] holds the typed values that code reads.

pub mod definition;
pub mod document;
pub mod group;
pub mod listener;
pub mod load;
pub mod log;
pub mod network;
pub mod operation;
pub mod properties;
pub mod server;
pub mod store;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use definition::{Definition, Invalid};
use group::GroupSettings;
use listener::Listener;
use log::LogSettings;
use network::NetworkSettings;
use operation::OperationSettings;
use server::{ListenMode, ServerSettings};
use store::StoreSettings;

use crate::metadata::broker_ids::DIRECT_NODE_MAX;

pub use load::{Loaded, Sources};

/// The tables of broker settings with their titles, in the order of the documentation.
pub fn sections() -> [(&'static str, &'static [Definition]); 6] {
    [
        ("Node", server::SERVER),
        ("Connections, requests, fetches", network::NETWORK),
        ("Topics and the defaults of their settings", log::LOG),
        ("Consumer groups", group::GROUP),
        ("Storage", store::STORE),
        ("Operation", operation::OPERATION),
    ]
}

/// The definition of a broker setting.
pub fn find(name: &str) -> Option<&'static Definition> {
    sections().into_iter().flat_map(|(_, table)| table).find(|each| each.name == name)
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A line of a properties file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Set,
    /// A flag of its own, such as `--cores`.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// The values that someone set at start, as texts that passed their checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Option<Source>)>,
}

impl Settings {
    /// The text of a setting that was set at start.
    pub fn explicit(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(text, _)| text.as_str())
    }

    /// The text of a setting: what was set at start, or the default.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.explicit(name).or_else(|| find(name).and_then(|definition| definition.default))
    }

    /// Where the value of a setting came from, when it was set at start.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.values.get(name).and_then(|(_, source)| source.as_ref())
    }

    /// Sets a value after checking it. For tests and for flags; files go through [`load`].
    ///
    /// # Errors
    /// A value that is not allowed; an unknown key is left out silently.
    pub fn set(&mut self, name: &str, text: &str, source: Option<Source>) -> Result<(), Invalid> {
        if let Some(definition) = find(name) {
            definition.check(text)?;
            self.values.insert(definition.name, (text.trim().to_owned(), source));
        }
        Ok(())
    }
}

/// Why the broker does not start: one sentence with the key, the value, its source and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The typed configuration of a broker, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    /// The node itself.
    pub server: ServerSettings,
    /// Connections, requests, fetches.
    pub network: NetworkSettings,
    /// Topics and their defaults.
    pub log: LogSettings,
    /// Consumer groups.
    pub group: GroupSettings,
    /// Storage.
    pub store: StoreSettings,
    /// Metrics, health and log lines.
    pub operation: OperationSettings,
    /// Where metrics and health are served, if anywhere.
    pub admin_address: Option<SocketAddr>,
    /// Addresses with a number of connections of their own.
    connections_max_by_address: BTreeMap<IpAddr, i32>,
    /// Where to listen and what clients are told; at least one.
    pub listeners: Vec<Listener>,
    /// The texts behind the values, with their sources.
    pub settings: Arc<Settings>,
}

impl BrokerConfig {
    /// Reads the typed values and checks what involves several settings.
    ///
    /// # Errors
    /// One sentence about the setting at fault.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let lookup = |name: &'static str| settings.text(name).map(Cow::Borrowed);
        let wrong = |invalid: Invalid| refusal(&settings, invalid.name, &invalid.value, &invalid.reason);
        let server = ServerSettings::read(lookup).map_err(wrong)?;
        let network = NetworkSettings::read(lookup).map_err(wrong)?;
        let log = LogSettings::read(lookup).map_err(wrong)?;
        let group = GroupSettings::read(lookup).map_err(wrong)?;
        let store = StoreSettings::read(lookup).map_err(wrong)?;
        let operation = OperationSettings::read(lookup).map_err(wrong)?;
        let admin_address = operation
            .admin_address()
            .map_err(|reason| refusal(&settings, "admin.listener", &operation.admin_listener, &reason))?;
        if let [_, _, ..] = server.data_dirs.as_slice() {
            let value = server.data_dirs.join(",");
            return Err(refusal(&settings, "log.dirs", &value, "one data folder is supported, not several"));
        }
        if group.min_session_timeout_ms > group.max_session_timeout_ms {
            let value = group.min_session_timeout_ms.to_string();
            let reason = "must not be above group.max.session.timeout.ms";
            return Err(refusal(&settings, "group.min.session.timeout.ms", &value, reason));
        }
        let overrides = &network.max_connections_per_ip_overrides;
        let connections_max_by_address = network::by_address(overrides).map_err(|(value, reason)| {
            refusal(&settings, "max.connections.per.ip.overrides", &value, &reason)
        })?;
        let listeners = listener::listeners(&server)
            .map_err(|bad| refusal(&settings, bad.setting, &bad.value, &bad.reason))?;
        if server.listen == ListenMode::Direct && server.node_id > DIRECT_NODE_MAX {
            let reason = format!("listen=direct numbers the shards of nodes up to {DIRECT_NODE_MAX}");
            return Err(refusal(&settings, "node.id", &server.node_id.to_string(), &reason));
        }
        Ok(Self {
            server,
            network,
            log,
            group,
            store,
            operation,
            admin_address,
            connections_max_by_address,
            listeners,
            settings: Arc::new(settings),
        })
    }

    /// The configuration when nobody sets anything.
    ///
    /// # Errors
    /// None that the tables of this crate can cause.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::new(Settings::default())
    }

    /// How many connections an address may keep open.
    pub fn connections_max_of(&self, address: IpAddr) -> i32 {
        let own = self.connections_max_by_address.get(&address).copied();
        own.unwrap_or(self.network.max_connections_per_ip)
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        Path::new(self.server.data_dirs.first().map_or("./data", String::as_str))
    }

    /// The folder of the commit logs.
    pub fn commit_log_dir(&self) -> &Path {
        self.store.commit_log_dir.as_deref().map_or(self.data_dir(), Path::new)
    }
}

fn refusal(settings: &Settings, name: &str, value: &str, reason: &str) -> ConfigError {
    let source = settings.source(name).map_or_else(|| "default".to_owned(), ToString::to_string);
    ConfigError(format!("{name}={value} (from {source}): {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
        let mut settings = Settings::default();
        for (name, text) in pairs {
            settings
                .set(name, text, Some(Source::Set))
                .map_err(|invalid| ConfigError(invalid.to_string()))?;
        }
        BrokerConfig::new(settings)
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for definition in sections().into_iter().flat_map(|(_, table)| table) {
            definition.default.map_or(Ok(()), |text| definition.check(text)).unwrap();
            assert!(definition.doc.trim().ends_with('.'), "{} needs a sentence", definition.name);
        }
        let config = BrokerConfig::defaults().unwrap();
        assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:9092");
        assert_eq!(config.data_dir(), Path::new("./data"));
        assert_eq!(config.commit_log_dir(), Path::new("./data"));
    }

    #[test]
    fn no_setting_is_in_two_tables() {
        let mut names: Vec<_> = sections().into_iter().flat_map(|(_, t)| t).map(|each| each.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn encrypted_listeners_are_refused_by_name() {
        let error = with(&[("listeners", "SASL_SSL://127.0.0.1:9093")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "listeners=SASL_SSL://127.0.0.1:9093 (from --set): SASL_SSL is not supported yet: TLS and SASL are \
             missing, only PLAINTEXT is built"
        );
    }

    #[test]
    fn listeners_have_names_addresses_and_what_clients_are_told() {
        let config = with(&[
            ("listeners", "inside://127.0.0.1:1, OUT://[::1]:2, CONTROLLER://:9093"),
            ("advertised.listeners", "OUT://broker.example:3,CONTROLLER://h:9093"),
            ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("controller.listener.names", "controller"),
        ])
        .unwrap();
        let told: Vec<_> = config
            .listeners
            .iter()
            .map(|each| (each.advertised_host.as_str(), each.advertised_port))
            .collect();
        assert_eq!(told, [("127.0.0.1", 1), ("broker.example", 3)]);
        assert_eq!(config.listeners[1].address.to_string(), "[::1]:2");
        for bad in ["x", "A://h", "A://h:99999", "://h:1", "A://::1:9", "PLAINTEXT://0.0.0.0:9092"] {
            assert!(with(&[("listeners", bad)]).is_err(), "{bad}");
        }
        let stray = with(&[("advertised.listeners", "OTHER://h:1")]).unwrap_err();
        assert!(stray.to_string().contains("no listener of this name"));
    }

    #[test]
    fn several_data_folders_are_refused() {
        let error = with(&[("log.dirs", "/a,/b")]).unwrap_err().to_string();
        assert_eq!(error, "log.dirs=/a,/b (from --set): one data folder is supported, not several");
    }
}
