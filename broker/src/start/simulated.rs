//! A broker in a simulation: the same code on simulated reactors of one machine. For tests; a build of the broker has no
//! feature `simulator`.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use reactor::sync::Notify;

use super::bring_up::{Threads, Up, bring_up};
use super::on_shard::{self, Recovered, ShardSetup};
use crate::config::BrokerConfig;
use crate::control::Control;
use crate::error::StartError;
use crate::handlers::Context;
use crate::shard::shard::Shard;

thread_local! {
    /// Shards that have recovered on this thread, all brokers of all simulations.
    static SHARDS: RefCell<Vec<Weak<Context>>> = const { RefCell::new(Vec::new()) };
}

/// Lets a test see a shard.
pub(super) fn show(context: &Rc<Context>) {
    SHARDS.with_borrow_mut(|shards| {
        shards.retain(|shard| shard.strong_count() > 0);
        shards.push(Rc::downgrade(context));
    });
}

/// The shards that live on this thread, as they are between two steps of the simulation. Only to be looked at; not to be
/// kept over a step.
pub fn shards() -> Vec<Rc<Shard>> {
    SHARDS.with_borrow(|shards| {
        shards.iter().filter_map(Weak::upgrade).map(|context| context.shard.clone()).collect()
    })
}

/// A running broker. When its machine stops, it is gone.
pub struct Broker {
    up: Up,
    running: Rc<Running>,
}

/// Counts what has not ended.
#[derive(Default)]
struct Running {
    reactors: Cell<u32>,
    changed: Notify,
}

impl Running {
    async fn watch(self: Rc<Self>, main: impl Future<Output = ()>) {
        main.await;
        self.reactors.set(self.reactors.get() - 1);
        self.changed.notify_all();
    }

    async fn wait_until(&self, left: u32) {
        while self.reactors.get() > left {
            self.changed.notified().await;
        }
    }
}

struct SimulatedThreads(Rc<Running>);

impl SimulatedThreads {
    fn start<Fut: Future<Output = ()> + 'static>(&self, main: impl FnOnce() -> Fut + 'static) {
        self.0.reactors.set(self.0.reactors.get() + 1);
        let running = self.0.clone();
        reactor::sim::spawn(move || running.watch(main()));
    }
}

impl Threads for SimulatedThreads {
    fn start_control(&mut self, control: Control) -> Result<(), StartError> {
        self.start(move || control.serve());
        Ok(())
    }

    fn start_shard(&mut self, setup: ShardSetup) -> Result<(), StartError> {
        self.start(move || on_shard::run(setup));
        Ok(())
    }
}

impl Broker {
    /// Starts a broker on the machine of the calling simulated reactor, with one reactor for the control plane and one for
    /// each of `shards` shards, and returns when clients can connect.
    ///
    /// # Errors
    /// As for a real one.
    pub async fn start(config: BrokerConfig, address: SocketAddr, shards: u32) -> Result<Broker, StartError> {
        let running = Rc::new(Running::default());
        let mut threads = SimulatedThreads(running.clone());
        let addresses = super::addresses(&config, address, shards)?;
        let up = bring_up(config, addresses, shards, &mut threads).await?;
        Ok(Broker { up, running })
    }

    /// What recovery found and how commits are made durable, by shard.
    pub fn recovered(&self) -> &[Recovered] {
        &self.up.recovered
    }

    /// Answers what is in flight, writes back, checkpoints, and returns when everything has ended.
    pub async fn stop(self) {
        self.up.stop_shards();
        self.running.wait_until(1).await;
        self.up.control.close();
        self.running.wait_until(0).await;
    }
}
