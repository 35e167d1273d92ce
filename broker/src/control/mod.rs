//! The control plane: what is rare and may be slow, on one thread with a tokio runtime of its own.
//!
//! [`Loaded::open`] opens the metadata log and brings the first image up to date with how the node was started
//! (cluster id, listeners, number of shards); [`Control::open`] makes that durable. What then serves requests is a future, [`Control::serve`], that any executor
//! can run; the broker gives it a thread ([`ControlThread`]). Shards ask through a [`ControlClient`] and read
//! images from the receiver of [`Control::subscribe`]; both use channels that any executor can wait on. Requests,
//! decisions and answers: [`commands`], [`topics`], [`configs`]; their order and durability: `controller`.

pub mod admin;
pub mod commands;
pub mod configs;
mod controller;
pub mod frame;
pub mod limits;
pub mod metadata_log;
pub mod placement;
pub mod quotas;
mod random;
#[cfg(test)]
mod tests;
pub mod topics;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use tokio::sync::watch;
use tracing::{info, warn};
use wire::kafka::{ErrorCode, Str};

use crate::config::BrokerConfig;
use crate::metadata::ids::{NodeId, ShardId};
use crate::metadata::image::{Inconsistent, Local, MetadataImage, TopicChange};
use crate::metadata::records::{EndpointRecord, Record};
use crate::metrics::Ask;
use admin::{AdminPort, PhaseCell, Published};
use commands::{
    AlterClientQuotas, AlterConfigs, ControlRequest, CreatedTopic, DeletedTopic, Mode, MorePartitions,
    NewTopic, Outcomes, ProducerIds, Refusal, Reply, TopicKey,
};
use controller::{Answers, Controller};
use limits::{ADMIN_ASKS_MAX, REQUESTS_MAX, UPDATES_MAX};
use metadata_log::{Found, LogError, MetadataLog};

/// How the control plane is started.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// The configuration of the node.
    pub config: Arc<BrokerConfig>,
    /// The folder of the metadata log.
    pub dir: PathBuf,
    /// How many shards the node runs. Where that is not the number of its earlier life, partitions get new places,
    /// and their logs must be handed over before any shard serves.
    pub shards: u32,
}

/// A new image on its way to one shard.
///
/// The shard applies `changes` in order, takes `image` as its own and calls [`ImageUpdate::applied`], or drops the
/// update: clients that wait for the change are answered when every shard did.
#[derive(Debug)]
pub struct ImageUpdate {
    /// The state from now on.
    pub image: Arc<MetadataImage>,
    /// What happened to topics since the image before, in order; a topic may come and go in one update.
    pub changes: Arc<[TopicChange]>,
    receipt: Sender<()>,
}

impl ImageUpdate {
    /// Says that the shard uses the image.
    pub fn applied(self) {
        let ImageUpdate { image, changes, receipt } = self;
        // In this order: whoever waits for the receipt is to be the last who has what it told of.
        drop((image, changes));
        drop(receipt);
    }
}

/// Why the control plane does not start.
#[derive(Debug)]
pub enum ControlError {
    /// The metadata log cannot be read or written.
    Log(LogError),
    /// Its records do not fit together.
    Inconsistent(Inconsistent),
    /// The data folder is another node's.
    OtherNode {
        /// The node that the folder belongs to.
        found: NodeId,
        /// The node that was started.
        started: NodeId,
    },
    /// The operating system refused a thread or random bytes.
    Io(io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Inconsistent(error) => error.fmt(f),
            Self::OtherNode { found, started } => {
                write!(f, "the data folder belongs to node {found}, not to node.id={started}")
            }
            Self::Io(error) => write!(f, "the control thread cannot start: {error}"),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(error) => Some(error),
            Self::Inconsistent(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::OtherNode { .. } => None,
        }
    }
}

/// The metadata of the node's earlier life, and what this start adds to it. Nothing is written yet.
#[derive(Debug)]
pub struct Loaded {
    config: Arc<BrokerConfig>,
    log: MetadataLog,
    image: MetadataImage,
    shards_before: u32,
    facts: Vec<Record>,
}

impl Loaded {
    /// Opens the metadata log.
    ///
    /// # Errors
    /// A log that cannot be trusted, a data folder of another node, or an operating system that refuses.
    pub fn open(options: &ControlOptions) -> Result<Self, ControlError> {
        let (log, found) = MetadataLog::open(&options.dir).map_err(ControlError::Log)?;
        if found.cut_bytes > 0 {
            warn!(bytes = found.cut_bytes, "the end of the metadata log was torn by a crash and is cut");
        }
        let (image, shards_before, facts) = first_image(options, &found)?;
        Ok(Self { config: Arc::clone(&options.config), log, image, shards_before, facts })
    }

    /// Whether partitions get new places, on another number of shards. Storage must be told before that becomes durable:
    /// after a crash the numbers alone may be equal again, and the places not.
    pub fn places_anew(&self) -> bool {
        self.shards_before != 0 && self.shards_before != self.image.shards()
    }
}

