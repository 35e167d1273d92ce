//! Gathers settings from the file, the environment and the command line, the later ones stronger.
//!
//! A container sets `log.dirs` with `CORELANE_LOG_DIRS`: the prefix, upper case, `_` for `.` and for `-`.
//! Variables are matched from the names of known settings, so that no name is ambiguous.

use std::path::PathBuf;

use super::{BrokerConfig, ConfigError, Settings, Source, find, properties, sections};
use crate::config::definition::Definition;

/// Variables that begin like ours and are no settings.
const OTHER_VARIABLES: &[&str] = &["CORELANE_CONFIG", "CORELANE_LOG", "CORELANE_BOOTSTRAP"];

/// The largest properties file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Keys of Kafka that mean nothing here; a prefix ends in `*`.
pub static IGNORED: &[&str] = &[
    "advertised.host.name",
    "alter.config.policy.class.name",
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.heartbeat.interval.ms",
    "broker.id.generation.enable",
    "broker.session.timeout.ms",
    "controlled.shutdown.*",
    "controller.*",
    "create.topic.policy.class.name",
    "delete.records.purgatory.purge.interval.requests",
    "fetch.purgatory.purge.interval.requests",
    "group.consumer.*",
    "group.coordinator.append.linger.ms",
    "group.coordinator.threads",
    "group.share.*",
    "group.streams.*",
    "initial.broker.registration.timeout.ms",
    "inter.broker.listener.name",
    "inter.broker.protocol.version",
    "kafka.*",
    "leader.imbalance.*",
    "log.cleaner.*",
    "log.dir.failure.timeout.ms",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.scheduler.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "log.initial.task.delay.ms",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.roll.jitter.*",
    "metadata.*",
    "metric.reporters",
    "metrics.*",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.alter.log.dirs.threads",
    "num.replica.fetchers",
    "offsets.load.buffer.size",
    "offsets.topic.compression.codec",
    "process.roles",
    "producer.purgatory.purge.interval.requests",
    "queued.max.request.bytes",
    "queued.max.requests",
    "quota.*",
    "remote.log.*",
    "replica.*",
    "request.timeout.ms",
    "sasl.*",
    "security.*",
    "server.max.startup.time.ms",
    "share.coordinator.*",
    "socket.connection.setup.timeout.*",
    "ssl.*",
    "super.users",
    "telemetry.*",
    "transaction.*",
    "transactional.id.expiration.ms",
    "unstable.*",
    "zookeeper.*",
];

/// Keys that protect data or promise something that is missing: refused whatever the value, unless it is empty or
/// `false`.
static REFUSED: &[(&str, &str)] = &[
    ("authorizer.class.name", "access control is not built yet, every client may do everything"),
    ("remote.log.storage.system.enable", "tiered storage is not built yet"),
];

/// What the settings are gathered from.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// The environment, as name and value.
    pub environment: Vec<(String, String)>,
    /// The texts of `--set`, as `key=value`.
    pub set: Vec<String>,
    /// Flags of their own: the flag, the key and the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// A configuration, and what the person who starts the broker should hear about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: BrokerConfig,
    /// One sentence each.
    pub warnings: Vec<String>,
}

impl Sources {
    /// Reads all sources into a checked configuration.
    ///
    /// # Errors
    /// A file that cannot be read, or a value that is not allowed.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut gathered = Gathered::default();
        if let Some(path) = &self.file {
            for entry in read_file(path)? {
                let source = Source::File { path: path.clone(), line: entry.line };
                gathered.put(&entry.key, &entry.value, source)?;
            }
        }
        self.read_environment(&mut gathered)?;
        for text in &self.set {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                ConfigError(format!("--set {text}: write it as key=value, for example num.partitions=3"))
            })?;
            gathered.put(key.trim(), value, Source::Set)?;
        }
        for (flag, key, value) in &self.flags {
            gathered.put(key, value, Source::Flag(flag))?;
        }
        let warnings = gathered.warnings();
        Ok(Loaded { config: BrokerConfig::new(gathered.settings)?, warnings })
    }

    fn read_environment(&self, gathered: &mut Gathered) -> Result<(), ConfigError> {
        for (variable, value) in &self.environment {
            if !variable.starts_with("CORELANE_") || OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let mut all = sections().into_iter().flat_map(|(_, table)| table);
            match all.find(|definition| variable_of(definition.name) == *variable) {
                Some(definition) => {
                    gathered.put(definition.name, value, Source::Environment(variable.clone()))?;
                }
                None => gathered.unknown.push(format!("environment variable {variable}")),
            }
        }
        Ok(())
    }
}

/// The environment variable that sets a setting.
pub fn variable_of(name: &str) -> String {
    format!("CORELANE_{}", name.to_ascii_uppercase().replace(['.', '-'], "_"))
}

