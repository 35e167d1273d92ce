//! The settings of a topic, and where each value comes from.
//!
//! The value of a topic setting is the first that exists of: the topic's own, the running change of this broker,
//! the running change of the whole cluster, what the broker was started with, the default. The three in the middle
//! go by the broker's name of the setting, such as `log.retention.hours` for `retention.ms`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::Settings;
use crate::config::definition::{Check, Definition, Invalid, NotBuilt, Scope, Synonym, settings};
use crate::config::log::{
    CLEANUP_POLICIES, COMPACT_NOT_BUILT, CompressionType, DURABILITY_NOT_BUILT, Durability, TimestampType,
};

/// Settings by name, as texts that passed their checks.
pub type Overrides = BTreeMap<String, String>;

const TIERED: &[NotBuilt] = &[NotBuilt { value: "true", reason: "tiered storage is missing" }];
const HOUR_MS: i64 = 3_600_000;

settings! {
    /// The settings of one topic, resolved.
    pub struct TopicConfig in TOPIC {
        /// What happens to old records: delete. compact is not built.
        "cleanup.policy" => cleanup_policy: Vec<String> = Some("delete"), scope: Scope::Topic,
            check: Check::EachOf(CLEANUP_POLICIES), not_built: COMPACT_NOT_BUILT,
            synonyms: &[Synonym::same("log.cleanup.policy")];
        /// How long records are kept, in ms; -1 for ever.
        "retention.ms" => retention_ms: i64 = Some("604800000"), scope: Scope::Topic, check: Check::AtLeast(-1),
            synonyms: &[Synonym::same("log.retention.ms"), Synonym { name: "log.retention.minutes", scale: 60_000 },
                Synonym { name: "log.retention.hours", scale: HOUR_MS }];
        /// How many bytes of a partition are kept; -1 for all.
        "retention.bytes" => retention_bytes: i64 = Some("-1"), scope: Scope::Topic, check: Check::AtLeast(-1),
            synonyms: &[Synonym::same("log.retention.bytes")];
        /// The size in bytes at which a segment is closed.
        "segment.bytes" => segment_bytes: i32 = Some("1073741824"), scope: Scope::Topic,
            check: Check::AtLeast(1_048_576), synonyms: &[Synonym::same("log.segment.bytes")];
        /// The age in ms at which a segment is closed.
        "segment.ms" => segment_ms: i64 = Some("604800000"), scope: Scope::Topic, check: Check::AtLeast(1),
            synonyms: &[Synonym::same("log.roll.ms"), Synonym { name: "log.roll.hours", scale: HOUR_MS }];
        /// By how much, in ms, the age at which segments are closed is spread.
        "segment.jitter.ms" => segment_jitter_ms: i64 = Some("0"), scope: Scope::Topic, check: Check::AtLeast(0);
        /// The largest record batch in bytes, as compressed.
        "max.message.bytes" => max_message_bytes: i32 = Some("1048588"), scope: Scope::Topic,
            check: Check::AtLeast(0), synonyms: &[Synonym::same("message.max.bytes")];
        /// How many replicas must have a record before acks=all is answered.
        "min.insync.replicas" => min_insync_replicas: i32 = Some("1"), scope: Scope::Topic,
            check: Check::AtLeast(1), synonyms: &[Synonym::same("min.insync.replicas")];
        /// How batches are compressed in the log: producer keeps them as they came, a codec compresses them anew.
        "compression.type" => compression_type: CompressionType = Some("producer"), scope: Scope::Topic,
            check: Check::OneOf(CompressionType::WORDS),
            synonyms: &[Synonym::same("compression.type")];
        /// The gzip level when the broker compresses; -1 is gzip's own default.
        "compression.gzip.level" => compression_gzip_level: i32 = Some("-1"), scope: Scope::Topic,
            check: Check::Between(-1, 9);
        /// The LZ4 level when the broker compresses. No effect: there is one speed.
        "compression.lz4.level" => compression_lz4_level: i32 = Some("9"), scope: Scope::Topic,
            check: Check::Between(1, 17);
        /// The Zstandard level when the broker compresses.
        "compression.zstd.level" => compression_zstd_level: i32 = Some("3"), scope: Scope::Topic,
            check: Check::Between(-131_072, 22);
        /// Which time records carry: CreateTime, the producer's, or LogAppendTime, the broker's.
        "message.timestamp.type" => timestamp_type: TimestampType = Some("CreateTime"), scope: Scope::Topic,
            check: Check::OneOf(TimestampType::WORDS), synonyms: &[Synonym::same("log.message.timestamp.type")];
        /// How far in the past, in ms, the time of a record may lie.
        "message.timestamp.before.max.ms" => timestamp_before_max_ms: i64 = Some("9223372036854775807"),
            scope: Scope::Topic, check: Check::AtLeast(0),
            synonyms: &[Synonym::same("log.message.timestamp.before.max.ms")];
        /// How far in the future, in ms, the time of a record may lie.
        "message.timestamp.after.max.ms" => timestamp_after_max_ms: i64 = Some("3600000"), scope: Scope::Topic,
            check: Check::AtLeast(0), synonyms: &[Synonym::same("log.message.timestamp.after.max.ms")];
        /// Kept for tools. Every acknowledged record is synced before its acknowledgement whatever this says.
        "flush.messages" => flush_messages: i64 = Some("9223372036854775807"), scope: Scope::Topic,
            check: Check::AtLeast(1), synonyms: &[Synonym::same("log.flush.interval.messages")];
        /// Kept for tools. Every acknowledged record is synced before its acknowledgement whatever this says.
        "flush.ms" => flush_ms: i64 = Some("9223372036854775807"), scope: Scope::Topic, check: Check::AtLeast(0),
            synonyms: &[Synonym::same("log.flush.interval.ms")];
        /// Whether a replica that is behind may become leader.
        "unclean.leader.election.enable" => unclean_leader_election: bool = Some("false"), scope: Scope::Topic,
            synonyms: &[Synonym::same("unclean.leader.election.enable")];
        /// Bytes between two entries of an offset index.
        "index.interval.bytes" => index_interval_bytes: i32 = Some("4096"), scope: Scope::Topic,
            check: Check::AtLeast(0), synonyms: &[Synonym::same("log.index.interval.bytes")];
        /// The size of an offset index at which its segment is closed.
        "segment.index.bytes" => segment_index_bytes: i32 = Some("10485760"), scope: Scope::Topic,
            check: Check::AtLeast(4), synonyms: &[Synonym::same("log.index.size.max.bytes")];
        /// How long the files of a deleted segment stay.
        "file.delete.delay.ms" => file_delete_delay_ms: i64 = Some("60000"), scope: Scope::Topic,
            check: Check::AtLeast(0), synonyms: &[Synonym::same("log.segment.delete.delay.ms")];
        /// Whether the space of a segment is taken when it is made.
        "preallocate" => preallocate: bool = Some("false"), scope: Scope::Topic,
            synonyms: &[Synonym::same("log.preallocate")];
        /// How long the mark of a deleted key stays. No effect before compaction.
        "delete.retention.ms" => delete_retention_ms: i64 = Some("86400000"), scope: Scope::Topic,
            check: Check::AtLeast(0), synonyms: &[Synonym::same("log.cleaner.delete.retention.ms")];
        /// The share of a log that may be uncompacted. No effect before compaction.
        "min.cleanable.dirty.ratio" => min_cleanable_dirty_ratio: f64 = Some("0.5"), scope: Scope::Topic,
            check: Check::Fraction(0.0, 1.0), synonyms: &[Synonym::same("log.cleaner.min.cleanable.ratio")];
        /// How long a record stays uncompacted at least. No effect before compaction.
        "min.compaction.lag.ms" => min_compaction_lag_ms: i64 = Some("0"), scope: Scope::Topic,
            check: Check::AtLeast(0), synonyms: &[Synonym::same("log.cleaner.min.compaction.lag.ms")];
        /// How long a record stays uncompacted at most. No effect before compaction.
        "max.compaction.lag.ms" => max_compaction_lag_ms: i64 = Some("9223372036854775807"), scope: Scope::Topic,
            check: Check::AtLeast(1), synonyms: &[Synonym::same("log.cleaner.max.compaction.lag.ms")];
        /// Replicas whose traffic as leader is slowed. No effect before replication.
        "leader.replication.throttled.replicas" => leader_throttled_replicas: Vec<String> = Some(""),
            scope: Scope::Topic;
        /// Replicas whose traffic as follower is slowed. No effect before replication.
        "follower.replication.throttled.replicas" => follower_throttled_replicas: Vec<String> = Some(""),
            scope: Scope::Topic;
        /// Whether old segments go to object storage. Not built.
        "remote.storage.enable" => remote_storage: bool = Some("false"), scope: Scope::Topic, not_built: TIERED;
        /// How long local copies are kept with tiered storage. No effect without it.
        "local.retention.ms" => local_retention_ms: i64 = Some("-2"), scope: Scope::Topic, check: Check::AtLeast(-2);
        /// How many local bytes are kept with tiered storage. No effect without it.
        "local.retention.bytes" => local_retention_bytes: i64 = Some("-2"), scope: Scope::Topic,
            check: Check::AtLeast(-2);
        /// Whether new segments stay away from object storage. No effect without it.
        "remote.log.copy.disable" => remote_copy_disable: bool = Some("false"), scope: Scope::Topic;
        /// Whether turning tiered storage off deletes what is there. No effect without it.
        "remote.log.delete.on.disable" => remote_delete_on_disable: bool = Some("false"), scope: Scope::Topic;
        /// What an acknowledgement promises: fsync, the record is on disk.
        "durability" => durability: Durability = Some("fsync"), scope: Scope::Topic,
            check: Check::OneOf(Durability::WORDS), not_built: DURABILITY_NOT_BUILT,
            synonyms: &[Synonym::same("durability")];
    }
}

