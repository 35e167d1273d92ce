//! `corelane topic`: create, list, describe, delete.

use std::io::Write;
use std::time::Duration;

use wire::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use wire::kafka::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::kafka::metadata::MetadataResponseTopic;
use wire::kafka::{Request as _, Str};

use super::cluster::{Cluster, Missing};
use super::consume::{EARLIEST, LATEST, offsets};
use super::error::CliError;
use crate::args::TopicCommand;

const TIMEOUT: Duration = Duration::from_secs(30);
const RESOURCE_TOPIC: i8 = 2;
const SOURCE_TOPIC: i8 = 1;

/// Runs one of the commands.
pub(super) fn run(command: &TopicCommand) -> Result<(), CliError> {
    match command {
        TopicCommand::Create { name, partitions, replicas, configs, server } => {
            create(&server.server, name, (*partitions, *replicas), configs)
        }
        TopicCommand::List { internal, server } => list(&server.server, *internal),
        TopicCommand::Describe { name, server } => describe(&server.server, name),
        TopicCommand::Delete { names, server } => delete(&server.server, names),
    }
}

fn create(
    server: &str,
    name: &str,
    (partitions, replicas): (i32, i16),
    configs: &[String],
) -> Result<(), CliError> {
    let config = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            CliError::Usage(format!(
                "--config {text}: write it as key=value, for example retention.ms=86400000"
            ))
        })?;
        Ok(CreatableTopicConfig { name: Str::from(key), value: Some(Str::from(value)) })
    };
    let topic = CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: replicas,
        configs: configs.iter().map(config).collect::<Result<_, CliError>>()?,
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: TIMEOUT.as_millis() as i32,
        ..Default::default()
    };
    let response = Cluster::connect(server)?.bootstrap().call(&request)?;
    let result = response.topics.first().ok_or_else(|| CliError::Protocol("no outcome".to_owned()))?;
    CliError::check(
        || format!("topic {name} is not created"),
        result.error_code,
        result.error_message.as_deref(),
    )?;
    let mut out = std::io::stdout().lock();
    if result.num_partitions > 0 {
        writeln!(out, "created {name} with {}", counted(result.num_partitions as usize, "partition"))?;
    } else {
        writeln!(out, "created {name}")?;
    }
    Ok(())
}

fn list(server: &str, internal: bool) -> Result<(), CliError> {
    let mut topics = Cluster::connect(server)?.metadata(None, Missing::Refuse)?.topics;
    topics.retain(|topic| internal || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = std::io::stdout().lock();
    for topic in topics {
        writeln!(out, "{}", topic.name.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn describe(server: &str, name: &str) -> Result<(), CliError> {
    let mut cluster = Cluster::connect(server)?;
    let topic = cluster.topic(name, Missing::Refuse)?;
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    let earliest = offsets(&mut cluster, &topic, EARLIEST)?;
    let latest = offsets(&mut cluster, &topic, LATEST)?;
    let mut out = std::io::stdout().lock();
    let factor = partitions.first().map_or(0, |first| first.replica_nodes.len());
    writeln!(out, "topic {name}, id {}", topic.topic_id)?;
    let counts = (counted(partitions.len(), "partition"), counted(factor, "replica"));
    writeln!(out, "{}, {} each", counts.0, counts.1)?;
    for partition in partitions {
        let index = partition.partition_index;
        let known = |all: &[(i32, i64)]| {
            all.iter().find(|(each, _)| *each == index).map_or(-1, |(_, offset)| *offset)
        };
        writeln!(
            out,
            "  partition {index}: offsets {} to {}, leader {}, epoch {}, replicas {:?}, in sync {:?}",
            known(&earliest),
            known(&latest),
            partition.leader_id,
            partition.leader_epoch,
            partition.replica_nodes,
            partition.isr_nodes
        )?;
    }
    for (key, value) in own_settings(&mut cluster, &topic)? {
        writeln!(out, "  {key}={value}")?;
    }
    Ok(())
}

/// The settings that were set on the topic itself.
fn own_settings(
    cluster: &mut Cluster,
    topic: &MetadataResponseTopic,
) -> Result<Vec<(String, String)>, CliError> {
    let resource = DescribeConfigsResource {
        resource_type: RESOURCE_TOPIC,
        resource_name: topic.name.clone().unwrap_or_default(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    if !cluster.bootstrap().knows::<DescribeConfigsRequest>() {
        return Ok(Vec::new());
    }
    let response = cluster.bootstrap().call(&request)?;
    let result = response.results.first().ok_or_else(|| CliError::Protocol("no settings".to_owned()))?;
    CliError::check(|| "describing settings".to_owned(), result.error_code, result.error_message.as_deref())?;
    let own = result.configs.iter().filter(|config| config.config_source == SOURCE_TOPIC);
    Ok(own
        .map(|config| (config.name.to_string(), config.value.as_deref().unwrap_or("null").to_owned()))
        .collect())
}

fn delete(server: &str, names: &[String]) -> Result<(), CliError> {
    let mut cluster = Cluster::connect(server)?;
    let names: Vec<_> = names.iter().map(|name| Str::from(name.as_str())).collect();
    let mut request = DeleteTopicsRequest { timeout_ms: TIMEOUT.as_millis() as i32, ..Default::default() };
    if cluster.bootstrap().version::<DeleteTopicsRequest>(*DeleteTopicsRequest::VERSIONS.end())? >= 6 {
        let state = |name: &Str| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
        request.topics = names.iter().map(state).collect();
    } else {
        request.topic_names = names;
    }
    let response = cluster.bootstrap().call(&request)?;
    let mut out = std::io::stdout().lock();
    let mut failure = Ok(());
    for result in &response.responses {
        let name = result.name.as_deref().unwrap_or_default();
        let unknown = (result.error_code == 3).then_some("there is no such topic");
        let what = || format!("topic {name} is not deleted");
        match CliError::check(what, result.error_code, unknown.or(result.error_message.as_deref())) {
            Ok(()) => writeln!(out, "deleted {name}")?,
            Err(error) => failure = failure.and(Err(error)),
        }
    }
    failure
}

/// "1 partition", "2 partitions".
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
