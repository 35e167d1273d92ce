//! `DescribeConfigs`: every setting with its value, where that comes from, and what else could give it (KIP-226).

use std::rc::Rc;

use wire::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::kafka::{ErrorCode, Str};

use super::reply::Response;
use super::table::answer;
use super::{Context, Incoming, Refusal};
use crate::metadata::describe::{self, Described};
use crate::metadata::image::MetadataImage;
use crate::metadata::topic_name;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

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
            BROKER => broker(context, &resource.resource_name),
            other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
        };
        result(resource, entries, Shown { synonyms, documentation })
    });
    answer(request, &DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

type Entries = Result<Vec<Described>, (ErrorCode, String)>;

fn topic(image: &MetadataImage, name: &str) -> Entries {
    topic_name::check(name).map_err(|message| (ErrorCode::InvalidTopicException, message))?;
    let topic = image.topic(name).ok_or((ErrorCode::UnknownTopicOrPartition, String::new()))?;
    Ok(describe::topic(image, &topic.overrides))
}

/// The settings are the node's, so each of its brokers describes all of them.
fn broker(context: &Context, name: &str) -> Entries {
    let image = context.shard.image();
    if name.is_empty() {
        return Ok(describe::broker(&image, None));
    }
    let own = context.brokers.of_shard(&image, context.shard.index).id;
    let told = name.parse().is_ok_and(|id: i32| context.brokers.all(&image).iter().any(|each| each.id == id));
    if !told {
        let message = format!("Unexpected broker id, expected {own} or empty string, but received {name}");
        return Err((ErrorCode::InvalidRequest, message));
    }
    Ok(describe::broker(&image, Some(image.local_node())))
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

fn described(entry: Described, shown: Shown) -> DescribeConfigsResourceResult {
    let synonyms = if shown.synonyms { entry.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: Str::from_static(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: Str::from_static(synonym.name),
                value: synonym.value.map(Str::from),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: entry.kind,
        documentation: shown.documentation.then(|| Str::from_static(entry.documentation)),
    }
}
