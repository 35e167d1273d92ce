//! One connection to one broker, with several requests in flight.
//!
//! Two tasks own the socket: one writes what is in the outbox, several frames in one send; one reads frames and hands
//! each to the oldest request that waits. When either ends, all that wait are told that the connection is lost, by
//! dropping their end of the channel; why is kept for the message.

mod login;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use reactor::sync::{Notify, Queue, Receiver, Sender, oneshot};
use reactor::{Priority, TcpStream};
use wire::kafka::api_versions::ApiVersionsRequest;
use wire::kafka::frame::{self, LENGTH_BYTES};
use wire::kafka::header::ResponseHeader;
use wire::kafka::{ErrorCode, Message, Reader, Request, Str};

use super::error::ClientError;
use super::security::{Security, Tls};
use super::transport::Transport;
use crate::limits::{CONNECT_TIMEOUT, OUTBOX_REQUESTS_MAX, RECV_BYTES, RESPONSE_BYTES_MAX};

/// The newest version of `ApiVersions` that is tried first.
const API_VERSIONS_FIRST: i16 = 3;

/// A connection. Dropping it closes the socket; what is in flight is lost.
pub(crate) struct Connection {
    shared: Rc<Shared>,
}

struct Shared {
    address: String,
    transport: Transport,
    /// Versions that the broker speaks, by key.
    versions: RefCell<HashMap<i16, (i16, i16)>>,
    next_correlation: Cell<i32>,
    waiting: RefCell<VecDeque<Waiting>>,
    outbox: Queue<Vec<Bytes>>,
    /// Frames taken from the outbox that the socket has not taken.
    writing: Cell<bool>,
    /// Told when the outbox is empty and nothing is being written.
    written: Notify,
    client_id: Str,
    session: login::Session,
    why_lost: RefCell<Option<String>>,
}

struct Waiting {
    correlation_id: i32,
    answer: Sender<Bytes>,
}

/// The answer to a request that was sent.
pub(crate) struct Reply<R: Request> {
    shared: Rc<Shared>,
    version: i16,
    answer: Receiver<Bytes>,
    request: PhantomData<R>,
}