/// The definition of a topic setting.
pub fn find(name: &str) -> Option<&'static Definition> {
    TOPIC.iter().find(|each| each.name == name)
}

/// Checks the settings of a topic that is made or altered.
///
/// # Errors
/// Kafka's sentence about the first setting that is unknown or whose value is not allowed.
pub fn check<'a>(overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), String> {
    for (name, value) in overrides {
        let definition = find(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
        definition.check(value).map_err(|invalid| invalid.to_string())?;
    }
    Ok(())
}

/// Where a value comes from, with the numbers of a `DescribeConfigs` answer (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Changed while running, for one broker.
    Broker = 2,
    /// Changed while running, for all brokers.
    Cluster = 3,
    /// Given to the broker at its start.
    Static = 4,
    /// Nobody set it.
    Default = 5,
}

/// One candidate for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The name under which it was set: the topic's or the broker's.
    pub name: &'static str,
    /// The text in the unit of that name.
    pub text: Option<String>,
    /// How many of the topic setting's units are one of this name's.
    pub scale: i64,
    /// Where it comes from.
    pub source: ConfigSource,
}

impl Candidate {
    /// The text in the unit of the topic's setting.
    pub fn scaled(&self) -> Option<Cow<'_, str>> {
        let text = self.text.as_deref()?;
        let scaled = match text.parse::<i64>() {
            Ok(number) if self.scale != 1 => {
                let value = if number < 0 { -1 } else { number.saturating_mul(self.scale) };
                Cow::Owned(value.to_string())
            }
            _ => Cow::Borrowed(text),
        };
        Some(scaled)
    }
}

