//! The figures of a broker's admin port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::Broker;

/// The samples of one metric, with their labels as they are written.
pub fn samples(broker: &Broker, name: &str) -> Vec<(String, f64)> {
    let mut stream = TcpStream::connect(broker.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let sample = |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| (labels.to_owned(), value.parse().unwrap()))
    };
    let found: Vec<_> = page.lines().filter_map(sample).collect();
    assert!(!found.is_empty(), "no {name}");
    found
}

/// Their sum.
pub fn sum(broker: &Broker, name: &str) -> f64 {
    samples(broker, name).iter().map(|(_, value)| value).sum()
}
