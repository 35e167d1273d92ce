//! Settings as `DescribeConfigs` tells them: value, source, synonyms, type, documentation (KIP-226, KIP-569).

use crate::config;
use crate::config::definition::{Definition, Scope};
use crate::metadata::ids::NodeId;
use crate::metadata::image::MetadataImage;
use crate::metadata::topic_config::{self, Candidate, ConfigSource, Overrides, TOPIC};

/// One setting of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The setting.
    pub name: &'static str,
    /// Its text; `None` is null.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot change while the broker runs.
    pub read_only: bool,
    /// Whether the value is a secret. None of the settings so far is.
    pub sensitive: bool,
    /// Every place that gives a value, the one that holds first.
    pub synonyms: Vec<DescribedSynonym>,
    /// The number of the type.
    pub kind: i8,
    /// What it does.
    pub documentation: &'static str,
}

/// One place that gives a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedSynonym {
    /// The name under which the value is given.
    pub name: &'static str,
    /// The text, in the unit of that name.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// All settings of a topic with these own settings.
pub fn topic(image: &MetadataImage, overrides: &Overrides) -> Vec<Described> {
    image.with_layers(overrides, |layers| {
        let describe = |definition: &'static Definition| {
            let candidates = layers.candidates(definition);
            let first = candidates.first();
            let value = first.and_then(Candidate::scaled).map(std::borrow::Cow::into_owned);
            let source = first.map_or(ConfigSource::Default, |first| first.source);
            let synonyms = candidates
                .into_iter()
                .map(|each| DescribedSynonym { name: each.name, value: each.text, source: each.source })
                .collect();
            described(definition, value, source, synonyms)
        };
        TOPIC.iter().map(describe).collect()
    })
}

/// All settings of a broker; of all brokers (`None`), only what was changed while running, as Kafka does.
pub fn broker(image: &MetadataImage, node: Option<NodeId>) -> Vec<Described> {
    let all = config::sections().into_iter().flat_map(|(_, table)| table);
    let describe = |definition: &'static Definition| {
        let name = definition.name;
        let own = node.and_then(|node| image.broker_overrides(Some(node))).and_then(|all| all.get(name));
        let shared = image.broker_overrides(None).and_then(|all| all.get(name));
        let started = image.settings().explicit(name);
        // How many cores "all" came to, which nobody can see from outside otherwise.
        let shards =
            (name == "cores" && node == Some(image.local_node())).then(|| image.shards().to_string());
        let places = [
            (ConfigSource::Broker, own.map(String::as_str)),
            (ConfigSource::Cluster, shared.map(String::as_str)),
            (ConfigSource::Static, started.filter(|_| node.is_some())),
            (ConfigSource::Default, shards.as_deref().or(definition.default).filter(|_| node.is_some())),
        ];
        let synonyms: Vec<_> = places
            .into_iter()
            .filter_map(|(source, text)| {
                Some(DescribedSynonym { name, value: Some(text?.to_owned()), source })
            })
            .collect();
        let first = synonyms.first().cloned();
        if node.is_none() && first.is_none() {
            return None;
        }
        let source = first.as_ref().map_or(ConfigSource::Default, |first| first.source);
        Some(described(definition, first.and_then(|first| first.value), source, synonyms))
    };
    all.filter_map(describe).collect()
}

/// Whether a setting of a broker or a topic has this name.
pub fn is_known(name: &str) -> bool {
    config::find(name).is_some() || topic_config::find(name).is_some()
}

fn described(
    definition: &'static Definition,
    value: Option<String>,
    source: ConfigSource,
    synonyms: Vec<DescribedSynonym>,
) -> Described {
    Described {
        name: definition.name,
        value,
        source,
        read_only: definition.scope == Scope::ReadOnly,
        sensitive: false,
        synonyms,
        kind: definition.kind.code(),
        documentation: definition.doc.trim(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Settings;
    use crate::metadata::image::Local;
    use crate::metadata::records::Record;

    fn image() -> MetadataImage {
        let mut settings = Settings::default();
        settings.set("log.retention.hours", "1", None).unwrap();
        let empty = MetadataImage::empty(Local { node: NodeId(1), settings: Arc::new(settings) }).unwrap();
        let change = |node, value: &str| Record::BrokerConfig {
            node,
            name: "log.segment.bytes".to_owned(),
            value: Some(value.to_owned()),
        };
        empty.apply(&[change(None, "2097152"), change(Some(1), "1048576")]).unwrap().image
    }

    fn of<'a>(all: &'a [Described], name: &str) -> &'a Described {
        all.iter().find(|each| each.name == name).unwrap()
    }

    #[test]
    fn a_topics_value_names_its_source_and_all_synonyms() {
        let own = Overrides::from([("retention.ms".to_owned(), "5".to_owned())]);
        let all = topic(&image(), &own);
        assert_eq!(all.len(), TOPIC.len());
        let retention = of(&all, "retention.ms");
        assert_eq!((retention.value.as_deref(), retention.source), (Some("5"), ConfigSource::Topic));
        let names: Vec<_> =
            retention.synonyms.iter().map(|each| (each.name, each.value.as_deref())).collect();
        let expected = [
            ("retention.ms", Some("5")),
            ("log.retention.hours", Some("1")),
            ("retention.ms", Some("604800000")),
        ];
        assert_eq!(names, expected);
        let all = topic(&image(), &Overrides::new());
        assert_eq!(of(&all, "retention.ms").value.as_deref(), Some("3600000"));
        assert_eq!(of(&all, "retention.ms").source, ConfigSource::Static);
        assert_eq!(of(&all, "segment.bytes").source, ConfigSource::Broker);
        assert!(!of(&all, "segment.bytes").read_only);
    }

    #[test]
    fn a_broker_tells_all_and_the_cluster_only_what_was_changed() {
        let all = broker(&image(), Some(NodeId(1)));
        let segment = of(&all, "log.segment.bytes");
        assert_eq!((segment.value.as_deref(), segment.source), (Some("1048576"), ConfigSource::Broker));
        assert_eq!(segment.synonyms.len(), 3);
        assert_eq!(of(&all, "log.retention.hours").source, ConfigSource::Static);
        assert!(of(&all, "node.id").read_only);
        assert_eq!(of(&all, "cores").value.as_deref(), Some("0"), "the shards of the image");
        assert_eq!(of(&all, "broker.rack").value, None);
        let cluster = broker(&image(), None);
        assert_eq!(cluster.len(), 1);
        assert_eq!(of(&cluster, "log.segment.bytes").value.as_deref(), Some("2097152"));
    }
}
