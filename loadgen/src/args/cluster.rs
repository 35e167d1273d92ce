//! The broker, and the topic.

use std::time::Duration;

use clap::Args;

use super::parse;
use super::security::SecurityArgs;
use crate::client::{Access, ClientError, TopicSpec};

/// Whom to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    /// A broker to ask for the others.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub(crate) bootstrap: String,
    /// Threads, each with its own share of the work and its own connections.
    #[arg(long, default_value_t = 1, value_parser = parse::threads)]
    pub(crate) threads: usize,
    /// Keep each thread on a core of its own: the first on the first of these, by the system's numbers, and so on round.
    #[arg(long, value_name = "CORE,…", value_delimiter = ',', value_parser = parse::core)]
    pub(crate) pin: Vec<usize>,
    /// Longest wait for an answer.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000_000))]
    pub(crate) timeout_ms: u64,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

impl ClusterArgs {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The way to the cluster: reads the files that it needs.
    pub(crate) fn access(&self) -> Result<Access, ClientError> {
        let (bootstrap, timeout) = (self.bootstrap.clone(), self.timeout());
        Ok(Access { bootstrap, timeout, security: self.security.read()? })
    }

    /// What it says, as settings of a scenario's parts.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, Vec<String>)> {
        let security = self.security.given().into_iter();
        let security = security.map(|(key, value)| (key, value.into_iter().collect()));
        [
            ("bootstrap", vec![self.bootstrap.clone()]),
            ("threads", vec![self.threads.to_string()]),
            ("pin", self.pin.iter().map(usize::to_string).collect()),
            ("timeout_ms", vec![self.timeout_ms.to_string()]),
        ]
        .into_iter()
        .chain(security)
        .filter(|(_, values)| !values.is_empty())
    }
}

/// The broker and the topic.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: String,
    /// Create the topic with as many partitions if it does not exist; refuse it if it has another number.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replication factor of a topic that is created; -1 is the broker's default.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    replication_factor: i16,
    /// Configuration of a topic that is created.
    #[arg(long = "topic-config", value_name = "NAME=VALUE", value_parser = parse::name_and_value)]
    topic_configs: Vec<(String, String)>,
    /// How long to go on trying when the broker is away in the middle of a run, or refuses for a reason that passes;
    /// 0: the run ends at the first failure.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(..=2_000_000_000))]
    retry_ms: u64,
}

impl TargetArgs {
    pub(crate) fn topic_spec(&self) -> TopicSpec {
        TopicSpec {
            name: self.topic.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: self.topic_configs.clone(),
        }
    }

    pub(crate) fn retry_for(&self) -> Duration {
        Duration::from_millis(self.retry_ms)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.cluster.timeout()
    }
}
