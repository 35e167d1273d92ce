//! The Kafka protocol.

pub mod batch_builder;
pub mod compression;
pub mod record;
pub mod record_batch;
mod record_source;
pub mod record_validation;
pub mod record_walk;
