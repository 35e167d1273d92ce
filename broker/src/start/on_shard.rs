//! The life of one shard: recover, listen, serve, stop.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use reactor::{Priority, TcpListener};
use storage::types::Timestamp;
use storage::{FrequentCommits, RecoveryReport, Retired, StorageError, Store, StoreOptions, SyncProbe};
use tracing::{error, warn};

use super::{layout, observe};
use crate::config::BrokerConfig;
use crate::control::{ControlClient, ImageUpdate};
use crate::coordinator::GroupPolicy;
use crate::coordinator::hosts::GroupHosts;
use crate::error::StartError;
use crate::handlers::brokers::Brokers;
use crate::handlers::context::{self, Call, Context, Stopping};
use crate::handlers::fetch_sessions::FetchSessions;
use crate::handlers::init_producer_id::ProducerIds;
use crate::handlers::produce::{self, ProduceCall};
use crate::limits;
use crate::metadata::ids::ShardId;
use crate::metadata::image::{MetadataImage, Topic, TopicChange};
use crate::metadata::topic_name::OFFSETS_TOPIC;
use crate::metrics::Ask;
use crate::net::admission::Pace;
use crate::net::connections::{self, Connections};
use crate::net::listener;
use crate::runtime::mesh::Mesh;
use crate::shard::PartitionId;
use crate::shard::connection_counts::ConnectionCounts;
use crate::shard::partition::Partition;
use crate::shard::quota::QuotaBuckets;
use crate::shard::shard::Shard;

/// What a shard needs to live.
pub(super) struct ShardSetup {
    pub(super) index: ShardId,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) data_dir: PathBuf,
    pub(super) control: ControlClient,
    pub(super) image: Arc<MetadataImage>,
    pub(super) updates: Receiver<ImageUpdate>,
    pub(super) asks: Receiver<Ask>,
    pub(super) produce_lane: Mesh<ProduceCall>,
    pub(super) lane: Mesh<Call>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) brokers: Brokers,
    pub(super) frequent_commits: Arc<FrequentCommits>,
    pub(super) recovered: Sender<(ShardId, Result<Recovered, StartError>)>,
    pub(super) listen: Receiver<()>,
    pub(super) listening: Sender<Result<(), StartError>>,
    pub(super) stop: Receiver<()>,
}

/// What a shard found when it opened its store.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Commits and bytes replayed, and the time it took.
    pub report: RecoveryReport,
    /// How commits are synced, and how long one takes.
    pub sync: SyncProbe,
    /// Bytes of the commit log now.
    pub commit_log_bytes: u64,
}

