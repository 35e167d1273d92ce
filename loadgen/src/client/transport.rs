//! The bytes of a connection, as they are or within TLS.
//!
//! One task sends and one receives. Under TLS both work on one session: what receiving makes it want to say (a new key, an
//! alert) waits until the sender is next at work, which [`Transport::wants_to_send`] asks for.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use reactor::{Shutdown, TcpStream};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::security::Tls;
use crate::limits::RECV_BYTES;

/// A connected socket.
pub(crate) struct Transport {
    stream: TcpStream,
    tls: Option<RefCell<Session>>,
}

struct Session {
    connection: ClientConnection,
    /// Received and not yet deciphered.
    received: BytesMut,
}

/// The part of a plain text that is enciphered before the rest of the thread gets a turn.
const ENCIPHER_BYTES: usize = 256 << 10;

impl Transport {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// Greets the broker of this host; an error in words.
    pub(crate) async fn secure(stream: TcpStream, tls: &Tls, host: &str) -> Result<Self, String> {
        let name = match &tls.name {
            Some(name) => name.clone(),
            None => {
                ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name of a host"))?
            }
        };
        let connection =
            ClientConnection::new(tls.config.clone(), name).map_err(|error| error.to_string())?;
        let received = BytesMut::with_capacity(RECV_BYTES);
        let transport = Self { stream, tls: Some(RefCell::new(Session { connection, received })) };
        loop {
            transport.send_pending().await.map_err(|error| error.to_string())?;
            if !transport.session(|session| session.connection.is_handshaking()).unwrap_or_default() {
                return Ok(transport);
            }
            match transport.receive_more().await {
                Ok(0) => return Err("the broker closed it: does it speak TLS on this port?".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
            let told = transport.session(Session::decipher).unwrap_or(Ok(()));
            if let Err(error) = told {
                // The broker is told why, as far as it listens.
                let _ = transport.send_pending().await;
                return Err(in_words(&error));
            }
        }
    }

    fn session<T>(&self, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.tls.as_ref().map(|session| work(&mut session.borrow_mut()))
    }

    /// Sends all parts, in order.
    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        if self.tls.is_none() {
            return if parts.is_empty() { Ok(()) } else { self.stream.send(parts).await };
        }
        for mut part in parts {
            while !part.is_empty() {
                let piece = part.split_to(part.len().min(ENCIPHER_BYTES));
                self.session(|session| {
                    session.connection.set_buffer_limit(None);
                    session.connection.writer().write_all(&piece)
                })
                .unwrap_or(Ok(()))?;
                self.send_pending().await?;
            }
        }
        self.send_pending().await
    }

    /// Whether the session has something to say of itself.
    pub(crate) fn wants_to_send(&self) -> bool {
        self.session(|session| session.connection.wants_write()).unwrap_or_default()
    }

    async fn send_pending(&self) -> io::Result<()> {
        let pending = self.session(|session| {
            let mut pending = Vec::new();
            while session.connection.wants_write() {
                session.connection.write_tls(&mut pending)?;
            }
            io::Result::Ok(pending)
        });
        match pending.transpose()? {
            Some(pending) if !pending.is_empty() => self.stream.send(vec![pending.into()]).await,
            _ => Ok(()),
        }
    }

    /// Receives behind the bytes that `buffer` holds until at least `at_least` bytes have come or no more come, as
    /// [`TcpStream::recv_into`]; the buffer grows when it must.
    pub(crate) async fn recv_into(
        &self,
        mut buffer: BytesMut,
        at_least: usize,
    ) -> (io::Result<usize>, BytesMut) {
        if self.tls.is_none() {
            return self.stream.recv_into(buffer, at_least).await;
        }
        let before = buffer.len();
        loop {
            // What came with the greeting is there before the socket gives more.
            let told = self.session(|session| session.read(&mut buffer)).unwrap_or(Ok(()));
            let count = buffer.len() - before;
            match told {
                Err(error) => return (Err(error), buffer),
                Ok(()) if count >= at_least.max(1) => return (Ok(count), buffer),
                Ok(()) => {}
            }
            match self.receive_more().await {
                Ok(0) => return (Ok(count), buffer),
                Ok(_) => {}
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    /// Receives bytes to be deciphered; says how many.
    async fn receive_more(&self) -> io::Result<usize> {
        let mut received = self.session(|session| std::mem::take(&mut session.received)).unwrap_or_default();
        received.reserve(RECV_BYTES);
        let (count, received) = self.stream.recv_into(received, 1).await;
        self.session(|session| session.received = received);
        count
    }

    pub(crate) fn shutdown(&self) {
        // Whatever becomes of it, the socket is closed when it is dropped.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Session {
    /// Takes in what was received, as much as the session has room for.
    fn decipher(&mut self) -> Result<(), rustls::Error> {
        while !self.received.is_empty() {
            let mut rest = &self.received[..];
            // An error: its own buffer is full of plain text, which is for the reader to take.
            let Ok(taken) = self.connection.read_tls(&mut rest) else { return Ok(()) };
            self.received.advance(taken);
            let state = self.connection.process_new_packets()?;
            if taken == 0 || state.plaintext_bytes_to_read() > 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts all plain text there is behind `out`.
    fn read(&mut self, out: &mut BytesMut) -> io::Result<()> {
        loop {
            let state = self.connection.process_new_packets().map_err(told)?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let mut limited = out.writer();
                let copied = io::copy(&mut self.connection.reader().take(left as u64), &mut limited)?;
                left = left.saturating_sub(copied as usize);
                if copied == 0 {
                    break;
                }
            }
            if self.received.is_empty() {
                return Ok(());
            }
            let before = self.received.len();
            self.decipher().map_err(told)?;
            if self.received.len() == before {
                return Err(io::Error::other("the broker sent more than a record of TLS may hold"));
            }
        }
    }
}

fn told(error: rustls::Error) -> io::Error {
    io::Error::other(in_words(&error))
}

/// What a user can do something about.
fn in_words(error: &rustls::Error) -> String {
    use rustls::CertificateError;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no certificate in --tls-ca vouches for the broker's".to_owned()
        }
        rustls::Error::InvalidMessage(_) => "the broker does not speak TLS on this port".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the broker refused it ({alert:?})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::thread::{self, JoinHandle};

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::client::OwnCertificate;

    /// Larger than any record, window or buffer of TLS.
    const LARGE: usize = 3 << 20;

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
    }

    fn tls(authority: &str, name: Option<&str>) -> Tls {
        Tls::new(&file(authority), None, name).unwrap()
    }

    /// Greets one client and gives back what it sends, `LARGE` bytes at a time, until it goes.
    fn echo() -> (SocketAddr, JoinHandle<()>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain =
            CertificateDer::pem_file_iter(file("broker.pem")).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(file("broker.key")).unwrap();
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut session = ServerConnection::new(config).unwrap();
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            let mut bytes = vec![0; LARGE];
            while stream.read_exact(&mut bytes).is_ok() {
                stream.write_all(&bytes).unwrap();
            }
        };
        (address, thread::spawn(serve))
    }

    /// What comes of greeting a broker there.
    fn greet(address: SocketAddr, tls: Tls, host: &'static str) -> Result<(), String> {
        let greeting = move || async move {
            let stream = TcpStream::connect(address).await.unwrap();
            Transport::secure(stream, &tls, host).await.map(drop)
        };
        reactor::Builder::new("test").run(greeting).unwrap()
    }

    #[test]
    fn large_messages_go_both_ways_through_tls() {
        let (address, server) = echo();
        let (tls, sent) =
            (tls("authority.pem", None), (0..LARGE).map(|at| (at % 251) as u8).collect::<Bytes>());
        let wanted = sent.clone();
        let talk = move || async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let transport = Transport::secure(stream, &tls, "127.0.0.1").await.unwrap();
            for _ in 0..2 {
                let parts = vec![
                    sent.slice(..10),
                    sent.slice(10..10),
                    sent.slice(10..1 << 20),
                    sent.slice(1 << 20..),
                ];
                transport.send(parts).await.unwrap();
                let mut got = BytesMut::new();
                while got.len() < LARGE {
                    let missing = LARGE - got.len();
                    let before = got.len();
                    let (count, back) = transport.recv_into(got, missing.min(100_000)).await;
                    got = back;
                    assert_eq!(count.unwrap(), got.len() - before);
                    assert!(got.len() - before >= missing.min(100_000));
                }
                assert!(got == wanted);
            }
        };
        reactor::Builder::new("test").run(talk).unwrap();
        server.join().unwrap();
    }

    #[test]
    fn a_broker_that_nobody_vouches_for_or_that_has_another_name_is_not_talked_to() {
        let (stranger, _serving) = echo();
        let why = greet(stranger, tls("stranger.pem", None), "127.0.0.1").unwrap_err();
        assert_eq!(why, "no certificate in --tls-ca vouches for the broker's");
        let (other, _serving) = echo();
        let why = greet(other, tls("authority.pem", Some("elsewhere")), "127.0.0.1").unwrap_err();
        assert!(why.contains("not valid for name"), "{why}");
        let (named, _serving) = echo();
        assert_eq!(greet(named, tls("authority.pem", Some("127.0.0.1")), "somewhere"), Ok(()));
    }

    #[test]
    fn a_port_without_tls_is_said_so() {
        for answer in [&b""[..], b"not a greeting of TLS"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                let mut greeting = [0; 5];
                socket.read_exact(&mut greeting).unwrap();
                socket.write_all(answer).unwrap();
                // Closed with bytes unread, it may also be reset.
                let _ = socket.set_read_timeout(Some(std::time::Duration::from_millis(200)));
                while socket.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
            });
            let why = greet(address, tls("authority.pem", None), "127.0.0.1").unwrap_err();
            assert!(why.contains("speak TLS on this port"), "{why}");
            server.join().unwrap();
        }
    }

    #[test]
    fn files_that_are_no_certificates_are_refused_with_their_name() {
        let said = |ca: &str, own| Tls::new(&file(ca), own, None).unwrap_err().to_string();
        assert!(said("nowhere.pem", None).contains("nowhere.pem"));
        assert!(said("README.md", None).contains("README.md: it has no certificate in PEM"));
        let (chain, key) = (file("broker.pem"), file("broker.key"));
        let own = OwnCertificate { chain: &chain, key: &chain };
        assert!(said("authority.pem", Some(own)).contains("cannot use"));
        let own = OwnCertificate { chain: &chain, key: &key };
        assert!(Tls::new(&file("authority.pem"), Some(own), None).is_ok());
    }
}
