//! Protocols as bytes and back: Kafka's messages and record batches.
//!
//! This crate does no I/O, keeps no clock and never panics on bytes: what a peer sent is either a value or an error.
//! Values borrow from the frame they arrived in ([`bytes::Bytes`] slices), so a decoded message costs its vectors and
//! nothing per field, and record batches are passed on without being copied or understood.
#![forbid(unsafe_code)]

pub mod kafka;
pub mod limits;
