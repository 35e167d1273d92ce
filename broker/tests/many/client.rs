//! One connection that asks and waits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use wire::kafka::api_versions::ApiVersionsRequest;
use wire::kafka::header::ResponseHeader;
use wire::kafka::{Message as _, Reader, Request, Str, frame};

use crate::support::Broker;

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(broker: &Broker) -> Client {
        Client::to(broker.bootstrap())
    }

    pub(crate) fn to(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(stream)
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, body: &R) -> R::Response {
        let frame = frame::request(version, 7, Some(&Str::from("many")), body).into_contiguous();
        self.0.write_all(&frame).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).unwrap();
        let mut reader = Reader::new(Bytes::from(answer));
        ResponseHeader::decode(&mut reader, R::API_KEY, version).unwrap();
        R::Response::decode(&mut reader, version).unwrap()
    }

    pub(crate) fn greet(&mut self) {
        self.ask(0, &ApiVersionsRequest::default());
    }
}
