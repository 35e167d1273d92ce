//! The admin port: metrics and health over HTTP, on the control thread.
//!
//! Nothing on the data path waits for it. For each question the control thread sends every shard an
//! [`Ask`](crate::metrics::Ask) and waits for the answers, for [`ADMIN_ANSWER_WITHIN`] at most: a shard that is stuck is shown
//! as such, with what it said last. Connections are few and short-lived, so that nobody can keep others out.
//!
//! * `/metrics`: the text of [`OpenMetrics`](https://prometheus.io/docs/specs/om/open_metrics_spec/); see `open_metrics`.
//! * `/health/live`: 200 unless a shard has not answered for a long time; then a restart is the cure.
//! * `/health/ready`: 200 when clients are served; else 503 with a sentence for each reason.

mod listener;
mod observer;
mod open_metrics;
mod process;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tracing::warn;

use super::limits::{ADMIN_ANSWER_WITHIN, ADMIN_CONNECTIONS_MAX, SHARD_SILENT_MAX};
use crate::metadata::image::MetadataImage;
use crate::metrics::Ask;
use listener::Bounded;
use observer::{Observer, ShardView};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const INDEX: &str = "corelane: /metrics, /health/live, /health/ready\n";

/// How far the life of the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Shards recover.
    Starting,
    /// Every shard listens.
    Serving,
    /// Requests in flight are answered, nothing else.
    Stopping,
}

/// The broker's phase, told by the main thread.
#[derive(Debug, Clone, Default)]
pub struct PhaseCell(Arc<AtomicU8>);

impl PhaseCell {
    /// Tells the phase.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// The phase told last.
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }
}

/// What the controller tells everybody who looks at the node.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) image: Arc<MetadataImage>,
    /// The last change could not be made durable.
    pub(super) log_failed: bool,
}

/// The admin port, bound and not yet served.
#[derive(Debug)]
pub struct AdminPort {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl AdminPort {
    /// Binds it.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it is, with the port that "any" became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the control thread ends.
    pub(super) async fn serve(
        self,
        phase: PhaseCell,
        shards: Vec<async_channel::Sender<Ask>>,
        published: watch::Receiver<Published>,
    ) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => Bounded::new(listener, ADMIN_CONNECTIONS_MAX),
            Err(error) => {
                warn!(address = %self.address, %error, "admin port not served");
                return;
            }
        };
        let observer = Observer::new(shards, ADMIN_ANSWER_WITHIN);
        let node = Arc::new(Node { started: Instant::now(), phase, observer, published });
        let router = Router::new()
            .route("/", get(|| async { INDEX }))
            .route("/metrics", get(metrics))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .with_state(node);
        if let Err(error) = axum::serve(listener, router).await {
            warn!(address = %self.address, %error, "admin port no longer served");
        }
    }
}

/// What the handlers look at.
#[derive(Debug)]
struct Node {
    started: Instant,
    phase: PhaseCell,
    observer: Observer,
    published: watch::Receiver<Published>,
}

/// What was seen of the node at one moment.
#[derive(Debug)]
struct Look {
    uptime: Duration,
    shards: Vec<ShardView>,
    published: Published,
    /// Why clients are not, or not all, served; one sentence each.
    complaints: Vec<String>,
}

impl Node {
    async fn look(&self) -> Look {
        let phase = self.phase.get();
        // Before they have recovered shards have nothing to say.
        let shards = if phase == Phase::Starting { Vec::new() } else { self.observer.observe().await };
        let published = self.published.borrow().clone();
        let complaints = match phase {
            Phase::Starting => vec!["starting: commit logs are replayed".to_owned()],
            Phase::Stopping => vec!["stopping: requests in flight are answered".to_owned()],
            Phase::Serving => complaints(&shards, &published),
        };
        Look { uptime: self.started.elapsed(), shards, published, complaints }
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    match open_metrics::page(node.look().await) {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n").into_response(),
    }
}

async fn live(State(node): State<Arc<Node>>) -> Response {
    let silent = node.look().await.shards.into_iter().filter(|shard| shard.silent_for > SHARD_SILENT_MAX);
    health(
        silent.map(|shard| {
            format!("shard {} has not answered for {} s", shard.index, shard.silent_for.as_secs())
        }),
    )
}

async fn ready(State(node): State<Arc<Node>>) -> Response {
    health(node.look().await.complaints.into_iter())
}

fn health(complaints: impl Iterator<Item = String>) -> Response {
    let lines: Vec<String> = complaints.map(|complaint| complaint + "\n").collect();
    if lines.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat()).into_response()
}

fn complaints(shards: &[ShardView], published: &Published) -> Vec<String> {
    let mut complaints: Vec<String> = shards.iter().filter_map(complaint).collect();
    if published.log_failed {
        complaints.push("the last change of metadata could not be made durable".to_owned());
    }
    complaints
}

fn complaint(shard: &ShardView) -> Option<String> {
    let index = shard.index;
    if !shard.answered {
        return Some(format!("shard {index} does not answer"));
    }
    if let Some(cause) = &shard.last.poisoned {
        return Some(format!("shard {index}: the commit log has failed, produce is refused: {cause}"));
    }
    let full = shard.last.store.no_space;
    full.then(|| format!("shard {index}: free space is below the reserve, produce is refused"))
}
