//! Decisions about settings: changes in, records or a refusal out. Codes and sentences are those of Kafka's
//! `ConfigurationControlManager`.

use std::collections::HashSet;

use wire::kafka::{ErrorCode, Str};

use crate::config::definition::{Definition, Kind, Scope};
use crate::config::{self, definition};
use crate::control::commands::{AlterConfigs, ConfigChange, ConfigOperation, Refusal};
use crate::control::limits::CONFIG_VALUE_BYTES_MAX;
use crate::control::topics::{Decision, Rules};
use crate::metadata::ids::NodeId;
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::Record;
use crate::metadata::topic_config::{self, Overrides};

/// The number of topics among resource types.
pub const RESOURCE_TOPIC: i8 = 2;
/// The number of brokers among resource types.
pub const RESOURCE_BROKER: i8 = 4;

/// The resource whose settings change.
enum Resource<'a> {
    Topic(&'a Topic),
    Broker(Option<NodeId>),
}

/// Changes the settings of one resource.
///
/// # Errors
/// What Kafka answers to `IncrementalAlterConfigs` and `AlterConfigs`.
pub fn alter(rules: Rules<'_>, alter: &AlterConfigs) -> Result<Decision<()>, Refusal> {
    let resource = find(rules.image, alter)?;
    let now = resource.overrides(rules.image);
    let then = match &alter.change {
        ConfigChange::Incremental(operations) => incremental(&resource, rules.image, &now, operations)?,
        ConfigChange::Replace(all) => replaced(&resource, all)?,
    };
    for (name, value) in &then {
        if now.get(name) != Some(value) {
            resource.check(name, value)?;
        }
    }
    let gone = now.keys().filter(|name| !then.contains_key(*name)).map(|name| resource.record(name, None));
    let set = then.iter().filter(|(name, value)| now.get(*name) != Some(*value));
    let records = gone.chain(set.map(|(name, value)| resource.record(name, Some(value)))).collect();
    Ok(Decision { records, answer: () })
}

fn find<'a>(image: &'a MetadataImage, alter: &AlterConfigs) -> Result<Resource<'a>, Refusal> {
    let name = alter.resource_name.as_str();
    let invalid = |text: String| Err(Refusal::new(ErrorCode::InvalidRequest, text));
    match alter.resource_type {
        RESOURCE_TOPIC => image.topic(name).map(|topic| Resource::Topic(topic)).ok_or_else(|| {
            let text = format!("The topic '{name}' does not exist.");
            Refusal::new(ErrorCode::UnknownTopicOrPartition, text)
        }),
        RESOURCE_BROKER if name.is_empty() => Ok(Resource::Broker(None)),
        RESOURCE_BROKER => match name.parse().map(|id| image.place_of_broker(id)) {
            Ok(Some((node, _))) => Ok(Resource::Broker(Some(node))),
            Ok(None) => invalid(format!("No broker with id {name} found.")),
            Err(_) => invalid(format!("Node id must be an integer, but it is: {name}")),
        },
        other => invalid(format!(
            "Settings of resource type {other} are not supported yet; topics (2) and brokers (4) are."
        )),
    }
}

