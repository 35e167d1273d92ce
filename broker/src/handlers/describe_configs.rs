//! `DescribeConfigs`: every setting with its value, where that comes from, and what else could give it (KIP-226).

use std::rc::Rc;
use std::sync::Arc;

use wire::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::kafka::{ErrorCode, Str};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::config;
use crate::config::definition::{Definition, Scope};
use crate::metadata::image::MetadataImage;
use crate::metadata::ids::NodeId;
use crate::metadata::topic_config::{self, Candidate, ConfigSource, Overrides};
use crate::metadata::topic_name;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// One setting as it holds.
pub struct Entry {
    /// Kafka's property name.
    pub name: &'static str,
    /// `None` is null.
    pub value: Option<String>,
    /// KIP-226's number of the place that gave it.
    pub source: i8,
    definition: &'static Definition,
    candidates: Vec<Candidate>,
}

/// Every topic setting with these overrides, in order of name.
pub fn topic_entries(image: &MetadataImage, overrides: &Overrides) -> Vec<Entry> {
    let mut entries: Vec<Entry> = image.with_layers(overrides, |layers| {
        topic_config::TOPIC.iter().map(|definition| entry(definition, layers.candidates(definition))).collect()
    });
    entries.sort_unstable_by_key(|entry| entry.name);
    entries
}

fn entry(definition: &'static Definition, candidates: Vec<Candidate>) -> Entry {
    let first = candidates.first();
    Entry {
        name: definition.name,
        value: first.and_then(|held| held.scaled().map(std::borrow::Cow::into_owned)),
        source: first.map_or(5, |held| held.source as i8),
        definition,
        candidates,
    }
}

/// Answers a `DescribeConfigs` request.
pub async fn handle(
    context: &Rc<Context>,
    request: &Incoming,
    body: DescribeConfigsRequest,
) -> Result<Response, Refusal> {
    let image = context.shard.image();
    let (synonyms, documentation) = (body.include_synonyms, body.include_documentation);
    let results = body.resources.into_iter().map(|resource| {
        let entries = match resource.resource_type {
            TOPIC => topic(&image, &resource.resource_name),
            BROKER => broker(&image, &resource.resource_name),
            other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
        };
        result(resource, entries, Shown { synonyms, documentation })
    });
    answer(request, &DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

type Entries = Result<Vec<Entry>, (ErrorCode, String)>;

fn topic(image: &MetadataImage, name: &str) -> Entries {
    topic_name::check(name).map_err(|message| (ErrorCode::InvalidTopicException, message))?;
    let topic = image.topic(name).ok_or((ErrorCode::UnknownTopicOrPartition, String::new()))?;
    Ok(topic_entries(image, &topic.overrides))
}

fn broker(image: &MetadataImage, name: &str) -> Entries {
    let node = match name {
        "" => None,
        _ if name == image.local_node().0.to_string() => Some(image.local_node()),
        _ => {
            let message = format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                image.local_node()
            );
            return Err((ErrorCode::InvalidRequest, message));
        }
    };
    let mut entries: Vec<Entry> = config::sections()
        .into_iter()
        .flat_map(|(_, table)| table)
        .map(|definition| entry(definition, candidates(image, definition, node)))
        .filter(|entry| node.is_some() || entry.source == ConfigSource::Cluster as i8)
        .collect();
    entries.sort_unstable_by_key(|entry| entry.name);
    Ok(entries)
}

/// Where the value of a broker setting may come from, the one that holds first.
fn candidates(image: &MetadataImage, definition: &'static Definition, node: Option<NodeId>) -> Vec<Candidate> {
    let own = node.and_then(|node| image.broker_overrides(Some(node)));
    let changed = |overrides: Option<&Arc<Overrides>>| {
        overrides.and_then(|overrides| overrides.get(definition.name)).map(String::as_str)
    };
    let places = [
        (changed(own), ConfigSource::Broker),
        (changed(image.broker_overrides(None)), ConfigSource::Cluster),
        (image.settings().explicit(definition.name), ConfigSource::Static),
    ];
    let set = places.into_iter().filter_map(|(text, source)| {
        text.map(|text| Candidate { name: definition.name, text: Some(text.to_owned()), scale: 1, source })
    });
    let default = Candidate {
        name: definition.name,
        text: definition.default.map(str::to_owned),
        scale: 1,
        source: ConfigSource::Default,
    };
    set.chain([default]).collect()
}

#[derive(Clone, Copy)]
struct Shown {
    synonyms: bool,
    documentation: bool,
}

fn result(resource: DescribeConfigsResource, entries: Entries, shown: Shown) -> DescribeConfigsResult {
    let DescribeConfigsResource { resource_type, resource_name, configuration_keys } = resource;
    let wanted = configuration_keys.filter(|keys| !keys.is_empty());
    match entries {
        Ok(entries) => DescribeConfigsResult {
            resource_type,
            resource_name,
            configs: entries
                .into_iter()
                .filter(|entry| wanted.as_ref().is_none_or(|keys| keys.iter().any(|key| *key == entry.name)))
                .map(|entry| described(entry, shown))
                .collect(),
            ..Default::default()
        },
        Err((code, message)) => DescribeConfigsResult {
            error_code: code.code(),
            error_message: Some(Str::from(message)),
            resource_type,
            resource_name,
            ..Default::default()
        },
    }
}

fn described(entry: Entry, shown: Shown) -> DescribeConfigsResourceResult {
    let synonyms = if shown.synonyms { entry.candidates } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: Str::from(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.definition.scope == Scope::ReadOnly,
        config_source: entry.source,
        is_sensitive: false,
        synonyms: synonyms
            .into_iter()
            .map(|candidate| DescribeConfigsSynonym {
                name: Str::from(candidate.name),
                value: candidate.text.map(Str::from),
                source: candidate.source as i8,
            })
            .collect(),
        config_type: entry.definition.kind.code(),
        documentation: shown.documentation.then(|| Str::from(entry.definition.doc)),
    }
}