impl Connection {
    /// Connects to `address` (`host:port`), learns which versions it speaks and logs in, if that is asked for.
    ///
    /// A name is resolved on this thread, which waits for it: that happens once per connection.
    pub(crate) async fn open(address: &str, security: &Security) -> Result<Self, ClientError> {
        let cannot = |cause| ClientError::Connect { address: address.to_owned(), cause };
        let resolved = resolve(address).map_err(cannot)?;
        let stream = match reactor::timeout(CONNECT_TIMEOUT, TcpStream::connect(resolved)).await {
            Ok(connected) => connected.map_err(cannot)?,
            Err(_) => return Err(cannot(io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(cannot)?;
        let transport = match &security.tls {
            None => Transport::plain(stream),
            Some(tls) => Self::secure(stream, tls, address).await?,
        };
        let shared = Rc::new(Shared {
            address: address.to_owned(),
            transport,
            versions: RefCell::new(HashMap::new()),
            next_correlation: Cell::new(0),
            waiting: RefCell::new(VecDeque::new()),
            outbox: Queue::new(OUTBOX_REQUESTS_MAX),
            writing: Cell::new(false),
            written: Notify::new(),
            client_id: Str::from_static("loadgen"),
            session: login::Session::default(),
            why_lost: RefCell::new(None),
        });
        reactor::spawn(Priority::Latency, "client-write", write_frames(shared.clone())).detach();
        reactor::spawn(Priority::Latency, "client-read", read_frames(shared.clone())).detach();
        let connection = Self { shared };
        reactor::timeout(CONNECT_TIMEOUT, connection.learn_versions()).await.unwrap_or_else(|_| {
            Err(ClientError::Timeout { address: address.to_owned(), what: "ApiVersions".to_owned() })
        })?;
        if let Some(login) = &security.login {
            login::first(&connection.shared, login).await?;
        }
        Ok(connection)
    }

    async fn secure(stream: TcpStream, tls: &Tls, address: &str) -> Result<Transport, ClientError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secured = reactor::timeout(CONNECT_TIMEOUT, Transport::secure(stream, tls, host)).await;
        let secured =
            secured.unwrap_or_else(|_| Err("no answer in time: does it speak TLS on this port?".to_owned()));
        secured.map_err(|why| ClientError::Tls { address: address.to_owned(), why })
    }

    async fn learn_versions(&self) -> Result<(), ClientError> {
        let body = ApiVersionsRequest {
            client_software_name: Str::from_static("corelane-loadgen"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
        };
        let mut version = API_VERSIONS_FIRST;
        let mut frame = self.send_version(version, &body).await?.frame().await?;
        // A broker that does not know the version says so in version 0: the code comes right after the correlation id.
        if frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()) {
            version = 0;
            frame = self.send_version(version, &body).await?.frame().await?;
        }
        let response = decode::<ApiVersionsRequest>(frame, version)?;
        if response.error_code != 0 {
            return Err(ClientError::broker("ApiVersions", response.error_code, None));
        }
        let known = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        self.shared.versions.borrow_mut().extend(known);
        Ok(())
    }

    /// The newest version of `R` that both sides speak.
    pub(crate) fn version<R: Request>(&self) -> Result<i16, ClientError> {
        self.shared.version::<R>()
    }

    /// Sends a request in the newest version and waits for the answer.
    pub(crate) async fn call<R: Request>(&self, body: &R) -> Result<R::Response, ClientError> {
        self.send(body).await?.wait().await
    }

    /// As [`Connection::call`], but no longer than `limit`.
    pub(crate) async fn call_within<R: Request>(
        &self,
        limit: Duration,
        body: &R,
    ) -> Result<R::Response, ClientError> {
        reactor::timeout(limit, self.call(body)).await.unwrap_or_else(|_| {
            Err(ClientError::Timeout {
                address: self.shared.address.clone(),
                what: R::API_KEY.name().to_owned(),
            })
        })
    }

    /// As [`Connection::call_within`], in a version of at most `version_max`.
    pub(crate) async fn call_at_most<R: Request>(
        &self,
        version_max: i16,
        limit: Duration,
        body: &R,
    ) -> Result<R::Response, ClientError> {
        let call = async { self.send_at_most(version_max, body).await?.wait().await };
        reactor::timeout(limit, call).await.unwrap_or_else(|_| {
            Err(ClientError::Timeout {
                address: self.shared.address.clone(),
                what: R::API_KEY.name().to_owned(),
            })
        })
    }

    /// Puts a request of the newest version in flight. Requests reach the broker in the order of these calls.
    pub(crate) async fn send<R: Request>(&self, body: &R) -> Result<Reply<R>, ClientError> {
        let version = self.version::<R>()?;
        self.send_version(version, body).await
    }

    /// As [`Connection::send`], in a version of at most `version_max`.
    pub(crate) async fn send_at_most<R: Request>(
        &self,
        version_max: i16,
        body: &R,
    ) -> Result<Reply<R>, ClientError> {
        let version = self.version::<R>()?.min(version_max);
        self.send_version(version, body).await
    }

    async fn send_version<R: Request>(&self, version: i16, body: &R) -> Result<Reply<R>, ClientError> {
        let _entering = self.shared.session.enter().await;
        self.shared.send_version(version, body).await
    }

    /// Sends a request that the broker does not answer: a produce request with `acks` 0.
    pub(crate) async fn send_unanswered<R: Request>(&self, body: &R) -> Result<(), ClientError> {
        let version = self.version::<R>()?;
        let _entering = self.shared.session.enter().await;
        self.shared.push(version, self.shared.next_correlation(), body).await
    }

    /// Waits until the socket has taken everything: before a connection is dropped whose requests are not answered.
    pub(crate) async fn flush(&self) -> Result<(), ClientError> {
        while self.shared.writing.get() || !self.shared.outbox.is_empty() {
            self.shared.written.notified().await;
        }
        if self.shared.why_lost.borrow().is_some() { Err(self.shared.lost()) } else { Ok(()) }
    }

    /// Whether it has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared.why_lost.borrow().is_some()
    }

    /// Where it is connected to, as it was asked for.
    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end("closed by this client");
    }
}

impl<R: Request> Reply<R> {
    /// Waits for the answer.
    pub(crate) async fn wait(self) -> Result<R::Response, ClientError> {
        let version = self.version;
        decode::<R>(self.frame().await?, version)
    }

    async fn frame(self) -> Result<Bytes, ClientError> {
        self.answer.await.map_err(|_| self.shared.lost())
    }
}

fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, R::API_KEY, version)
        .and_then(|_| R::Response::decode(&mut reader, version))
        .map_err(|cause| ClientError::Decode { api: R::API_KEY, cause })
}

