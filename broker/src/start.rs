//! Composes a broker: data folder, control thread, one pinned shard per core, and their end.
//!
//! Order at start: lock the data folder; load metadata; recover every shard; only when all have recovered do the
//! listeners open, so no client meets half a broker. Order at stop: close the listeners; answer what is in flight;
//! write back and checkpoint; stop the control thread. Leaving without all this is allowed at any moment:
//! recovery then replays the commit log.

mod layout;
mod observe;
mod on_shard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender, bounded};
use reactor::{Builder, JoinHandle};
use storage::DataDir;

use crate::config::BrokerConfig;
use crate::control::admin::{AdminPort, Phase};
use crate::control::{Control, ControlOptions};
use crate::error::StartError;
use crate::handlers::context::{Advertised, Call};
use crate::handlers::produce::ProduceCall;
use crate::limits;
use crate::metadata::ids::ShardId;
use crate::net::listener;
use crate::runtime::mesh::mesh;
pub use on_shard::Recovered;
use on_shard::ShardSetup;

/// A running broker. Dropping it without [`Broker::stop`] leaves as a crash would.
pub struct Broker {
    shards: Vec<JoinHandle<()>>,
    stop: Vec<Sender<()>>,
    control: Control,
    /// What recovery found and how commits are made durable, by shard.
    pub recovered: Vec<Recovered>,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where metrics and health are served, if anywhere.
    pub admin_address: Option<SocketAddr>,
    _data_dir: Arc<DataDir>,
}

/// What the main thread and the shards say to each other while the broker starts.
struct Steps {
    recovered: Receiver<(ShardId, Result<Recovered, StartError>)>,
    listen: Vec<Sender<()>>,
    listening: Receiver<Result<(), StartError>>,
}

impl Broker {
    /// Starts everything and returns when clients can connect.
    pub fn start(config: BrokerConfig) -> Result<Broker, StartError> {
        let wanted = config.listeners[0].address;
        // Nobody was killed on a new folder: whoever has the port is somebody else.
        let used_before = config.data_dir().join("format").exists();
        let patience = Duration::from_secs(if used_before { limits::ADDRESS_WAIT_SECONDS } else { 0 });
        let address = listener::reserve(wanted, patience)
            .map_err(|error| StartError::Listen { address: wanted, error })?;
        let admin = config.admin_address.map(bind_admin).transpose()?;
        let admin_address = admin.as_ref().map(AdminPort::address);
        let config = Arc::new(config);
        let path = config.data_dir().to_path_buf();
        let opened = Builder::new("data-dir").ring_entries(32).run(|| DataDir::open(path));
        let data_dir = Arc::new(opened.map_err(StartError::Reactor)??);
        let shards = config.server.cores.unwrap_or_else(available_cores);
        let options =
            ControlOptions { config: Arc::clone(&config), dir: data_dir.path().join("metadata"), shards };
        let mut control = Control::start(&options, admin)?;
        layout::hand_over(&config, &data_dir, control.image())?;
        let (shards, stop, steps) = spawn_shards(&config, &data_dir, &mut control, address, shards)?;
        let recovered = steps.wait_until_recovered(shards.len())?;
        steps.open_listeners()?;
        control.phase().set(Phase::Serving);
        Ok(Broker { shards, stop, control, recovered, address, admin_address, _data_dir: data_dir })
    }

    /// Answers what is in flight, writes back, checkpoints, and returns when all threads have ended.
    pub fn stop(self) {
        self.control.phase().set(Phase::Stopping);
        for stop in &self.stop {
            // A shard that has already ended needs no word.
            let _ = stop.try_send(());
        }
        for shard in self.shards {
            if let Err(error) = shard.join() {
                tracing::error!(%error, "a shard did not end as it should");
            }
        }
        self.control.stop();
    }
}

fn bind_admin(address: SocketAddr) -> Result<AdminPort, StartError> {
    AdminPort::bind(address).map_err(|error| StartError::Admin { address, error })
}

/// Cores that this process may run on.
fn available_cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

type Spawned = (Vec<JoinHandle<()>>, Vec<Sender<()>>, Steps);

fn spawn_shards(
    config: &Arc<BrokerConfig>,
    data_dir: &DataDir,
    control: &mut Control,
    address: SocketAddr,
    count: u32,
) -> Result<Spawned, StartError> {
    let (recovered_tx, recovered) = bounded(count as usize);
    let (listening_tx, listening) = bounded(count as usize);
    let (mut shards, mut stops, mut listen) = (Vec::new(), Vec::new(), Vec::new());
    let lanes = mesh::<Call>(count, limits::MESH_CALLS_MAX);
    let produce_lanes = mesh::<ProduceCall>(count, limits::MESH_CALLS_MAX);
    for (index, (lane, produce_lane)) in (0..count).zip(lanes.into_iter().zip(produce_lanes)) {
        let (stop_tx, stop) = bounded(1);
        let (listen_tx, listen_rx) = bounded(1);
        let setup = ShardSetup {
            index: ShardId(index),
            config: config.clone(),
            data_dir: data_dir.path().to_path_buf(),
            control: control.client(),
            image: Arc::clone(control.image()),
            updates: control.subscribe(ShardId(index)).ok_or(StartError::ShardEnded)?,
            asks: control.asks(ShardId(index)).ok_or(StartError::ShardEnded)?,
            produce_lane,
            lane,
            address,
            advertised: Advertised::new(&config.listeners[0], address),
            recovered: recovered_tx.clone(),
            listen: listen_rx,
            listening: listening_tx.clone(),
            stop,
        };
        let builder = Builder::new(format!("shard-{index}"))
            .cpu(config.server.pin_cores.then_some(index as usize % available_cores() as usize));
        shards.push(builder.spawn(move || on_shard::run(setup)).map_err(StartError::Reactor)?);
        stops.push(stop_tx);
        listen.push(listen_tx);
    }
    Ok((shards, stops, Steps { recovered, listen, listening }))
}

impl Steps {
    fn wait_until_recovered(&self, shards: usize) -> Result<Vec<Recovered>, StartError> {
        let mut all = Vec::with_capacity(shards);
        for _ in 0..shards {
            let (index, result) = self.recovered.recv_blocking().map_err(|_| StartError::ShardEnded)?;
            all.push((index, result?));
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, recovered)| recovered).collect())
    }

    fn open_listeners(&self) -> Result<(), StartError> {
        for listen in &self.listen {
            listen.send_blocking(()).map_err(|_| StartError::ShardEnded)?;
            self.listening.recv_blocking().map_err(|_| StartError::ShardEnded)??;
        }
        Ok(())
    }
}
