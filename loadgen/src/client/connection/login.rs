//! Logging in, and doing so anew before the broker ends the session (KIP-43, KIP-152, KIP-368).
//!
//! From the first message of a login to its last the broker takes nothing else on the connection: requests wait meanwhile.
//! Those in flight are answered before.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::Notify;
use reactor::{Priority, Task};
use wire::kafka::Str;
use wire::kafka::sasl_authenticate::SaslAuthenticateRequest;
use wire::kafka::sasl_handshake::SaslHandshakeRequest;

use super::super::error::{ClientError, describe};
use super::super::sasl::Login;
use super::Shared;
use crate::limits::{CONNECT_TIMEOUT, LOGIN_STEPS_MAX, RENEWAL_TIMEOUT};

/// A login is renewed after this part of its time,
const RENEWED_AFTER: f64 = 0.85;
/// and up to so much later, so that many connections do not do it together. Both as Kafka's own client.
const RENEWED_WITHIN: f64 = 0.1;

/// What keeps requests apart from the messages of a login.
#[derive(Default)]
pub(super) struct Session {
    renewing: Cell<bool>,
    renewed: Notify,
    /// Requests on their way into the outbox.
    entering: Cell<usize>,
    entered: Notify,
    renewal: RefCell<Option<Task<()>>>,
}

/// A request on its way into the outbox.
pub(super) struct Entering<'s>(&'s Session);

impl Session {
    /// Waits until a request may be sent. Keep what it answers until the request is in the outbox.
    pub(super) async fn enter(&self) -> Entering<'_> {
        while self.renewing.get() {
            self.renewed.notified().await;
        }
        self.entering.set(self.entering.get() + 1);
        Entering(self)
    }

    /// Keeps requests out, and waits until none is on its way.
    async fn close(&self) {
        self.renewing.set(true);
        while self.entering.get() > 0 {
            self.entered.notified().await;
        }
    }

    fn open(&self) {
        self.renewing.set(false);
        self.renewed.notify_all();
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.cancel();
        }
        self.open();
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.0.entering.set(self.0.entering.get() - 1);
        self.0.entered.notify_all();
    }
}

/// Logs in on a new connection, and sees to it that the login is renewed if the broker wants that.
pub(super) async fn first(shared: &Rc<Shared>, login: &Login) -> Result<(), ClientError> {
    if let Some(lifetime) = within(CONNECT_TIMEOUT, shared, login).await? {
        let renewal = keep_renewing(Rc::clone(shared), login.clone(), lifetime);
        *shared.session.renewal.borrow_mut() =
            Some(reactor::spawn(Priority::Latency, "client-login", renewal));
    }
    Ok(())
}

async fn keep_renewing(shared: Rc<Shared>, login: Login, lifetime: Duration) {
    let mut lifetime = lifetime;
    loop {
        let chance = reactor::random_u64() as f64 / u64::MAX as f64;
        reactor::sleep(lifetime.mul_f64(RENEWED_AFTER + RENEWED_WITHIN * chance)).await;
        shared.session.close().await;
        match within(RENEWAL_TIMEOUT, &shared, &login).await {
            Ok(Some(next)) => lifetime = next,
            Ok(None) => return shared.session.open(),
            Err(error) => return shared.end(&error.to_string()),
        }
        shared.session.open();
    }
}

async fn within(
    limit: Duration,
    shared: &Rc<Shared>,
    login: &Login,
) -> Result<Option<Duration>, ClientError> {
    reactor::timeout(limit, log_in(shared, login)).await.unwrap_or_else(|_| {
        Err(ClientError::Timeout { address: shared.address.clone(), what: "SaslAuthenticate".to_owned() })
    })
}

/// Proves who we are. Answers for how long that holds, unless for ever.
async fn log_in(shared: &Rc<Shared>, login: &Login) -> Result<Option<Duration>, ClientError> {
    let failed = |why| ClientError::Login { address: shared.address.clone(), user: login.user.clone(), why };
    if shared.version::<SaslHandshakeRequest>().is_err()
        || shared.version::<SaslAuthenticateRequest>().is_err()
    {
        return Err(failed("it offers no login".to_owned()));
    }
    let mechanism = Str::from_static(login.mechanism.name());
    let offered = shared.call(&SaslHandshakeRequest { mechanism }).await?;
    if offered.error_code != 0 {
        let known: Vec<&str> = offered.mechanisms.iter().map(Str::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(failed(format!("it does not offer {}, but {known}", login.mechanism.name())));
    }
    let mut exchange = login.begin();
    let mut message = exchange.first();
    for _ in 0..LOGIN_STEPS_MAX {
        let answer = shared.call(&SaslAuthenticateRequest { auth_bytes: message }).await?;
        if answer.error_code != 0 {
            let why = answer.error_message.as_ref().map(|why| why.as_str().to_owned());
            return Err(failed(why.unwrap_or_else(|| describe(answer.error_code))));
        }
        let Some(next) = exchange.answer(&answer.auth_bytes).map_err(failed)? else {
            let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
            return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
        };
        message = next;
    }
    Err(failed("it goes on asking".to_owned()))
}
