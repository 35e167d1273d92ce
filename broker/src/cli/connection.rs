//! One connection to one broker: a request, then its response, in the newest version that both know.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use bytes::Bytes;
use wire::kafka::api_versions::ApiVersionsRequest;
use wire::kafka::frame;
use wire::kafka::header::ResponseHeader;
use wire::kafka::{Message as _, Reader, Request, Str};

use super::error::CliError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any wait that the commands ask a broker for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read: a fetch of the most bytes the commands ask for, and one batch more.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// An answer's memory grows as its bytes arrive, not as they are announced.
const READ_STEP: u64 = 1 << 20;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    correlation_id: i32,
    /// The versions that the broker knows, by key.
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects and learns the broker's versions.
    pub(super) fn open(address: &str) -> Result<Self, CliError> {
        let unreachable = |error| CliError::Unreachable { address: address.to_owned(), error };
        let found: Vec<_> = address.to_socket_addrs().map_err(unreachable)?.collect();
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for each in found {
            match TcpStream::connect_timeout(&each, CONNECT_TIMEOUT) {
                Ok(stream) => return Self::greet(address, stream),
                Err(error) => failure = error,
            }
        }
        Err(unreachable(failure))
    }

    fn greet(address: &str, stream: TcpStream) -> Result<Self, CliError> {
        let unreachable = |error| CliError::Unreachable { address: address.to_owned(), error };
        stream.set_nodelay(true).map_err(unreachable)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(unreachable)?;
        let address = address.to_owned();
        let mut connection = Self { address, stream, correlation_id: 0, versions: BTreeMap::new() };
        // Version 0 is understood by every broker there ever was.
        let response = connection.exchange(&ApiVersionsRequest::default(), 0)?;
        CliError::check(|| "asking for versions".to_owned(), response.error_code, None)?;
        let versions =
            response.api_keys.iter().map(|each| (each.api_key, (each.min_version, each.max_version)));
        connection.versions = versions.collect();
        Ok(connection)
    }

    /// `host:port` of the other side.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The newest version of an API that both sides know, not above `max`.
    pub(super) fn version<R: Request>(&self, max: i16) -> Result<i16, CliError> {
        let known = self.versions.get(&R::API_KEY.key()).copied();
        let (oldest, newest) = known.unwrap_or((0, -1));
        let version = newest.min(*R::VERSIONS.end()).min(max);
        if version < oldest.max(*R::VERSIONS.start()) {
            return Err(CliError::Protocol(format!("{} does not know {:?}", self.address, R::API_KEY)));
        }
        Ok(version)
    }

    /// Whether the broker knows an API.
    pub(super) fn knows<R: Request>(&self) -> bool {
        self.version::<R>(i16::MAX).is_ok()
    }

    /// Sends a request and waits for its response.
    pub(super) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, CliError> {
        self.call_at_most(request, i16::MAX)
    }

    /// The same with a version not above `max`, for requests that are filled for older versions.
    pub(super) fn call_at_most<R: Request>(
        &mut self,
        request: &R,
        max: i16,
    ) -> Result<R::Response, CliError> {
        let version = self.version::<R>(max)?;
        self.exchange(request, version)
    }

    fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, CliError> {
        self.send(request, version)?;
        let mut reader = Reader::new(self.receive().map_err(|error| self.broken(error))?);
        let header = ResponseHeader::decode(&mut reader, R::API_KEY, version)?;
        if header.correlation_id != self.correlation_id {
            return Err(CliError::Protocol("a response to another request".to_owned()));
        }
        Ok(R::Response::decode(&mut reader, version)?)
    }

    /// Sends a request that gets no response.
    pub(super) fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), CliError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let client_id = Str::from_static("corelane-cli");
        let frame = frame::request(version, self.correlation_id, Some(&client_id), request).into_contiguous();
        self.stream.write_all(&frame).map_err(|error| self.broken(error))
    }

    fn receive(&mut self) -> io::Result<Bytes> {
        let mut prefix = [0; frame::LENGTH_BYTES];
        self.stream.read_exact(&mut prefix)?;
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let length = frame::body_len(prefix, ANSWER_BYTES_MAX).map_err(wrong)?;
        let mut body = Vec::new();
        while body.len() < length {
            let step = READ_STEP.min((length - body.len()) as u64);
            if (&mut self.stream).take(step).read_to_end(&mut body)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Bytes::from(body))
    }

    fn broken(&self, error: io::Error) -> CliError {
        CliError::Unreachable { address: self.address.clone(), error }
    }
}
