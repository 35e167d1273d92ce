//! A topic for one point: made before it, deleted after it.

use reactor::Builder;
use wire::kafka::ErrorCode;

use crate::client::{Access, ClientError, Cluster, TopicSpec};

/// Deleted topics are to free their disk at once, where a broker can be told so: points follow each other closely.
const DELETE_AT_ONCE: (&str, &str) = ("file.delete.delay.ms", "0");

/// Whose topics.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) access: Access,
    pub(crate) configs: Vec<(String, String)>,
}

impl Topics {
    pub(crate) fn make(&self, name: &str, partitions: u32) -> Result<(), ClientError> {
        let mut spec = TopicSpec {
            name: name.to_owned(),
            partitions: Some(i32::try_from(partitions).unwrap_or(i32::MAX)),
            replication_factor: 1,
            configs: self.configs.clone(),
        };
        let plain = spec.clone();
        spec.configs.push((DELETE_AT_ONCE.0.to_owned(), DELETE_AT_ONCE.1.to_owned()));
        let access = self.access.clone();
        let make = || async move {
            let cluster = Cluster::connect(&access).await?;
            match cluster.ensure_topic(&spec).await {
                Err(ClientError::Broker { code, .. }) if code == ErrorCode::InvalidConfig.code() => {
                    cluster.ensure_topic(&plain).await.map(drop)
                }
                made => made.map(drop),
            }
        };
        Builder::new("profile-setup").run(make).map_err(ClientError::no_reactor)?
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), ClientError> {
        let (access, name) = (self.access.clone(), name.to_owned());
        let delete = || async move { Cluster::connect(&access).await?.delete_topic(&name).await };
        Builder::new("profile-setup").run(delete).map_err(ClientError::no_reactor)?
    }
}
