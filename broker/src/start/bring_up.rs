//! The order of a start, whoever runs the threads: the operating system, or a simulation.

use std::sync::Arc;

use async_channel::{Receiver, Sender, bounded};
use storage::DataDir;

use super::layout;
use super::on_shard::{Recovered, ShardSetup};
use crate::config::BrokerConfig;
use crate::config::listener::Addresses;
use crate::control::{Control, ControlClient, ControlOptions, Loaded};
use crate::error::StartError;
use crate::handlers::brokers::Brokers;
use crate::handlers::context::Call;
use crate::handlers::produce::ProduceCall;
use crate::limits;
use crate::metadata::broker_ids::BrokerIds;
use crate::metadata::ids::ShardId;
use crate::runtime::mesh::mesh;

/// Who gives the planes what runs them.
pub(super) trait Threads {
    /// Lets the control plane serve.
    fn start_control(&mut self, control: Control) -> Result<(), StartError>;

    /// Gives a shard its reactor, on which it lives ([`on_shard::run`](super::on_shard::run)).
    fn start_shard(&mut self, setup: ShardSetup) -> Result<(), StartError>;
}

/// What runs, seen from outside.
pub(super) struct Up {
    /// What recovery found, by shard.
    pub(super) recovered: Vec<Recovered>,
    /// Asks the control plane.
    #[cfg_attr(not(feature = "simulator"), allow(dead_code))]
    // a thread's end is waited for by its own handle
    pub(super) control: ControlClient,
    stops: Vec<Sender<()>>,
    _data_dir: DataDir,
}

impl Up {
    /// Tells every shard to answer what is in flight, to write back and to end.
    pub(super) fn stop_shards(&self) {
        for stop in &self.stops {
            // A shard that has already ended needs no word.
            let _ = stop.try_send(());
        }
    }
}

/// What the starting reactor and the shards say to each other.
struct Steps {
    recovered: Receiver<(ShardId, Result<Recovered, StartError>)>,
    listen: Vec<Sender<()>>,
    listening: Receiver<Result<(), StartError>>,
}

/// Starts a broker and returns when clients can connect at `addresses`. Runs on any reactor; its first part, opening the
/// metadata log, holds that.
///
/// # Errors
/// Whatever does not let it start. What was started by then ends by itself.
pub(super) async fn bring_up(
    config: BrokerConfig,
    addresses: Addresses,
    shards: u32,
    threads: &mut impl Threads,
) -> Result<Up, StartError> {
    let config = Arc::new(config);
    let data_dir = DataDir::open(config.data_dir()).await?;
    let dir = data_dir.path().join("metadata");
    let loaded = Loaded::open(&ControlOptions { config: Arc::clone(&config), dir, shards })?;
    if loaded.places_anew() {
        data_dir.set_moving().await?;
    }
    let mut control = Control::open(loaded)?;
    let (client, image) = (control.client(), Arc::clone(control.image()));
    let (setups, stops, steps) = shard_setups(&config, &data_dir, &mut control, &addresses, shards)?;
    threads.start_control(control)?;
    layout::hand_over(&config, &data_dir, &image).await?;
    for setup in setups {
        threads.start_shard(setup)?;
    }
    let recovered = steps.wait_until_recovered(shards).await?;
    steps.open_listeners().await?;
    Ok(Up { recovered, control: client, stops, _data_dir: data_dir })
}

type Shards = (Vec<ShardSetup>, Vec<Sender<()>>, Steps);

fn shard_setups(
    config: &Arc<BrokerConfig>,
    data_dir: &DataDir,
    control: &mut Control,
    addresses: &Addresses,
    count: u32,
) -> Result<Shards, StartError> {
    let (recovered_tx, recovered) = bounded(count as usize);
    let (listening_tx, listening) = bounded(count as usize);
    let (mut setups, mut stops, mut listen) = (Vec::new(), Vec::new(), Vec::new());
    let brokers = Brokers::new(BrokerIds::new(config.server.listen), &config.listeners[0], addresses);
    let frequent_commits = Arc::default();
    let lanes = mesh::<Call>(count, limits::MESH_CALLS_MAX);
    let produce_lanes = mesh::<ProduceCall>(count, limits::MESH_CALLS_MAX);
    for (index, (lane, produce_lane)) in (0..count).zip(lanes.into_iter().zip(produce_lanes)) {
        let (stop_tx, stop) = bounded(1);
        let (listen_tx, listen_rx) = bounded(1);
        setups.push(ShardSetup {
            index: ShardId(index),
            config: config.clone(),
            data_dir: data_dir.path().to_path_buf(),
            control: control.client(),
            image: Arc::clone(control.image()),
            updates: control.subscribe(ShardId(index)).ok_or(StartError::ShardEnded)?,
            asks: control.asks(ShardId(index)).ok_or(StartError::ShardEnded)?,
            produce_lane,
            lane,
            addresses: addresses.of(ShardId(index)),
            brokers: brokers.clone(),
            frequent_commits: Arc::clone(&frequent_commits),
            recovered: recovered_tx.clone(),
            listen: listen_rx,
            listening: listening_tx.clone(),
            stop,
        });
        stops.push(stop_tx);
        listen.push(listen_tx);
    }
    Ok((setups, stops, Steps { recovered, listen, listening }))
}

impl Steps {
    async fn wait_until_recovered(&self, shards: u32) -> Result<Vec<Recovered>, StartError> {
        let mut all = Vec::with_capacity(shards as usize);
        for _ in 0..shards {
            let (index, result) = self.recovered.recv().await.map_err(|_| StartError::ShardEnded)?;
            all.push((index, result?));
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, recovered)| recovered).collect())
    }

    async fn open_listeners(&self) -> Result<(), StartError> {
        for listen in &self.listen {
            listen.send(()).await.map_err(|_| StartError::ShardEnded)?;
            self.listening.recv().await.map_err(|_| StartError::ShardEnded)??;
        }
        Ok(())
    }
}
