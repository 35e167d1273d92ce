//! A broker's page of metrics, over plain HTTP, in the text format of Prometheus and `OpenMetrics`.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;

use crate::client::ClientError;
use crate::limits::{METRICS_BYTES_MAX, METRICS_SAMPLES_MAX, METRICS_TIMEOUT};
use crate::process::Usage;

/// Where the page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsUrl {
    host: String,
    path: String,
}

impl FromStr for MetricsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or("expected http://HOST:PORT[/PATH]")?;
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) if !path.is_empty() => (host, format!("/{path}")),
            Some((host, _)) => (host, "/metrics".to_owned()),
            None => (rest, "/metrics".to_owned()),
        };
        if host.is_empty() {
            return Err("expected http://HOST:PORT[/PATH]".to_owned());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { host, path })
    }
}

impl std::fmt::Display for MetricsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

/// One look at a page: samples by name and labels. Buckets of histograms are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, f64>);

impl MetricsUrl {
    /// Fetches the page.
    pub(crate) fn scrape(&self) -> Result<Scrape, ClientError> {
        let cannot = |cause| ClientError::Local { what: format!("cannot read metrics at {self}"), cause };
        let page = self.get().map_err(cannot)?;
        Ok(Scrape::parse(&page))
    }

    fn get(&self) -> io::Result<String> {
        let address = self.host.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, METRICS_TIMEOUT)?;
        stream.set_read_timeout(Some(METRICS_TIMEOUT))?;
        stream.set_write_timeout(Some(METRICS_TIMEOUT))?;
        // Of version 1.0, whose answers come in one piece.
        let request =
            format!("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: text/plain\r\n\r\n", self.path, self.host);
        // At once: who answers may close after the first piece.
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(METRICS_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8(answer).map_err(io::Error::other)?;
        let (head, body) =
            answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
        let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
        if status != "200" {
            return Err(io::Error::other(format!("HTTP status {status}")));
        }
        Ok(body.to_owned())
    }
}

impl Scrape {
    fn parse(page: &str) -> Self {
        let samples = page.lines().filter_map(sample).filter(|(name, _)| !is_bucket(name));
        Self(samples.take(METRICS_SAMPLES_MAX).collect())
    }

    /// What the broker says it used; `None` when its page has no CPU time.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let get = |name: &str| self.0.get(name).copied();
        let resident = get("process_resident_memory_bytes").unwrap_or(0.0) as u64;
        Some(Usage {
            cpu_seconds: get("process_cpu_seconds_total")?,
            resident_bytes: resident,
            resident_bytes_max: resident,
            written_bytes: None,
            read_bytes: None,
        })
    }

    /// The labels of a sample whose name ends with `_build_info`.
    pub(crate) fn build(&self) -> Option<BTreeMap<String, String>> {
        let is_build = |name: &str| name.split('{').next().is_some_and(|name| name.ends_with("_build_info"));
        let name = self.0.keys().find(|name| is_build(name))?;
        let labels = name.split_once('{')?.1.strip_suffix('}')?;
        let pair = |label: &str| {
            let (name, value) = label.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        };
        Some(labels.split(',').filter_map(pair).collect())
    }
}

/// Name with labels, and value, of a line; `None` for a comment, or what is no sample.
fn sample(line: &str) -> Option<(String, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let name_end = match line.find('{') {
        Some(open) => open + labels_end(&line[open..])?,
        None => line.find(' ')?,
    };
    let (name, rest) = line.split_at(name_end);
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), value))
}

/// Where labels that begin with a brace end; a brace in a value does not count.
fn labels_end(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (place, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(place + 1),
            _ => {}
        }
    }
    None
}

fn is_bucket(name: &str) -> bool {
    name.split('{').next().is_some_and(|name| name.ends_with("_bucket"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PAGE: &str = "# HELP x y\n# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total 12.5\n\
        process_resident_memory_bytes 1048576\nlatency_bucket{le=\"1\"} 4\n\
        odd{label=\"a } \\\" b\",other=\"c\"} 7 1234567\nbroker_build_info{version=\"1.2\"} 1\nbroken\n# EOF\n";

    #[test]
    fn a_page_is_read_without_its_buckets() {
        let scrape = Scrape::parse(PAGE);
        assert_eq!(scrape.0.len(), 4, "{scrape:?}");
        assert_eq!(scrape.0.get("odd{label=\"a } \\\" b\",other=\"c\"}"), Some(&7.0));
        let usage = scrape.usage().unwrap();
        assert_eq!((usage.cpu_seconds, usage.resident_bytes), (12.5, 1 << 20));
        assert_eq!(scrape.build().unwrap().get("version").map(String::as_str), Some("1.2"));
        assert!(Scrape::default().usage().is_none());
    }

    #[test]
    fn addresses_are_read() {
        for (text, shown) in [
            ("http://a:1", "http://a:1/metrics"),
            ("http://a:1/", "http://a:1/metrics"),
            ("http://a/x/y", "http://a:80/x/y"),
            ("http://[::1]:9/m", "http://[::1]:9/m"),
        ] {
            assert_eq!(text.parse::<MetricsUrl>().unwrap().to_string(), shown);
        }
        assert!("https://a".parse::<MetricsUrl>().is_err() && "http://".parse::<MetricsUrl>().is_err());
    }

    #[test]
    fn a_page_comes_over_http_and_a_refusal_is_said() {
        for (status, works) in [("200 OK", true), ("503 Not Ready", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url: MetricsUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 256];
                let count = stream.read(&mut asked).unwrap();
                assert!(asked[..count].starts_with(b"GET /metrics HTTP/1.0\r\n"));
                write!(stream, "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n{PAGE}").unwrap();
            });
            let scraped = url.scrape();
            assert_eq!(scraped.is_ok(), works, "{scraped:?}");
            server.join().unwrap();
        }
    }
}
