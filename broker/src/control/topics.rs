//! Decisions about topics: request in, records or a refusal out. Pure: the image and the rules are given, time and
//! randomness too. Codes and sentences are those of Kafka's `ReplicationControlManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::kafka::{ErrorCode, Str, Uuid};

use crate::config::BrokerConfig;
use crate::control::commands::{
    Assignment, CreatedTopic, DeletedTopic, MorePartitions, NewTopic, Refusal, TopicKey,
};
use crate::control::limits::{CONFIG_VALUE_BYTES_MAX, PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX};
use crate::control::placement;
use crate::metadata::ids::{NodeId, ShardId};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::Record;
use crate::metadata::topic_config::{self, Overrides};
use crate::metadata::topic_name;

/// What a decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The state that the decision starts from.
    pub image: &'a MetadataImage,
    /// The broker's settings.
    pub config: &'a BrokerConfig,
}

/// Records that make an answer true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    /// Nothing when nothing changes.
    pub records: Vec<Record>,
    /// The answer once they are durable.
    pub answer: T,
}

type Decided<T> = Result<Decision<T>, Refusal>;

/// Where one partition shall be.
#[derive(Debug, Clone)]
struct Row {
    nodes: Vec<NodeId>,
    /// Named by who asked; else the placement chooses.
    shard: Option<ShardId>,
}

/// Where each partition shall be, by index.
type Replicas = Vec<Row>;

/// Makes one topic under the given id.
///
/// # Errors
/// What Kafka answers to `CreateTopics`.
pub fn create(rules: Rules<'_>, topic: &NewTopic, id: Uuid) -> Decided<CreatedTopic> {
    let name = topic.name.as_str();
    if name == "__cluster_metadata" {
        let text = format!("Creation of internal topic {name} is prohibited.");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    topic_name::check(name).map_err(|text| Refusal::new(ErrorCode::InvalidTopicException, text))?;
    if rules.image.topic(name).is_some() {
        let text = format!("Topic '{name}' already exists.");
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, text));
    }
    if let Some(other) = rules.image.colliding(name) {
        let text = format!("Topic '{name}' collides with existing topic: {}", other.as_str());
        return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
    }
    let replicas = replicas(rules, topic)?;
    check_limits(rules.image, replicas.len())?;
    let overrides = new_overrides(rules, topic)?;
    let shards = placement::place(rules.image, None, replicas.len());
    let mut records = vec![Record::Topic { topic: id.0, name: name.to_owned() }];
    let (partitions, factor) =
        (replicas.len() as i32, replicas.first().map_or(0, |row| row.nodes.len()) as i16);
    records.extend(partition_records(rules.image, id, 0, replicas.into_iter().zip(shards)));
    records.extend(overrides.iter().map(|(name, value)| Record::TopicConfig {
        topic: id.0,
        name: name.clone(),
        value: Some(value.clone()),
    }));
    let answer = CreatedTopic {
        id,
        name: topic.name.detached(),
        partitions,
        replication_factor: factor,
        overrides: Arc::new(overrides),
    };
    Ok(Decision { records, answer })
}

/// A topic that is used before anyone made it: default settings, or those of the broker's own topics.
pub fn automatic(config: &BrokerConfig, name: &Str) -> NewTopic {
    let group = &config.group;
    if name.as_str() == topic_name::OFFSETS_TOPIC {
        let text = |value: String| Some(Str::from(value));
        return NewTopic {
            name: name.detached(),
            partitions: group.offsets_topic_partitions,
            replication_factor: group.offsets_topic_replication_factor,
            configs: vec![(Str::from("segment.bytes"), text(group.offsets_topic_segment_bytes.to_string()))],
            ..NewTopic::default()
        };
    }
    NewTopic { name: name.detached(), partitions: -1, replication_factor: -1, ..NewTopic::default() }
}

/// The answer for a topic that is there already.
pub fn existing(topic: &Topic) -> CreatedTopic {
    CreatedTopic {
        id: topic.id,
        name: topic.name.clone(),
        partitions: topic.partitions.len() as i32,
        replication_factor: topic.partitions.first().map_or(0, |first| first.replicas.len()) as i16,
        overrides: Arc::clone(&topic.overrides),
    }
}

