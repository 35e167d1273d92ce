//! What storage is told of the node: settings, partitions, and on which shard each log lies.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use storage::types::LogId;
use storage::{Catalog, DataDir, Direct, Known, LogConfig, LogSpec, Retention, StoreOptions, SyncChoice};
use tracing::info;

use crate::config::BrokerConfig;
use crate::config::store::SyncMethodSetting;
use crate::error::StartError;
use crate::metadata::ids::ShardId;
use crate::metadata::image::{self, MetadataImage, Topic};
use crate::metadata::topic_name::OFFSETS_TOPIC;

/// Hands logs over when the node has another number of shards than the data folder is laid out for. Runs before any
/// shard; a crash in the middle is made good by the next start.
pub(super) async fn hand_over(
    config: &BrokerConfig,
    data_dir: &DataDir,
    image: &MetadataImage,
) -> Result<(), StartError> {
    let options = store_options(config, data_dir.path(), ShardId(0));
    let shards = image.shards();
    let place = |log: LogId| image.partition_of(log).map_or(0, |(_, partition)| partition.shard.0);
    let moved = storage::place_anew(data_dir, &options, &catalog(image).await, shards, place).await?;
    if moved > 0 {
        info!(logs = moved, shards, "partitions handed over to another number of shards");
    }
    Ok(())
}

/// Every partition instance that exists, on any shard: recovery drops what is not among them.
pub(super) async fn catalog(image: &MetadataImage) -> Catalog {
    let mut live: HashMap<LogId, LogSpec> = HashMap::with_capacity(image.partition_count());
    for topic in image.topics() {
        live.extend(topic.partitions.iter().map(|partition| (partition.log, spec(topic, partition))));
        reactor::give_way().await;
    }
    Catalog { live, issued_max: LogId(image.next_log().0.saturating_sub(1)) }
}

/// What storage must know of a partition.
pub(super) fn spec(topic: &Topic, partition: &image::Partition) -> LogSpec {
    let name = format!("{}-{}", topic.name, partition.index);
    LogSpec { id: partition.log, name, config: log_config(topic) }
}

/// What a shard's storage is told.
pub(super) fn store_options(config: &BrokerConfig, data_dir: &Path, shard: ShardId) -> StoreOptions {
    let producer_expiration_ms = config.log.producer_id_expiration_ms.max(1) as u64;
    let config = &config.store;
    StoreOptions {
        commit_log_dir: config.commit_log_dir.as_ref().map(PathBuf::from),
        commit_log_bytes: config.commit_log_bytes,
        dirty_bytes: config.dirty_bytes,
        tail_bytes: config.tail_bytes,
        free_bytes_min: config.free_bytes_min,
        producer_expiration_ms,
        direct: if config.o_direct { Direct::Required } else { Direct::Off },
        sync: match config.commit_sync_method {
            SyncMethodSetting::Auto => SyncChoice::Auto,
            SyncMethodSetting::Fdatasync => SyncChoice::Fdatasync,
            SyncMethodSetting::Dsync => SyncChoice::Dsync,
        },
        // Partitions are handed over before any shard opens its store.
        known: Known::Surely,
        ..StoreOptions::new(data_dir, shard.0)
    }
}

/// What storage reads of a topic's configuration.
pub(super) fn log_config(topic: &Topic) -> LogConfig {
    let config = &topic.config;
    // The coordinator deletes what a snapshot replaces; positions of a quiet group are old and hold all the same.
    let keeps = topic.name == OFFSETS_TOPIC;
    LogConfig {
        segment_bytes: config.segment_bytes as u64,
        segment_ms: config.segment_ms as u64,
        index_interval_bytes: config.index_interval_bytes as u32,
        segment_index_bytes: config.segment_index_bytes as u32,
        // -1 is "without bound".
        retention_ms: u64::try_from(config.retention_ms).ok(),
        retention_bytes: u64::try_from(config.retention_bytes).ok(),
        retention: if keeps { Retention::Keep } else { Retention::Delete },
    }
}
