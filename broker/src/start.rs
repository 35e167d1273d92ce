//! Composes a broker: data folder, control thread, one pinned shard per core, and their end.
//!
//! Order at start: lock the data folder; load metadata; recover every shard; only when all have recovered do the
//! listeners open, so no client meets half a broker ([`bring_up`]). Order at stop: close the listeners; answer what is
//! in flight; write back and checkpoint; stop the control thread. Leaving without all this is allowed at any moment:
//! recovery then replays the commit log.

mod bring_up;
mod layout;
mod observe;
mod on_shard;
#[cfg(feature = "simulator")]
pub mod simulated;

use std::net::SocketAddr;
use std::time::Duration;

use reactor::{Builder, JoinHandle};

use crate::config::BrokerConfig;
use crate::config::listener::Addresses;
use crate::config::server::ListenMode;
use crate::control::admin::{AdminPort, Phase};
use crate::control::{Control, ControlThread};
use crate::error::StartError;
use crate::limits;
use crate::metadata::broker_ids::IDS_PER_NODE;
use crate::net::listener;
use bring_up::{Threads, Up, bring_up};
pub use on_shard::Recovered;
use on_shard::ShardSetup;

/// A running broker. Dropping it without [`Broker::stop`] leaves as a crash would.
pub struct Broker {
    up: Up,
    threads: SystemThreads,
    /// Where clients connect.
    pub addresses: Addresses,
    /// Where metrics and health are served, if anywhere.
    pub admin_address: Option<SocketAddr>,
}

impl Broker {
    /// Starts everything and returns when clients can connect.
    pub fn start(config: BrokerConfig) -> Result<Broker, StartError> {
        let wanted = config.listeners[0].address;
        // Nobody was killed on a new folder: whoever has the port is somebody else.
        let used_before = config.data_dir().join("format").exists();
        let patience = Duration::from_secs(if used_before { limits::ADDRESS_WAIT_SECONDS } else { 0 });
        let shards = config.server.cores.unwrap_or_else(available_cores);
        let addresses = addresses(&config, wanted, shards)?;
        let addresses = listener::reserve(&addresses, patience)
            .map_err(|(address, error)| StartError::Listen { address, error })?;
        let admin = config.admin_address.map(bind_admin).transpose()?;
        let admin_address = admin.as_ref().map(AdminPort::address);
        let (pin, spin) = (config.server.pin_cores, Duration::from_micros(config.server.idle_spin_us));
        let cpus = if pin { reactor::allowed_cpus() } else { Vec::new() };
        let mut threads = SystemThreads { cpus, spin, shards: Vec::new(), admin, control: None };
        let started = Builder::new("start").run(move || async move {
            let up = bring_up(config, addresses.clone(), shards, &mut threads).await?;
            threads.tell(Phase::Serving);
            Ok(Broker { up, threads, addresses, admin_address })
        });
        started.map_err(StartError::Reactor)?
    }

    /// What recovery found and how commits are made durable, by shard.
    pub fn recovered(&self) -> &[Recovered] {
        &self.up.recovered
    }

    /// Answers what is in flight, writes back, checkpoints, and returns when all threads have ended.
    pub fn stop(self) {
        self.threads.tell(Phase::Stopping);
        self.up.stop_shards();
        for shard in self.threads.shards {
            if let Err(error) = shard.join() {
                tracing::error!(%error, "a shard did not end as it should");
            }
        }
        if let Some(control) = self.threads.control {
            control.stop();
        }
    }
}

fn bind_admin(address: SocketAddr) -> Result<AdminPort, StartError> {
    AdminPort::bind(address).map_err(|error| StartError::Admin { address, error })
}

/// Where the shards of a node listen whose listener is at `shared`.
fn addresses(config: &BrokerConfig, shared: SocketAddr, shards: u32) -> Result<Addresses, StartError> {
    let mode = config.server.listen;
    let no_port = || StartError::NoPorts { shared, shards };
    let told = SocketAddr::new(shared.ip(), config.listeners[0].advertised_port);
    Addresses::new(told, mode, shards).ok_or_else(no_port)?;
    if mode == ListenMode::Direct && shards > IDS_PER_NODE {
        return Err(no_port());
    }
    Addresses::new(shared, mode, shards).ok_or_else(no_port)
}

/// Cores that this process may run on.
fn available_cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// The threads of this process.
struct SystemThreads {
    /// The cores that shards are pinned to, in turn; none: they are not.
    cpus: Vec<usize>,
    /// How long an idle shard looks for work before it sleeps.
    spin: Duration,
    shards: Vec<JoinHandle<()>>,
    /// Until the control thread has it.
    admin: Option<AdminPort>,
    control: Option<ControlThread>,
}

impl SystemThreads {
    fn tell(&self, phase: Phase) {
        if let Some(control) = &self.control {
            control.phase().set(phase);
        }
    }
}

impl Threads for SystemThreads {
    fn start_control(&mut self, control: Control) -> Result<(), StartError> {
        self.control = Some(ControlThread::start(control, self.admin.take())?);
        Ok(())
    }

    fn start_shard(&mut self, setup: ShardSetup) -> Result<(), StartError> {
        let index = setup.index.0;
        let builder = Builder::new(format!("shard-{index}"))
            .spin(self.spin)
            .cpu((!self.cpus.is_empty()).then(|| self.cpus[index as usize % self.cpus.len()]));
        self.shards.push(builder.spawn(move || on_shard::run(setup)).map_err(StartError::Reactor)?);
        Ok(())
    }
}