/// Deletes one topic.
///
/// # Errors
/// What Kafka answers to `DeleteTopics`.
pub fn delete(rules: Rules<'_>, key: &TopicKey) -> Decided<DeletedTopic> {
    if !rules.config.log.delete_topics {
        return Err(Refusal::new(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled."));
    }
    let topic = match key {
        TopicKey::Name(name) => {
            rules.image.topic(name).ok_or_else(|| unknown_topic(ErrorCode::UnknownTopicOrPartition))
        }
        TopicKey::Id(id) => {
            rules.image.topic_by_id(id).ok_or_else(|| unknown_topic(ErrorCode::UnknownTopicId))
        }
    }?;
    let records = vec![Record::RemoveTopic { topic: topic.id.0 }];
    Ok(Decision { records, answer: DeletedTopic { id: topic.id, name: topic.name.clone() } })
}

/// Adds partitions to one topic.
///
/// # Errors
/// What Kafka answers to `CreatePartitions`.
pub fn more_partitions(rules: Rules<'_>, more: &MorePartitions) -> Decided<()> {
    let image = rules.image;
    let topic = image.topic(&more.topic).ok_or_else(|| unknown_topic(ErrorCode::UnknownTopicOrPartition))?;
    let (name, has) = (topic.name.as_str(), topic.partitions.len());
    let invalid = |text| Err(Refusal::new(ErrorCode::InvalidPartitions, text));
    let wanted = usize::try_from(more.count).unwrap_or(0);
    if wanted == has {
        return invalid(format!("Topic already has {has} partition(s)."));
    }
    if wanted < has {
        let count = more.count;
        return invalid(format!(
            "The topic {name} currently has {has} partition(s); {count} would not be an increase."
        ));
    }
    let added = wanted - has;
    check_limits(image, added)?;
    let factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let replicas = match &more.assignments {
        Some(assignments) if assignments.len() != added => {
            let text = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        Some(assignments) => {
            let checked = assignments.iter().map(|nodes| manual(image, nodes, Some(factor)));
            checked.collect::<Result<Replicas, _>>()?
        }
        None => spread(image, added, factor),
    };
    let shards = placement::place(image, Some(topic), added);
    let records = partition_records(image, topic.id, has, replicas.into_iter().zip(shards)).collect();
    Ok(Decision { records, answer: () })
}

fn unknown_topic(code: ErrorCode) -> Refusal {
    let text = match code {
        ErrorCode::UnknownTopicId => "This server does not host this topic ID.",
        _ => "This server does not host this topic-partition.",
    };
    Refusal::new(code, text)
}

fn replicas(rules: Rules<'_>, topic: &NewTopic) -> Result<Replicas, Refusal> {
    if !topic.assignments.is_empty() {
        return manual_replicas(rules.image, topic);
    }
    let factor = match topic.replication_factor {
        -1 => rules.config.log.default_replication_factor,
        factor if factor <= 0 => {
            let text = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, text));
        }
        factor => factor,
    };
    let partitions = match topic.partitions {
        -1 => rules.config.log.num_partitions,
        partitions if partitions <= 0 => {
            let text = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        }
        partitions => partitions,
    };
    let nodes = rules.image.nodes().len();
    let mut factor = usize::try_from(factor).unwrap_or(1);
    if factor > nodes {
        if !topic_name::is_internal(&topic.name) {
            let shards = rules.image.broker_ids().are_shards();
            let what = if shards { "node(s), of which each broker is a shard, are" } else { "broker(s) are" };
            let text = format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} \
                 cannot be reached because only {nodes} {what} registered."
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, text));
        }
        factor = nodes;
    }
    let partitions = usize::try_from(partitions).unwrap_or(1);
    check_limits(rules.image, partitions)?;
    Ok(spread(rules.image, partitions, factor))
}

/// Leaders one after another over the nodes, followers on those that come next.
fn spread(image: &MetadataImage, partitions: usize, factor: usize) -> Replicas {
    let nodes: Vec<_> = image.nodes().map(|node| node.id).collect();
    let from = image.next_log().0 as usize;
    let row = |at: usize| {
        let steps = 0..factor.min(nodes.len());
        Row { nodes: steps.map(|step| nodes[(from + at + step) % nodes.len()]).collect(), shard: None }
    };
    (0..partitions).map(row).collect()
}