/// The places where a topic's values are looked for, the strongest first.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// Set on the topic.
    pub topic: &'a Overrides,
    /// Changed while running, for this broker.
    pub node: &'a Overrides,
    /// Changed while running, for the cluster.
    pub cluster: &'a Overrides,
    /// Given to this broker at its start.
    pub started: &'a Settings,
}

impl Layers<'_> {
    /// Every candidate for a topic setting, the one that holds first; never empty.
    pub fn candidates(&self, definition: &'static Definition) -> Vec<Candidate> {
        let mut found = Vec::new();
        let mut add = |name, text: Option<&str>, scale, source| {
            if let Some(text) = text {
                found.push(Candidate { name, text: Some(text.to_owned()), scale, source });
            }
        };
        add(definition.name, self.topic.get(definition.name).map(String::as_str), 1, ConfigSource::Topic);
        for Synonym { name, scale } in definition.synonyms {
            add(name, self.node.get(*name).map(String::as_str), *scale, ConfigSource::Broker);
        }
        for Synonym { name, scale } in definition.synonyms {
            add(name, self.cluster.get(*name).map(String::as_str), *scale, ConfigSource::Cluster);
        }
        for Synonym { name, scale } in definition.synonyms {
            add(name, self.started.explicit(name), *scale, ConfigSource::Static);
        }
        let text = definition.default.map(str::to_owned);
        found.push(Candidate { name: definition.name, text, scale: 1, source: ConfigSource::Default });
        found
    }

    /// The resolved settings.
    ///
    /// # Errors
    /// A stored text that is no longer allowed, such as one written by a newer version.
    pub fn resolve(&self) -> Result<TopicConfig, Invalid> {
        TopicConfig::read(|name| {
            let candidate = self.candidates(find(name)?).into_iter().next()?;
            candidate.scaled().map(|text| Cow::Owned(text.into_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> Overrides {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_default_passes_its_check_and_every_synonym_exists() {
        for definition in TOPIC {
            definition.default.map_or(Ok(()), |text| definition.check(text)).unwrap();
            assert_eq!(definition.scope, Scope::Topic, "{}", definition.name);
            for synonym in definition.synonyms {
                let broker = crate::config::find(synonym.name).unwrap();
                if let (Some(topic), Some(broker)) = (definition.default, broker.default) {
                    let scaled = broker.parse::<i64>().map(|n| (n * synonym.scale).to_string());
                    let scaled = if synonym.scale == 1 { broker.to_owned() } else { scaled.unwrap() };
                    assert_eq!(topic, scaled, "{}", definition.name);
                }
            }
        }
    }

    #[test]
    fn what_changes_while_running_is_the_default_of_a_topic_setting() {
        let running = crate::config::sections().into_iter().flat_map(|(_, table)| table);
        for each in running.filter(|each| each.scope == Scope::ClusterWide) {
            let read = TOPIC.iter().any(|topic| topic.synonyms.contains(&Synonym::same(each.name)));
            assert!(read, "nobody would notice a change of {}", each.name);
        }
    }

    #[test]
    fn the_strongest_layer_that_has_a_value_wins() {
        let mut started = Settings::default();
        started.set("log.retention.hours", "2", None).unwrap();
        let (none, node, topic) =
            (Overrides::new(), overrides(&[("log.retention.ms", "7")]), overrides(&[("retention.ms", "9")]));
        let resolve = |topic: &Overrides, node: &Overrides, cluster: &Overrides| {
            Layers { topic, node, cluster, started: &started }.resolve().unwrap().retention_ms
        };
        assert_eq!(resolve(&none, &none, &none), 2 * HOUR_MS);
        assert_eq!(resolve(&none, &none, &node), 7);
        assert_eq!(resolve(&topic, &node, &none), 9);
        started.set("log.retention.minutes", "1", None).unwrap();
        let layers = Layers { topic: &none, node: &none, cluster: &none, started: &started };
        assert_eq!(layers.resolve().unwrap().retention_ms, 60_000);
        started.set("log.retention.ms", "-1", None).unwrap();
        let layers = Layers { topic: &none, node: &none, cluster: &none, started: &started };
        assert_eq!(layers.resolve().unwrap().retention_ms, -1);
        let names: Vec<_> =
            layers.candidates(find("retention.ms").unwrap()).iter().map(|each| each.name).collect();
        assert_eq!(
            names,
            ["log.retention.ms", "log.retention.minutes", "log.retention.hours", "retention.ms"]
        );
    }

    #[test]
    fn refusals_are_sentences_of_kafka() {
        let text = |name, value| check([(name, value)]).unwrap_err();
        assert_eq!(text("nope", "1"), "Unknown topic config name: nope");
        assert_eq!(
            text("retention.ms", "x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG"
        );
        assert!(text("cleanup.policy", "compact").contains("compact is not supported yet"));
        assert!(text("durability", "replicated").contains("it comes with replication"));
        assert!(text("remote.storage.enable", "TRUE").contains("tiered storage"));
        check([("cleanup.policy", "delete"), ("retention.ms", "-1")]).unwrap();
    }
}