/// Lives until told to stop.
pub(super) async fn run(setup: ShardSetup) {
    let ShardSetup { index, recovered, listen, listening, stop, updates, asks, .. } = &setup;
    let context = match recover(&setup).await {
        Ok((context, found)) => {
            #[cfg(feature = "simulator")]
            super::simulated::show(&context);
            let _ = recovered.send((*index, Ok(found))).await;
            context
        }
        Err(error) => {
            let _ = recovered.send((*index, Err(error))).await;
            return;
        }
    };
    reactor::spawn(Priority::Latency, "image", apply_images(context.clone(), updates.clone())).detach();
    serve_lanes(&context);
    let connections = Rc::new(Connections::default());
    let observing = observe::answer(context.clone(), connections.clone(), asks.clone());
    reactor::spawn(Priority::Latency, "observe", observing).detach();
    reactor::spawn(Priority::Background, "stalls", observe::tell_stalls(context.clone())).detach();
    let idle = Duration::from_millis(context.config.network.connections_max_idle_ms.max(1) as u64);
    let sweeping = connections::sweep(context.clone(), connections.clone(), idle);
    reactor::spawn(Priority::Background, "idle-sweep", sweeping).detach();
    reactor::spawn(Priority::Background, "retention", retention(context.clone())).detach();
    // The main thread ends the start when any shard fails; then these queues close and the shard ends too.
    if listen.recv().await.is_err() {
        return;
    }
    let listeners = match bind_all(&setup.addresses) {
        Ok(listeners) => listeners,
        Err(error) => {
            let _ = listening.send(Err(error)).await;
            return;
        }
    };
    let _ = listening.send(Ok(())).await;
    let rate = context.config.network.max_connection_creation_rate;
    let pace = Rc::new(Pace::of(rate, context.lane.shards()));
    for listener in &listeners {
        let accepting =
            listener::accept(context.clone(), listener.clone(), pace.clone(), connections.clone());
        reactor::spawn(Priority::Latency, "accept", accepting).detach();
    }
    let _ = stop.recv().await;
    shut_down(&context, &listeners, &connections).await;
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<Rc<TcpListener>>, StartError> {
    let bind = |address: &SocketAddr| match listener::bind(*address) {
        Ok(listener) => Ok(Rc::new(listener)),
        Err(error) => Err(StartError::Listen { address: *address, error }),
    };
    addresses.iter().map(bind).collect()
}

/// Opens the store, which replays the commit log, and takes the partitions that the image places here.
async fn recover(setup: &ShardSetup) -> Result<(Rc<Context>, Recovered), StartError> {
    let image = &setup.image;
    let config = &setup.config;
    let options = StoreOptions {
        frequent_commits: Arc::clone(&setup.frequent_commits),
        ..layout::store_options(config, &setup.data_dir, setup.index)
    };
    let (store, report) = Store::open(options, &layout::catalog(image).await).await?;
    let found = Recovered { report, sync: store.sync_probe(), commit_log_bytes: store.stats().ring_bytes };
    let shard = Rc::new(Shard::new(setup.index, store, Arc::clone(image)));
    for topic in image.topics() {
        take_all(&shard, topic).await;
    }
    let slots = config.network.fetch_session_slots as usize / setup.lane.shards() as usize;
    let context = Rc::new(Context {
        groups: GroupHosts::new(GroupPolicy::from(&config.group)),
        shard,
        produce_lane: setup.produce_lane.clone(),
        lane: setup.lane.clone(),
        control: setup.control.clone(),
        fetch_sessions: RefCell::new(FetchSessions::new(slots)),
        config: Arc::clone(config),
        connection_counts: ConnectionCounts::default(),
        brokers: setup.brokers.clone(),
        quota_buckets: QuotaBuckets::default(),
        producer_ids: ProducerIds::default(),
        stopping: Stopping::default(),
    });
    if let Some(topic) = image.topic(OFFSETS_TOPIC) {
        host_groups(&context, topic);
    }
    Ok((context, found))
}

/// Applies images in order, one at a time, and says so, so that a topic's creator is answered when it can be used.
async fn apply_images(context: Rc<Context>, updates: Receiver<ImageUpdate>) {
    while let Ok(update) = updates.recv().await {
        for change in update.changes.iter() {
            apply(&context, change).await;
        }
        context.shard.set_image(update.image.clone());
        update.applied();
    }
}

async fn apply(context: &Context, change: &TopicChange) {
    let shard = &context.shard;
    match change {
        TopicChange::Created(topic) => {
            take_all(shard, topic).await;
            host_groups(context, topic);
        }
        TopicChange::Changed { after, .. } => {
            take_all(shard, after).await;
            host_groups(context, after);
            for id in owned_of(after, shard.index) {
                if let Some(partition) = shard.partition(id) {
                    partition.set_config(after.config.clone());
                    partition.log.set_config(layout::log_config(after));
                }
                reactor::give_way().await;
            }
        }
        TopicChange::Removed(topic) => {
            for host in context.groups.all() {
                host.topic_deleted(&topic.name, topic.id);
            }
            if topic.name == OFFSETS_TOPIC {
                context.groups.stop_all();
            }
            let mut gone = Vec::new();
            for id in owned_of(topic, shard.index) {
                if let Some(partition) = shard.remove(id) {
                    gone.extend(shard.store.retire_log(partition.log.id()));
                }
                reactor::give_way().await;
            }
            // Images do not wait for it; what is left when the broker ends is removed by the next start.
            reactor::spawn(Priority::Background, "deletion", remove_files(gone)).detach();
        }
    }
}

async fn remove_files(gone: Vec<Retired>) {
    for retired in gone {
        let partition = retired.name().to_owned();
        match retired.remove_files().await {
            Ok(()) => {}
            Err(StorageError::Gone) => return,
            Err(error) => error!(%partition, %error, "log not deleted"),
        }
        reactor::give_way().await;
    }
}

/// Makes the logs of a topic's partitions that are placed here and are not there yet.
async fn take_all(shard: &Shard, topic: &Topic) {
    for partition in topic.partitions.iter().filter(|partition| partition.shard == shard.index) {
        let id = PartitionId { topic: topic.id, index: partition.index };
        if shard.partition(id).is_some() {
            continue;
        }
        match shard.store.create_log(layout::spec(topic, partition)) {
            Ok(log) => shard.insert(Rc::new(Partition::new(
                id,
                shard.store.clone(),
                log,
                topic.config.clone(),
                partition.leader_epoch,
            ))),
            Err(error) => error!(topic = %topic.name, partition = id.index, %error, "log not created"),
        }
        reactor::give_way().await;
    }
}

/// The partitions of a topic that are placed on a shard.
fn owned_of(topic: &Topic, shard: ShardId) -> impl Iterator<Item = PartitionId> {
    let here = topic.partitions.iter().filter(move |partition| partition.shard == shard);
    here.map(|partition| PartitionId { topic: topic.id, index: partition.index })
}

/// Begins to coordinate the groups that `__consumer_offsets` keeps on this shard.
fn host_groups(context: &Context, topic: &Topic) {
    if topic.name == OFFSETS_TOPIC {
        for partition in owned_of(topic, context.shard.index).filter_map(|id| context.shard.partition(id)) {
            context.groups.take(&partition);
        }
    }
}

/// Drops what retention no longer keeps and forgets idle producers, every `log.retention.check.interval.ms`.
async fn retention(context: Rc<Context>) {
    let interval = Duration::from_millis(context.config.log.retention_check_interval_ms.max(1) as u64);
    loop {
        reactor::sleep(interval).await;
        let mut next = 0;
        // One that takes the place of a deleted one may be left out until the next time.
        while let Some(partition) = context.shard.partition_at(next) {
            next += 1;
            if let Err(error) = partition.log.apply_retention(Timestamp(reactor::wall_clock_ms())).await {
                warn!(partition = %partition.log.name(), %error, "retention failed");
            }
            partition.log.expire_producers(Timestamp(reactor::wall_clock_ms()));
            reactor::give_way().await;
        }
    }
}

fn serve_lanes(context: &Rc<Context>) {
    for calls in context.produce_lane.incoming() {
        reactor::spawn(
            Priority::Latency,
            "mesh-produce",
            produce::serve_lane(context.clone(), calls.clone()),
        )
        .detach();
    }
    for calls in context.lane.incoming() {
        reactor::spawn(Priority::Latency, "mesh", context::serve_lane(context.clone(), calls.clone()))
            .detach();
    }
}

/// Stops accepting, answers what is in flight, then writes back and checkpoints.
async fn shut_down(context: &Context, listeners: &[Rc<TcpListener>], connections: &Connections) {
    for listener in listeners {
        listener.close();
    }
    context.stopping.begin();
    connections.stop_reading();
    context.groups.stop_all();
    let deadline = reactor::now() + Duration::from_secs(limits::STOP_GRACE_SECONDS);
    while connections.any_in_flight() && reactor::now() < deadline {
        reactor::sleep(Duration::from_millis(5)).await;
    }
    connections.close_all();
    if let Err(error) = context.shard.store.close().await {
        error!(shard = %context.shard.index, %error, "store not closed cleanly, the next start recovers");
    }
}