/// The control plane, open and not yet serving.
#[derive(Debug)]
pub struct Control {
    client: ControlClient,
    image: Arc<MetadataImage>,
    shards_before: u32,
    updates: Vec<Option<Receiver<ImageUpdate>>>,
    asks: Vec<Option<Receiver<Ask>>>,
    controller: Controller,
    requests: Receiver<ControlRequest>,
    /// For the admin port.
    asking: Vec<Sender<Ask>>,
    publications: watch::Receiver<Published>,
}

impl Control {
    /// Makes durable what this start adds.
    ///
    /// # Errors
    /// The metadata log cannot be written.
    pub fn open(loaded: Loaded) -> Result<Self, ControlError> {
        let Loaded { config, mut log, image, shards_before, facts } = loaded;
        if !facts.is_empty() {
            log.append(&[facts]).map_err(ControlError::Log)?;
        }
        let image = Arc::new(image);
        info!(
            cluster = image.cluster_id().as_str(),
            version = image.version(),
            topics = image.topic_count(),
            partitions = image.partition_count(),
            "metadata loaded"
        );
        let (shards, updates): (Vec<_>, Vec<_>) =
            (0..image.shards()).map(|_| async_channel::bounded(UPDATES_MAX)).unzip();
        let (client, requests) = async_channel::bounded(REQUESTS_MAX);
        let (asking, asks): (Vec<_>, Vec<_>) =
            (0..image.shards()).map(|_| async_channel::bounded(ADMIN_ASKS_MAX)).unzip();
        let (published, publications) =
            watch::channel(Published { image: Arc::clone(&image), log_failed: false });
        let controller = Controller {
            config,
            log,
            image: Arc::clone(&image),
            shards,
            published,
            answers: Answers::default(),
        };
        Ok(Self {
            client: ControlClient { requests: client },
            image,
            shards_before,
            updates: updates.into_iter().map(Some).collect(),
            asks: asks.into_iter().map(Some).collect(),
            controller,
            requests,
            asking,
            publications,
        })
    }

    /// The image with which shards start; updates begin after it.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// How many shards the node had in its earlier life; 0 on the first start. Where it differs from now, partitions
    /// have new places.
    pub fn shards_before(&self) -> u32 {
        self.shards_before
    }

    /// Sends requests; may be cloned and used on any thread.
    pub fn client(&self) -> ControlClient {
        self.client.clone()
    }

    /// The images of one shard, in order; `None` when the shard has taken them already or does not exist.
    pub fn subscribe(&mut self, shard: ShardId) -> Option<Receiver<ImageUpdate>> {
        self.updates.get_mut(shard.index()).and_then(Option::take)
    }

    /// What the admin port asks one shard; `None` when the shard has taken it already or does not exist.
    pub fn asks(&mut self, shard: ShardId) -> Option<Receiver<Ask>> {
        self.asks.get_mut(shard.index()).and_then(Option::take)
    }

    /// Serves what is asked until [`ControlClient::close`], then until the shards have taken their images, or dropped
    /// their receivers. On any executor; syncs of the metadata log hold its thread.
    pub fn serve(self) -> impl Future<Output = ()> + Send + 'static {
        self.controller.run(self.requests)
    }
}

/// The control plane on a thread of its own, with a tokio runtime.
#[derive(Debug)]
pub struct ControlThread {
    client: ControlClient,
    phase: PhaseCell,
    thread: JoinHandle<()>,
}

impl ControlThread {
    /// Starts the thread, which also serves the admin port, if there is one.
    ///
    /// # Errors
    /// The operating system refuses it.
    pub fn start(mut control: Control, admin: Option<AdminPort>) -> Result<Self, ControlError> {
        let client = control.client();
        let phase = PhaseCell::default();
        let (asking, publications) = (std::mem::take(&mut control.asking), control.publications.clone());
        let admin = admin.map(|port| port.serve(phase.clone(), asking, publications));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ControlError::Io)?;
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if let Some(admin) = admin {
                        tokio::spawn(admin);
                    }
                    control.serve().await;
                });
            })
            .map_err(ControlError::Io)?;
        Ok(Self { client, phase, thread })
    }

    /// Sends requests; may be cloned and used on any thread.
    pub fn client(&self) -> ControlClient {
        self.client.clone()
    }

    /// To tell the admin port how far the broker is.
    pub fn phase(&self) -> &PhaseCell {
        &self.phase
    }

    /// Answers what was asked and ends the thread. Shards must still take images, or have dropped their receivers.
    pub fn stop(self) {
        self.client.close();
        if self.thread.join().is_err() {
            warn!(thread = "control", "the control thread ended in a panic");
        }
    }
}

/// Asks the control plane, from any thread and on any executor.
#[derive(Debug, Clone)]
pub struct ControlClient {
    requests: Sender<ControlRequest>,
}

