//! How connections are protected, and who we say we are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::error::ClientError;
use super::sasl::Login;

/// A cluster and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// `host:port` of a broker to ask for the others.
    pub(crate) bootstrap: String,
    /// Bounds each answer and each wait for a leader.
    pub(crate) timeout: Duration,
    pub(crate) security: Security,
}

/// Of every connection to a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    pub(crate) tls: Option<Tls>,
    pub(crate) login: Option<Login>,
}

/// TLS 1.2 or 1.3.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// The name that certificates must have, where it is not the host that is connected to.
    pub(crate) name: Option<ServerName<'static>>,
}

/// Our own certificate, with those that vouch for it, and its key: both PEM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnCertificate<'p> {
    pub(crate) chain: &'p Path,
    pub(crate) key: &'p Path,
}

impl Tls {
    /// Believes the certificates that those in `ca` (PEM) vouch for.
    pub(crate) fn new(
        ca: &Path,
        own: Option<OwnCertificate<'_>>,
        name: Option<&str>,
    ) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| cannot_use(ca, &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| cannot_use(ca, &error))?.with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(OwnCertificate { chain, key }) => {
                let read = PrivateKeyDer::from_pem_file(key).map_err(|error| cannot_use(key, &error))?;
                let built = builder.with_client_auth_cert(certificates(chain)?, read);
                built.map_err(|error| cannot_use(chain, &error))?
            }
        };
        let parse = |name: &str| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                ClientError::Usage(format!("--tls-name {name} is neither a name nor an address"))
            })
        };
        Ok(Self { config: Arc::new(config), name: name.map(parse).transpose()? })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| cannot_use(path, &error))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| cannot_use(path, &error))?;
    if all.is_empty() { Err(cannot_use(path, &"it has no certificate in PEM")) } else { Ok(all) }
}

fn cannot_use(path: &Path, why: &dyn std::fmt::Display) -> ClientError {
    ClientError::Usage(format!("cannot use {}: {why}", path.display()))
}