fn manual_replicas(image: &MetadataImage, topic: &NewTopic) -> Result<Replicas, Refusal> {
    let contradiction = |what| {
        let text = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(Refusal::new(ErrorCode::InvalidRequest, text))
    };
    if topic.replication_factor != -1 {
        return contradiction("replication factor");
    }
    if topic.partitions != -1 {
        return contradiction("numPartitions");
    }
    let invalid = |text: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, text);
    let mut rows = BTreeMap::new();
    let mut factor = None;
    for Assignment { partition, brokers } in &topic.assignments {
        if rows.contains_key(partition) {
            let text = format!("Found multiple manual partition assignments for partition {partition}");
            return Err(invalid(text));
        }
        let row = manual(image, brokers, factor)?;
        factor = Some(row.nodes.len());
        rows.insert(*partition, row);
    }
    if rows.keys().copied().ne(0..rows.len() as i32) {
        return Err(invalid("partitions should be a consecutive 0-based integer sequence".to_owned()));
    }
    Ok(rows.into_values().collect())
}

fn manual(image: &MetadataImage, brokers: &[i32], factor: Option<usize>) -> Result<Row, Refusal> {
    let invalid = |text: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
    if brokers.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut seen = BTreeSet::new();
    let mut row = Row { nodes: Vec::new(), shard: None };
    for &broker in brokers {
        let Some((node, shard)) = image.place_of_broker(broker) else {
            return invalid(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        };
        if !seen.insert(broker) {
            return invalid(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            ));
        }
        if row.nodes.contains(&node) {
            return invalid(format!(
                "The manual partition assignment includes the broker {broker} and another shard of its node, which \
                 fail together."
            ));
        }
        row.nodes.push(node);
        row.shard = row.shard.or(shard);
    }
    match factor {
        Some(factor) if factor != brokers.len() => invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
             with previous partitions, which have {factor} replica(s).",
            brokers.len()
        )),
        _ => Ok(row),
    }
}

fn check_limits(image: &MetadataImage, added: usize) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new(ErrorCode::PolicyViolation, text));
    if added > PARTITIONS_PER_REQUEST_MAX {
        return refuse("Excessively large number of partitions per request.".to_owned());
    }
    if image.partition_count() + added > PARTITIONS_MAX {
        return refuse(format!("The cluster may have no more than {PARTITIONS_MAX} partitions."));
    }
    Ok(())
}

fn new_overrides(rules: Rules<'_>, topic: &NewTopic) -> Result<Overrides, Refusal> {
    let mut overrides = Overrides::new();
    if topic_name::is_internal(&topic.name) {
        // Nothing but their coordinator deletes from the broker's own topics.
        for name in ["retention.ms", "retention.bytes"] {
            overrides.insert(name.to_owned(), "-1".to_owned());
        }
        let bytes = rules.config.group.offsets_topic_segment_bytes;
        overrides.insert("segment.bytes".to_owned(), bytes.to_string());
    }
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            let text = format!("Null value not supported for topic configs: {}", name.as_str());
            return Err(Refusal::new(ErrorCode::InvalidConfig, text));
        };
        check_override(name, value)?;
        overrides.insert(name.as_str().to_owned(), value.trim().to_owned());
    }
    Ok(overrides)
}

/// Checks one setting of a topic.
pub(super) fn check_override(name: &str, value: &str) -> Result<(), Refusal> {
    if value.len() > CONFIG_VALUE_BYTES_MAX {
        let text = format!(
            "The configuration value cannot be added because it exceeds the maximum value size of \
             {CONFIG_VALUE_BYTES_MAX} bytes."
        );
        return Err(Refusal::new(ErrorCode::InvalidConfig, text));
    }
    topic_config::check([(name, value)]).map_err(|text| Refusal::new(ErrorCode::InvalidConfig, text))
}

fn partition_records(
    image: &MetadataImage,
    id: Uuid,
    first_index: usize,
    partitions: impl Iterator<Item = (Row, ShardId)>,
) -> impl Iterator<Item = Record> {
    let first_log = image.next_log().0;
    partitions.enumerate().map(move |(at, (row, placed))| Record::Partition {
        topic: id.0,
        index: (first_index + at) as i32,
        log: first_log + at as u64,
        shard: row.shard.unwrap_or(placed).0,
        replicas: row.nodes.into_iter().map(|node| node.0).collect(),
        leader_epoch: 0,
    })
}