impl Shared {
    /// The newest version of `R` that both sides speak.
    fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let unsupported = || ClientError::Unsupported { address: self.address.clone(), api: R::API_KEY };
        let versions = self.versions.borrow();
        let (min, max) = versions.get(&R::API_KEY.key()).copied().ok_or_else(unsupported)?;
        let version = max.min(*R::VERSIONS.end());
        if version < min.max(*R::VERSIONS.start()) { Err(unsupported()) } else { Ok(version) }
    }

    /// Sends a request in the newest version and waits for the answer, also while a login is renewed.
    async fn call<R: Request>(self: &Rc<Self>, body: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        self.send_version(version, body).await?.wait().await
    }

    async fn send_version<R: Request>(
        self: &Rc<Self>,
        version: i16,
        body: &R,
    ) -> Result<Reply<R>, ClientError> {
        let correlation_id = self.next_correlation();
        let (answer_to, answer) = oneshot();
        self.push(version, correlation_id, body).await?;
        // Nothing runs between the push and this, so both queues have the same order.
        self.waiting.borrow_mut().push_back(Waiting { correlation_id, answer: answer_to });
        Ok(Reply { shared: self.clone(), version, answer, request: PhantomData })
    }

    async fn push<R: Request>(&self, version: i16, correlation: i32, body: &R) -> Result<(), ClientError> {
        let frame = frame::request(version, correlation, Some(&self.client_id), body);
        // A request has no records that only the sender of files knows.
        let parts = frame.parts().into_iter().flatten().collect();
        self.outbox.push(parts).await.map_err(|_| self.lost())
    }

    fn next_correlation(&self) -> i32 {
        let id = self.next_correlation.get();
        self.next_correlation.set(id.wrapping_add(1) & i32::MAX);
        id
    }

    fn lost(&self) -> ClientError {
        let why = self.why_lost.borrow().clone().unwrap_or_else(|| "closed".to_owned());
        ClientError::Lost { address: self.address.clone(), why }
    }

    /// Ends the connection; the first reason counts.
    fn end(&self, why: &str) {
        self.why_lost.borrow_mut().get_or_insert_with(|| why.to_owned());
        self.outbox.close();
        while self.outbox.try_pop().is_some() {}
        self.written.notify_all();
        self.session.end();
        self.transport.shutdown();
        self.waiting.borrow_mut().clear();
    }
}

async fn write_frames(shared: Rc<Shared>) {
    while let Some(frame) = shared.outbox.pop().await {
        shared.writing.set(true);
        let mut parts = frame;
        while let Some(frame) = shared.outbox.try_pop() {
            parts.extend(frame);
        }
        let sent = shared.transport.send(parts).await;
        shared.writing.set(false);
        if let Err(error) = sent {
            return shared.end(&error.to_string());
        }
        shared.written.notify_all();
    }
}

async fn read_frames(shared: Rc<Shared>) {
    let mut buffer = BytesMut::with_capacity(RECV_BYTES);
    loop {
        let missing = match take_frames(&shared, &mut buffer) {
            Ok(missing) => missing,
            Err(why) => return shared.end(&why),
        };
        buffer.reserve(missing.max(RECV_BYTES));
        let (received, back) = shared.transport.recv_into(buffer, missing).await;
        buffer = back;
        if shared.transport.wants_to_send() {
            // Nothing of ours: the sender sends what the session has to say. When there is no room it is at work anyhow.
            let _ = shared.outbox.try_push(Vec::new());
        }
        match received {
            Ok(0) => return shared.end("the broker closed it"),
            Ok(_) => {}
            Err(error) => return shared.end(&error.to_string()),
        }
    }
}

/// Hands out the whole frames in `buffer`; says how many bytes at least are missing for the next.
fn take_frames(shared: &Shared, buffer: &mut BytesMut) -> Result<usize, String> {
    loop {
        let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(LENGTH_BYTES - buffer.len());
        };
        let len = frame::body_len(*prefix, RESPONSE_BYTES_MAX)
            .map_err(|cause| ClientError::Frame { address: shared.address.clone(), cause }.to_string())?;
        if buffer.len() < LENGTH_BYTES + len {
            return Ok(LENGTH_BYTES + len - buffer.len());
        }
        buffer.advance(LENGTH_BYTES);
        let frame = buffer.split_to(len).freeze();
        let Some(waiting) = shared.waiting.borrow_mut().pop_front() else {
            return Err("the broker answered what nobody asked".to_owned());
        };
        let correlation_id = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        if correlation_id != Some(waiting.correlation_id) {
            return Err("the broker answered out of order".to_owned());
        }
        // Who no longer waits does not mind.
        let _ = waiting.answer.send(frame);
    }
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let mut found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    // Brokers on this machine often listen on IPv4 only.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| io::ErrorKind::NotFound.into())
}
