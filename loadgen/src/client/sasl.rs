//! Saying who we are, before the first request (KIP-43, KIP-152).

use std::fmt;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::scram::{Hash, Scram};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mechanism {
    /// The password itself: over TLS only, if it is worth anything.
    #[value(name = "PLAIN")]
    Plain,
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A password; never printed.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Who we are.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) mechanism: Mechanism,
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// One proof of it: our messages and the broker's by turns.
pub(crate) struct Exchange<'l> {
    login: &'l Login,
    scram: Option<Scram>,
}

impl Login {
    pub(crate) fn begin(&self) -> Exchange<'_> {
        self.begin_with(nonce())
    }

    fn begin_with(&self, nonce: String) -> Exchange<'_> {
        let scram = |hash| Scram::new(hash, &self.user, nonce);
        let scram = match self.mechanism {
            Mechanism::Plain => None,
            Mechanism::ScramSha256 => Some(scram(Hash::Sha256)),
            Mechanism::ScramSha512 => Some(scram(Hash::Sha512)),
        };
        Exchange { login: self, scram }
    }
}

impl Exchange<'_> {
    /// Our first message.
    pub(crate) fn first(&self) -> Bytes {
        let Login { user, password, .. } = self.login;
        match &self.scram {
            Some(scram) => scram.begin().into(),
            // RFC 4616; nobody else is acted for.
            None => format!("\0{user}\0{}", password.0).into(),
        }
    }

    /// Our answer to the broker's message; `None` when all is said.
    pub(crate) fn answer(&mut self, message: &[u8]) -> Result<Option<Bytes>, String> {
        match &mut self.scram {
            Some(scram) => Ok(scram.answer(message, &self.login.password.0)?.map(Bytes::from)),
            None => Ok(None),
        }
    }
}

/// Chance in printable letters. The kernel gives it; were it ever to refuse, the time is as good as anything: the nonce of a
/// load generator guards nothing but its own login.
fn nonce() -> String {
    let mut bytes = [0_u8; 24];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&reactor::now().as_ns().to_be_bytes());
    }
    bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(mechanism: Mechanism) -> Login {
        Login { mechanism, user: "alice".to_owned(), password: Secret::new("s3cret".to_owned()) }
    }

    #[test]
    fn plain_says_all_in_its_first_message() {
        let login = login(Mechanism::Plain);
        let mut exchange = login.begin();
        assert_eq!(exchange.first(), &b"\0alice\0s3cret"[..]);
        assert_eq!(exchange.answer(b""), Ok(None));
    }

    #[test]
    fn scram_never_sends_the_password_and_each_login_has_its_own_nonce() {
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let login = login(mechanism);
            let (mut exchange, other) = (login.begin_with("abc".to_owned()), login.begin());
            assert_eq!(exchange.first(), &b"n,,n=alice,r=abc"[..]);
            assert_ne!(other.first(), login.begin().first());
            let proof = exchange.answer(b"r=abcdef,s=c2FsdA==,i=4096").unwrap().unwrap();
            assert!(proof.starts_with(b"c=biws,r=abcdef,p=") && !proof.windows(6).any(|at| at == b"s3cret"));
            assert!(exchange.answer(b"v=AAAA").is_err());
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        assert!(!format!("{:?}", login(Mechanism::Plain)).contains("s3cret"));
    }
}
