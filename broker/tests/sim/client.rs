//! A client that speaks Kafka's frames over the simulated network: one connection, made again when it is lost.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reactor::TcpStream;
use wire::kafka::header::ResponseHeader;
use wire::kafka::{Message, Reader, Request, Str, frame};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
const FRAME_BYTES_MAX: usize = 64 << 20;

/// The connection is lost. What was asked may have happened, may happen yet, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

pub(crate) struct Client {
    address: SocketAddr,
    name: Str,
    stream: Option<TcpStream>,
    next: i32,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, name: &str) -> Self {
        Self { address, name: Str::from(name.to_owned()), stream: None, next: 1 }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Closes the connection, with whatever is in flight.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    async fn stream(&mut self) -> Result<&TcpStream, Lost> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await.map_err(|_| Lost)?;
            self.stream = Some(stream);
        }
        self.stream.as_ref().ok_or(Lost)
    }

    /// Sends a request, over a new connection if there is none. The number is for [`Self::receive`].
    pub(crate) async fn send<R: Request>(&mut self, version: i16, body: &R) -> Result<i32, Lost> {
        let id = self.next;
        self.next += 1;
        tracing::debug!(client = self.name.as_str(), id, api = ?R::API_KEY, "asks");
        let bytes = frame::request(version, id, Some(&self.name), body).into_contiguous();
        let sent = self.stream().await?.send(vec![bytes]).await;
        self.keep(sent)?;
        Ok(id)
    }

    /// Receives the answer to the request of that number, which is the next one.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16, id: i32) -> Result<R::Response, Lost> {
        let mut reader = Reader::new(self.frame().await?);
        let header = ResponseHeader::decode(&mut reader, R::API_KEY, version).expect("a header");
        assert_eq!(header.correlation_id, id, "answers come in the order of requests");
        let body = R::Response::decode(&mut reader, version).expect("a body");
        assert_eq!(reader.left(), 0, "nothing follows the answer");
        Ok(body)
    }

    pub(crate) async fn ask<R: Request>(&mut self, version: i16, body: &R) -> Result<R::Response, Lost> {
        let id = self.send(version, body).await?;
        self.receive::<R>(version, id).await
    }

    async fn frame(&mut self) -> Result<Bytes, Lost> {
        let prefix = self.exactly(frame::LENGTH_BYTES).await?;
        let prefix = *prefix.first_chunk().expect("four bytes");
        let length = frame::body_len(prefix, FRAME_BYTES_MAX).expect("a length");
        self.exactly(length).await
    }

    async fn exactly(&mut self, count: usize) -> Result<Bytes, Lost> {
        let stream = self.stream.as_ref().ok_or(Lost)?;
        let receiving = stream.recv_into(BytesMut::with_capacity(count), count);
        let received = match reactor::timeout(PATIENCE, receiving).await {
            Ok((Ok(got), bytes)) if got == count => Ok(bytes.freeze()),
            Ok(_) | Err(_) => Err(Lost),
        };
        self.keep(received)
    }

    /// After any error the connection is given up.
    fn keep<T, E>(&mut self, result: Result<T, E>) -> Result<T, Lost> {
        if result.is_err() {
            self.stream = None;
        }
        result.map_err(|_| Lost)
    }
}
