//! Logins that hold for a while (KIP-368), with the strictness of a Kafka broker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::kafka::ApiKey;
use wire::kafka::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use wire::kafka::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};

/// Who logged in, on all connections.
#[derive(Debug)]
pub(crate) struct Logins {
    /// How long a login holds, as is said; what comes later is taken, too, so that slow machines pass.
    lifetime: Duration,
    pub(crate) first: AtomicU32,
    pub(crate) renewed: AtomicU32,
    /// Requests without a login, behind its end or in the middle of one.
    pub(crate) refused: AtomicU32,
}

impl Logins {
    pub(crate) fn lasting(lifetime: Duration) -> Self {
        let none = || AtomicU32::new(0);
        Self { lifetime, first: none(), renewed: none(), refused: none() }
    }
}

/// Of one connection.
#[derive(Default)]
pub(super) struct Session {
    until: Option<Instant>,
    /// The mechanism is agreed upon, and the proof is awaited.
    agreed: bool,
}

impl Session {
    /// Whether a request may come now.
    pub(super) fn admits(&self, logins: &Logins, api: ApiKey) -> bool {
        let admitted = match api {
            ApiKey::SaslHandshake => !self.agreed,
            ApiKey::SaslAuthenticate => self.agreed,
            ApiKey::ApiVersions if self.until.is_none() => !self.agreed,
            _ => !self.agreed && self.until.is_some_and(|until| Instant::now() < until),
        };
        logins.refused.fetch_add(u32::from(!admitted), Ordering::Relaxed);
        admitted
    }

    pub(super) fn agree(&mut self, request: &SaslHandshakeRequest) -> SaslHandshakeResponse {
        assert_eq!(request.mechanism.as_str(), "PLAIN");
        self.agreed = true;
        // Long enough for somebody who does not keep others out meanwhile.
        std::thread::sleep(Duration::from_millis(20));
        SaslHandshakeResponse { error_code: 0, mechanisms: vec!["PLAIN".into()] }
    }

    pub(super) fn authenticate(
        &mut self,
        logins: &Logins,
        request: &SaslAuthenticateRequest,
    ) -> SaslAuthenticateResponse {
        assert_eq!(request.auth_bytes, Bytes::from_static(b"\0alice\0secret"));
        let counter = if self.until.is_none() { &logins.first } else { &logins.renewed };
        counter.fetch_add(1, Ordering::Relaxed);
        self.agreed = false;
        self.until = Some(Instant::now() + 60 * logins.lifetime);
        let session_lifetime_ms = logins.lifetime.as_millis() as i64;
        SaslAuthenticateResponse { session_lifetime_ms, ..SaslAuthenticateResponse::default() }
    }
}
