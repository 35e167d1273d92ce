//! Topics that come to be on first use: those that clients name, and the broker's own.

use std::rc::Rc;

use tracing::{info, warn};
use wire::kafka::{ErrorCode, Str};

use super::Context;
use crate::metadata::topic_name::{self, OFFSETS_TOPIC};

/// Creates the topics among `names` that do not exist, where `auto.create.topics.enable` allows it. What cannot be
/// created is left to the caller to find missing.
pub async fn missing<'a>(context: &Rc<Context>, names: impl Iterator<Item = &'a Str>) {
    if !context.config.log.auto_create_topics {
        return;
    }
    let image = context.shard.image();
    let mut absent: Vec<Str> = names
        .filter(|name| image.topic(name).is_none() && topic_name::check(name).is_ok())
        .map(Str::detached)
        .collect();
    absent.sort_unstable();
    absent.dedup();
    if !absent.is_empty() {
        ensure(context, absent).await;
    }
}

/// Whether `__consumer_offsets` is there, now.
pub async fn consumer_offsets(context: &Rc<Context>) -> bool {
    if context.shard.image().topic(OFFSETS_TOPIC).is_none() {
        ensure(context, vec![Str::from(OFFSETS_TOPIC)]).await;
    }
    context.shard.image().topic(OFFSETS_TOPIC).is_some()
}

async fn ensure(context: &Rc<Context>, names: Vec<Str>) {
    let Ok(outcomes) = context.control.ensure_topics(names.clone()).await else { return };
    for (name, outcome) in names.iter().zip(outcomes) {
        match outcome {
            Ok(created) => {
                info!(topic = %name, partitions = created.partitions, "topic created on first use");
            }
            Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => {}
            Err(refusal) => warn!(topic = %name, %refusal, "topic not created on first use"),
        }
    }
}
