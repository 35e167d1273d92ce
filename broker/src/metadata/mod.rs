//! What both planes know: topics, partitions, nodes and their settings.
//!
//! [`records`] are the ordered, durable facts; an [`image::MetadataImage`] is what they add up to at one version.
//! Shards read images and nothing else. Decisions about new records are the control plane's.

pub mod apply;
pub mod broker_ids;
pub mod client_quotas;
pub mod describe;
pub mod ids;
pub mod image;
pub mod records;
pub mod state;
pub mod topic_config;
pub mod topic_name;