impl ControlClient {
    /// Makes topics; one outcome each.
    ///
    /// # Errors
    /// The control plane is stopping. So for all requests.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        mode: Mode,
    ) -> Result<Outcomes<CreatedTopic>, Refusal> {
        self.ask(|reply| ControlRequest::CreateTopics(topics, mode, reply)).await
    }

    /// Makes topics that are not there yet, with default settings; the broker's own topics with theirs.
    pub async fn ensure_topics(&self, names: Vec<Str>) -> Result<Outcomes<CreatedTopic>, Refusal> {
        self.ask(|reply| ControlRequest::EnsureTopics(names, reply)).await
    }

    /// Deletes topics; one outcome each.
    pub async fn delete_topics(&self, keys: Vec<TopicKey>) -> Result<Outcomes<DeletedTopic>, Refusal> {
        self.ask(|reply| ControlRequest::DeleteTopics(keys, reply)).await
    }

    /// Adds partitions; one outcome each.
    pub async fn create_partitions(
        &self,
        all: Vec<MorePartitions>,
        mode: Mode,
    ) -> Result<Outcomes<()>, Refusal> {
        self.ask(|reply| ControlRequest::CreatePartitions(all, mode, reply)).await
    }

    /// Changes settings; one outcome for each resource.
    pub async fn alter_configs(&self, all: Vec<AlterConfigs>, mode: Mode) -> Result<Outcomes<()>, Refusal> {
        self.ask(|reply| ControlRequest::AlterConfigs(all, mode, reply)).await
    }

    /// Changes quotas of clients; one outcome for each entity.
    pub async fn alter_client_quotas(
        &self,
        all: Vec<AlterClientQuotas>,
        mode: Mode,
    ) -> Result<Outcomes<()>, Refusal> {
        self.ask(|reply| ControlRequest::AlterClientQuotas(all, mode, reply)).await
    }

    /// Takes a block of producer ids that nobody else has.
    pub async fn allocate_producer_ids(&self) -> Result<ProducerIds, Refusal> {
        self.ask(ControlRequest::AllocateProducerIds).await?
    }

    /// Lets nobody ask any more, with any clone of this client; what was asked is answered.
    pub fn close(&self) {
        self.requests.close();
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> ControlRequest) -> Result<T, Refusal> {
        let stopping = || {
            Refusal::new(
                ErrorCode::BrokerNotAvailable,
                "The broker is stopping and changes nothing any more.",
            )
        };
        let (reply, answer) = async_channel::bounded(1);
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.recv().await.map_err(|_| stopping())
    }
}

/// The image that the log and this start's own facts lead to, the number of shards before, and those facts.
fn first_image(
    options: &ControlOptions,
    found: &Found,
) -> Result<(MetadataImage, u32, Vec<Record>), ControlError> {
    let node = NodeId(options.config.server.node_id);
    let local = Local { node, settings: Arc::clone(&options.config.settings) };
    let mut image = MetadataImage::empty(local).map_err(ControlError::Inconsistent)?;
    let apply = |image: MetadataImage, group: &[Record]| {
        image.apply(group).map(|applied| applied.image).map_err(ControlError::Inconsistent)
    };
    for group in &found.snapshot {
        image = apply(image, group)?;
    }
    image = image.at_version(found.snapshot_version);
    for group in &found.groups {
        image = apply(image, group)?;
    }
    if image.nodes().len() > 0 && image.node(node).is_none() {
        let found = image.nodes().next().map_or(node, |known| known.id);
        return Err(ControlError::OtherNode { found, started: node });
    }
    let shards_before = image.shards();
    let wanted = options.shards;
    let mut facts = node_facts(&options.config, &image)?;
    if shards_before != wanted {
        let moves = placement::replace(&image, wanted);
        if shards_before != 0 {
            warn!(
                before = shards_before,
                now = wanted,
                moved = moves.len() - 1,
                "partitions are placed anew"
            );
        }
        facts.extend(moves);
    }
    if !facts.is_empty() {
        image = apply(image, &facts)?;
    }
    Ok((image, shards_before, facts))
}

/// The records that bring the image up to date with how this node was started.
fn node_facts(config: &BrokerConfig, image: &MetadataImage) -> Result<Vec<Record>, ControlError> {
    let mut facts = Vec::new();
    if image.cluster_id().is_empty() {
        let id = random::uuid().map_err(ControlError::Io)?;
        facts.push(Record::Cluster { id: id.to_string() });
    }
    let endpoints: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| EndpointRecord {
            listener: listener.name.clone(),
            host: listener.advertised_host.clone(),
            port: listener.advertised_port,
        })
        .collect();
    let node = NodeId(config.server.node_id);
    let rack = config.server.rack.clone();
    let same = image.node(node).is_some_and(|known| {
        known.rack.as_ref().map(Str::as_str) == rack.as_deref() && known.endpoints == endpoints
    });
    if !same {
        facts.push(Record::Node { node: node.0, rack, endpoints });
    }
    Ok(facts)
}