impl Resource<'_> {
    fn overrides(&self, image: &MetadataImage) -> Overrides {
        match self {
            Self::Topic(topic) => topic.overrides.as_ref().clone(),
            Self::Broker(node) => {
                image.broker_overrides(*node).map(|all| all.as_ref().clone()).unwrap_or_default()
            }
        }
    }

    fn definition(&self, name: &str) -> Result<&'static Definition, Refusal> {
        let (kind, found) = match self {
            Self::Topic(_) => ("topic", topic_config::find(name)),
            Self::Broker(_) => ("broker", config::find(name)),
        };
        found.ok_or_else(|| {
            Refusal::new(ErrorCode::InvalidConfig, format!("Unknown {kind} config name: {name}"))
        })
    }

    fn check(&self, name: &str, value: &str) -> Result<(), Refusal> {
        let definition = self.definition(name)?;
        if definition.scope == Scope::ReadOnly {
            let text = format!("Cannot update these configs dynamically: Set({name})");
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
        if value.len() > CONFIG_VALUE_BYTES_MAX {
            let text = format!(
                "The configuration value cannot be added because it exceeds the maximum value size of \
                 {CONFIG_VALUE_BYTES_MAX} bytes."
            );
            return Err(Refusal::new(ErrorCode::InvalidConfig, text));
        }
        definition.check(value).map_err(|invalid| Refusal::new(ErrorCode::InvalidConfig, invalid.to_string()))
    }

    fn record(&self, name: &str, value: Option<&str>) -> Record {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        match self {
            Self::Topic(topic) => Record::TopicConfig { topic: topic.id.0, name, value },
            Self::Broker(node) => Record::BrokerConfig { node: node.map(|node| node.0), name, value },
        }
    }

    /// The value that a list operation starts from: the resource's own, or the one that holds.
    fn list(&self, image: &MetadataImage, now: &Overrides, definition: &'static Definition) -> Vec<String> {
        let text = now.get(definition.name).cloned().or_else(|| match self {
            Self::Topic(_) => image.with_layers(now, |layers| {
                layers.candidates(definition).into_iter().next().and_then(|first| first.text)
            }),
            Self::Broker(_) => image.settings().text(definition.name).map(str::to_owned),
        });
        definition::elements(text.as_deref().unwrap_or_default()).map(str::to_owned).collect()
    }
}

fn incremental(
    resource: &Resource<'_>,
    image: &MetadataImage,
    now: &Overrides,
    operations: &[ConfigOperation],
) -> Result<Overrides, Refusal> {
    let mut names = HashSet::new();
    let twice: Vec<_> =
        operations.iter().map(|each| each.name.as_str()).filter(|name| !names.insert(*name)).collect();
    if !twice.is_empty() {
        let text = format!("Error due to duplicate config keys : {}", twice.join(","));
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    let mut then = now.clone();
    for operation in operations {
        let (name, definition) = (operation.name.as_str(), resource.definition(&operation.name));
        if operation.operation == 1 {
            then.remove(name);
            continue;
        }
        let definition = definition?;
        let Some(value) = operation.value.as_deref() else {
            let text =
                format!("Null value not supported for : {}", operation_name(operation.operation, name));
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        };
        let value = match operation.operation {
            0 => value.trim().to_owned(),
            2 | 3 if definition.kind != Kind::List => {
                let verb = if operation.operation == 2 { "APPEND" } else { "SUBTRACT" };
                let text = format!("Can't {verb} to key {name} because its type is not LIST.");
                return Err(Refusal::new(ErrorCode::InvalidConfig, text));
            }
            2 => {
                let mut list = resource.list(image, now, definition);
                for element in definition::elements(value) {
                    if !list.iter().any(|known| known == element) {
                        list.push(element.to_owned());
                    }
                }
                list.join(",")
            }
            3 => {
                let mut list = resource.list(image, now, definition);
                list.retain(|known| definition::elements(value).all(|element| element != known));
                list.join(",")
            }
            other => {
                let text = format!("Unknown config operation {other} for {name}");
                return Err(Refusal::new(ErrorCode::InvalidRequest, text));
            }
        };
        then.insert(name.to_owned(), value);
    }
    Ok(then)
}

fn operation_name(operation: i8, name: &str) -> String {
    let verb = match operation {
        0 => "SET",
        2 => "APPEND",
        3 => "SUBTRACT",
        _ => "UNKNOWN",
    };
    format!("{verb} of {name}")
}

fn replaced(resource: &Resource<'_>, all: &[(Str, Option<Str>)]) -> Result<Overrides, Refusal> {
    let mut then = Overrides::new();
    for (name, value) in all {
        resource.definition(name)?;
        let Some(value) = value else {
            let text = format!("Null value not supported for : {}", name.as_str());
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        };
        if then.insert(name.as_str().to_owned(), value.trim().to_owned()).is_some() {
            let text = format!("Error due to duplicate config keys : {}", name.as_str());
            return Err(Refusal::new(ErrorCode::InvalidRequest, text));
        }
    }
    Ok(then)
}
