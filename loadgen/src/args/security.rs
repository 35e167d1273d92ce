//! TLS and SASL.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::client::{ClientError, Login, Mechanism, OwnCertificate, Secret, Security, Tls};

/// How connections are protected, and who logs in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SecurityArgs {
    /// Speak TLS with brokers whose certificate one of those in this PEM file vouches for.
    #[arg(long, help_heading = "Security", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Our own certificate and those that vouch for it (PEM), for brokers that ask for one.
    #[arg(long, help_heading = "Security", value_name = "FILE", requires = "tls_ca", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, help_heading = "Security", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name that brokers' certificates must have, where it is not the host that is connected to.
    #[arg(long, help_heading = "Security", value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
    /// Log in with SASL.
    #[arg(
        long,
        help_heading = "Security",
        value_name = "NAME",
        requires = "sasl_user",
        requires = "sasl_password_file"
    )]
    sasl_mechanism: Option<Mechanism>,
    #[arg(long, help_heading = "Security", value_name = "USER", requires = "sasl_mechanism")]
    sasl_user: Option<String>,
    /// A file whose first line is the password: what stands on a command line others can read.
    #[arg(long, help_heading = "Security", value_name = "FILE", requires = "sasl_mechanism")]
    sasl_password_file: Option<PathBuf>,
}

impl SecurityArgs {
    /// The security protocol, as brokers call it.
    pub(crate) fn protocol(&self) -> &'static str {
        match (&self.tls_ca, self.sasl_mechanism) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }

    /// Reads the files.
    pub(crate) fn read(&self) -> Result<Security, ClientError> {
        let own = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let own = own.map(|(chain, key)| OwnCertificate { chain, key });
        let tls = self.tls_ca.as_deref().map(|ca| Tls::new(ca, own, self.tls_name.as_deref())).transpose()?;
        let login = match (self.sasl_mechanism, &self.sasl_user, self.sasl_password_file.as_deref()) {
            (Some(mechanism), Some(user), Some(file)) => {
                Some(Login { mechanism, user: user.clone(), password: password(file)? })
            }
            _ => None,
        };
        Ok(Security { tls, login })
    }

    /// What it says, as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let given = self.given().into_iter().filter_map(|(key, value)| Some((key, value?)));
        given.map(|(key, value)| format!("--{}={value}", key.replace('_', "-"))).collect()
    }

    /// What it says, as settings of a scenario's parts.
    pub(super) fn given(&self) -> [(&'static str, Option<String>); 7] {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        [
            ("tls_ca", path(&self.tls_ca)),
            ("tls_cert", path(&self.tls_cert)),
            ("tls_key", path(&self.tls_key)),
            ("tls_name", self.tls_name.clone()),
            ("sasl_mechanism", self.sasl_mechanism.map(|mechanism| mechanism.name().to_owned())),
            ("sasl_user", self.sasl_user.clone()),
            ("sasl_password_file", path(&self.sasl_password_file)),
        ]
    }
}

fn password(file: &Path) -> Result<Secret, ClientError> {
    let text = fs::read_to_string(file);
    let text =
        text.map_err(|cause| ClientError::Local { what: format!("cannot read {}", file.display()), cause })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => Err(ClientError::Usage(format!("{} has no password in its first line", file.display()))),
    }
}
