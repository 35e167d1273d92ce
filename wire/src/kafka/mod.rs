//! The Kafka protocol: frames, headers, and one file per API.
//!
//! A file of an API (`produce.rs`, `fetch.rs`, …) holds its request and response as declarations of the one macro in
//! [`message`]; the names are those of Kafka's message schemas, in `snake_case` for fields.
//! The straight line of a request: [`frame::body_len`] → [`header::RequestHeader::decode`] → [`message::Message::decode`]
//! of the API's request; of a response: [`frame::response`] → [`writer::Encoded`].

#[macro_use]
pub mod message;

pub mod api_key;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod reader;
#[cfg(feature = "sample")]
pub mod sample;
pub mod types;
pub mod writer;

pub mod batch_builder;
pub mod compression;
pub mod record;
pub mod record_batch;
mod record_source;
pub mod record_validation;
pub mod record_walk;

pub mod add_partitions_to_txn;
pub mod alter_client_quotas;
pub mod alter_configs;
pub mod api_versions;
pub mod consumer_offsets;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod end_txn;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use message::{Message, Request};
pub use reader::{DecodeError, Reader};
pub use types::{Float64, Str, Uuid};
pub use writer::{Encoded, Records, Writer};
