//! Load and latency of any broker that speaks the Kafka protocol.
#![forbid(unsafe_code)]

fn main() {}
