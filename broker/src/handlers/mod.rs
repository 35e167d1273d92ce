//! One handler per API, and the one table that names them.
//!
//! A request is served in two parts. [`begin`] runs in the order of arrival and fixes what order must fix: a
//! produce request is checked and staged there. The [`Reply`] it leaves is finished when it reaches the head of
//! its connection's queue; everything but produce does all of its work in that second part.

pub mod alter_configs;
pub mod api_versions;
pub mod auto_create;
pub mod brokers;
pub mod client_quotas;
pub mod context;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod fetch_sessions;
pub mod find_coordinator;
pub mod groups;
pub mod init_producer_id;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod partitions;
pub mod produce;
pub mod reply;
pub mod table;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use reactor::Instant;
use wire::kafka::api_key::ApiKey;
use wire::kafka::header::RequestHeader;
use wire::kafka::{DecodeError, Reader};

use crate::metrics::Metrics;
use crate::shard::budget::Charge;
pub use context::{Context, Peer};
use produce::ProduceReply;
use reply::Response;

/// A request as it lies in its frame, header read.
pub struct Incoming {
    /// The request's header.
    pub header: RequestHeader,
    /// Which API.
    pub key: ApiKey,
    /// Positioned at the body.
    pub body: Reader,
    /// Who sent it.
    pub peer: Peer,
    /// When its last byte had come.
    pub arrived: Instant,
}

/// What is left of a request when its part that fixes order is done.
pub enum Reply {
    /// Appends that are on their way to the disk.
    Produce(ProduceReply),
    /// A request that is yet to run.
    Serial(Serial),
}

/// What becomes of a request when its part that fixes order is done.
pub struct Begun {
    /// What is left of it; none when nothing is to be answered (`acks=0`).
    pub reply: Option<Reply>,
    /// For how long nothing more is read from its client (KIP-219).
    pub throttle: Duration,
}

/// A request that runs when all before it are answered.
pub struct Serial {
    context: Rc<Context>,
    request: Incoming,
    /// Held until the request is answered.
    _charge: Charge,
}

/// Why a connection is closed instead of answered, as Kafka closes it.
#[derive(Debug)]
pub enum Refusal {
    /// The frame ends inside the header, or the header is malformed.
    Header(DecodeError),
    /// A key that no Kafka client may send here.
    UnknownApi(i16),
    /// A version outside of what `ApiVersions` advertises.
    UnsupportedVersion(ApiKey, i16),
    /// The body does not follow its schema.
    Body(ApiKey, i16, DecodeError),
    /// `acks=0` leaves no other way to report that the append failed.
    UnacknowledgedAppendFailed,
    /// The broker is stopping.
    Stopping,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Header(error) => write!(f, "malformed request header: {error}"),
            Refusal::UnknownApi(key) => write!(f, "unknown api key {key}"),
            Refusal::UnsupportedVersion(key, version) => {
                write!(f, "{key:?} version {version} is not supported")
            }
            Refusal::Body(key, version, error) => write!(f, "malformed {key:?} v{version}: {error}"),
            Refusal::UnacknowledgedAppendFailed => write!(f, "an append with acks=0 failed"),
            Refusal::Stopping => write!(f, "the broker is stopping"),
        }
    }
}

/// Whether the frame's handler may begin before the requests ahead of it are answered.
pub fn may_run_ahead(frame: &Bytes) -> bool {
    frame.len() >= 2 && i16::from_be_bytes([frame[0], frame[1]]) == ApiKey::Produce as i16
}

/// The part of a request that runs in order of arrival.
pub async fn begin(
    context: &Rc<Context>,
    peer: Peer,
    frame: Bytes,
    charge: Charge,
) -> Result<Begun, Refusal> {
    if frame.len() < 4 {
        return Err(Refusal::Header(DecodeError::Truncated));
    }
    let key = i16::from_be_bytes([frame[0], frame[1]]);
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let key = ApiKey::try_from(key).map_err(|_| Refusal::UnknownApi(key))?;
    if !table::speaks(key, version) && key != ApiKey::ApiVersions {
        let known = table::knows(key);
        return Err(if known {
            Refusal::UnsupportedVersion(key, version)
        } else {
            Refusal::UnknownApi(key as i16)
        });
    }
    let mut body = Reader::new(frame);
    let header = RequestHeader::decode(&mut body).map_err(Refusal::Header)?;
    let request = Incoming { header, key, body, peer, arrived: reactor::now() };
    if key == ApiKey::Produce {
        let arrived = request.arrived;
        let (reply, throttle) = produce::begin(context, request).await?;
        if reply.is_none() {
            context.shard.metrics.answered(key, arrived.elapsed(), &[]);
        }
        return Ok(Begun { reply: reply.map(Reply::Produce), throttle });
    }
    let reply = Reply::Serial(Serial { context: context.clone(), request, _charge: charge });
    Ok(Begun { reply: Some(reply), throttle: Duration::ZERO })
}

impl Reply {
    /// Whether the requests behind this one wait for it.
    pub fn is_serial(&self) -> bool {
        matches!(self, Reply::Serial(_))
    }

    /// Whether the answer needs no more waiting.
    pub fn is_ready(&mut self) -> bool {
        match self {
            Reply::Produce(reply) => reply.is_ready(),
            Reply::Serial(_) => false,
        }
    }

    /// The answer, when it is due.
    pub async fn finish(self, metrics: &Metrics) -> Result<Response, Refusal> {
        let (key, arrived) = match &self {
            Reply::Produce(reply) => (ApiKey::Produce, reply.arrived()),
            Reply::Serial(serial) => (serial.request.key, serial.request.arrived),
        };
        let answer = match self {
            Reply::Produce(reply) => reply.finish().await,
            Reply::Serial(serial) => table::run(&serial.context, serial.request).await?,
        };
        metrics.answered(key, arrived.elapsed(), &answer.errors);
        Ok(answer)
    }
}
