//! What a handler may use: its own shard, the mesh to the others, the bridge to the control thread.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use async_channel::Receiver;
use reactor::Priority;
use reactor::sync::Notify;

use crate::config::BrokerConfig;
use crate::control::ControlClient;
use crate::coordinator::hosts::GroupHosts;
use crate::handlers::brokers::Brokers;
use crate::handlers::fetch_sessions::FetchSessions;
use crate::handlers::init_producer_id::ProducerIds;
use crate::handlers::produce::ProduceCall;
use crate::metadata::ids::ShardId;
use crate::runtime::mesh::{Mesh, ShardGone};
use crate::shard::connection_counts::ConnectionCounts;
use crate::shard::quota::QuotaBuckets;
use crate::shard::shard::Shard;

/// One per shard, shared by its connections.
pub struct Context {
    /// The data plane of this core.
    pub shard: Rc<Shard>,
    /// Lane for appends: served one at a time, in order.
    pub produce_lane: Mesh<ProduceCall>,
    /// Lane for everything else: each call becomes a task of its own.
    pub lane: Mesh<Call>,
    /// The way to the control thread.
    pub control: ControlClient,
    /// Group coordinators of the `__consumer_offsets` partitions that this shard owns.
    pub groups: GroupHosts,
    /// Incremental fetch sessions of connections on this shard (KIP-227).
    pub fetch_sessions: RefCell<FetchSessions>,
    /// Set when the broker stops: nothing is waited for any more that only time would bring.
    pub stopping: Stopping,
    /// As read at start.
    pub config: Arc<BrokerConfig>,
    /// Connections that this shard counts for the node.
    pub connection_counts: ConnectionCounts,
    /// Whom clients are told to connect to.
    pub brokers: Brokers,
    /// What clients with quotas used, that this shard counts for the node.
    pub quota_buckets: QuotaBuckets,
    /// Producer ids that were handed to this shard and not yet given out.
    pub producer_ids: ProducerIds,
}

/// Whether the broker stops, and those who want to know at once.
#[derive(Default)]
pub struct Stopping {
    begun: Cell<bool>,
    told: Notify,
}

impl Stopping {
    /// The broker stops.
    pub fn begin(&self) {
        self.begun.set(true);
        self.told.notify_all();
    }

    /// Whether it does.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Waits until it does.
    pub async fn wait(&self) {
        while !self.begun.get() {
            self.told.notified().await;
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The client's end of the connection.
    pub address: SocketAddr,
}

/// Work for another shard, which makes a task of it there.
pub type Call = Box<dyn FnOnce(Rc<Context>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

impl Context {
    /// Runs `work` on the shard that owns what it touches: in place if that is this one, over the mesh otherwise.
    pub async fn on_shard<T, F, Fut>(self: &Rc<Self>, target: ShardId, work: F) -> Result<T, ShardGone>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Context>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        if target == self.lane.me() {
            return Ok(work(self.clone()).await);
        }
        self.shard.metrics.hops.add(1);
        let (answer, answered) = futures_channel::oneshot::channel();
        let call: Call = Box::new(move |context| {
            Box::pin(async move {
                // A caller that has gone away needs no answer.
                let _ = answer.send(work(context).await);
            })
        });
        self.lane.send(target, call).await?;
        answered.await.map_err(|_| ShardGone)
    }
}

/// Serves what one other shard asks, until the mesh is closed.
pub async fn serve_lane(context: Rc<Context>, calls: Receiver<Call>) {
    while let Ok(call) = calls.recv().await {
        reactor::spawn(Priority::Latency, "mesh-call", call(context.clone())).detach();
    }
}