fn read_file(path: &PathBuf) -> Result<Vec<properties::Property>, ConfigError> {
    let wrong = |reason: String| ConfigError(format!("--config {}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes are too many for a properties file")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8 text".to_owned()))?;
    properties::parse(&text).map_err(|error| wrong(error.to_string()))
}

#[derive(Default)]
struct Gathered {
    settings: Settings,
    unknown: Vec<String>,
    ignored: Vec<String>,
}

impl Gathered {
    fn put(&mut self, key: &str, value: &str, source: Source) -> Result<(), ConfigError> {
        // Kafka's other name of the same setting, and its name before 3.0.
        let name = match key {
            "log.dir" => "log.dirs",
            "broker.id" => "node.id",
            other => other,
        };
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            let off = value.trim().is_empty() || value.trim().eq_ignore_ascii_case("false");
            return if off {
                Ok(())
            } else {
                Err(ConfigError(format!("{key}={value} (from {source}): {reason}")))
            };
        }
        let Some(definition) = find(name) else {
            let ignored = IGNORED.iter().any(|pattern| matches(pattern, name));
            let list = if ignored { &mut self.ignored } else { &mut self.unknown };
            list.push(key.to_owned());
            return Ok(());
        };
        if value.trim().is_empty() && definition.default.is_none() {
            return Ok(());
        }
        let shown = format!("{key}={} (from {source})", value.trim());
        self.settings
            .set(name, value, Some(source))
            .map_err(|invalid| refused(definition, &shown, &invalid.reason))
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> = self
            .unknown
            .iter()
            .map(|key| format!("unknown setting {key} is ignored; check its spelling"))
            .collect();
        if !self.ignored.is_empty() {
            warnings.push(format!("settings of Kafka without effect here: {}", self.ignored.join(", ")));
        }
        warnings
    }
}

fn refused(definition: &Definition, shown: &str, reason: &str) -> ConfigError {
    ConfigError(format!("{shown}: {reason}; allowed: {}", definition.allowed()))
}

fn matches(pattern: &str, key: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == key, |prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn later_sources_are_stronger() {
        let file = file("num.partitions=2\nnode.id=2\nlog.dirs=/file\ncores=1\n");
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![
                ("CORELANE_NODE_ID".into(), "3".into()),
                ("CORELANE_LOG_DIRS".into(), "/environment".into()),
                ("CORELANE_CORES".into(), "2".into()),
                ("CORELANE_STORAGE_O_DIRECT".into(), "false".into()),
                ("HOME".into(), "/".into()),
            ],
            set: vec!["log.dirs=/set".into(), "cores=3".into()],
            flags: vec![("--cores", "cores", "4".into())],
        };
        let loaded = sources.load().unwrap();
        assert_eq!(loaded.config.log.num_partitions, 2);
        assert_eq!(loaded.config.server.node_id, 3);
        assert_eq!(loaded.config.server.data_dirs, ["/set"]);
        assert_eq!(loaded.config.server.cores, Some(4));
        assert!(!loaded.config.store.o_direct);
        assert!(loaded.warnings.is_empty());
        assert_eq!(loaded.config.settings.source("cores"), Some(&Source::Flag("--cores")));
    }

    #[test]
    fn unknown_keys_warn_and_kafkas_own_are_named_once() {
        let file =
            file("num.partitons=2\nnum.io.threads=8\nprocess.roles=broker\nreplica.fetch.max.bytes=1\n");
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![("CORELANE_NUM_PARTITONS".into(), "3".into())],
            ..Sources::default()
        };
        let warnings = sources.load().unwrap().warnings;
        assert_eq!(warnings[0], "unknown setting num.partitons is ignored; check its spelling");
        assert!(warnings[1].starts_with("unknown setting environment variable CORELANE_NUM_PARTITONS"));
        assert_eq!(
            warnings[2],
            "settings of Kafka without effect here: num.io.threads, process.roles, replica.fetch.max.bytes"
        );
    }

    #[test]
    fn a_wrong_value_names_key_value_source_and_what_is_allowed() {
        let file = file("# one\nnum.partitions=abc\n");
        let text = |sources: Sources| sources.load().unwrap_err().to_string();
        let from_file = text(Sources { file: Some(file.path().to_owned()), ..Sources::default() });
        assert_eq!(
            from_file,
            format!(
                "num.partitions=abc (from {} line 2): Not a number of type INT; allowed: a whole number from 1 to \
                 2147483647",
                file.path().display()
            )
        );
        let set = |value: &str| text(Sources { set: vec![value.into()], ..Sources::default() });
        assert!(set("log.cleanup.policy=compact").contains("compact is not supported yet"));
        assert!(set("durability=memory").ends_with("it comes with queues, use fsync; allowed: one of fsync"));
        assert!(set("record.validation=none").ends_with("allowed: one of full, header"));
        assert!(set("cores").starts_with("--set cores: write it as key=value"));
        assert!(set("authorizer.class.name=x.Y").contains("access control is not built yet"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let sources = Sources { file: Some("/nowhere/server.properties".into()), ..Sources::default() };
        let text = sources.load().unwrap_err().to_string();
        assert!(text.starts_with("--config /nowhere/server.properties: No such file"), "{text}");
    }

    #[test]
    fn no_two_settings_share_a_variable() {
        let mut names: Vec<_> =
            sections().into_iter().flat_map(|(_, t)| t).map(|each| variable_of(each.name)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
