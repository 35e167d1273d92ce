//! The coordinator by scenario, in virtual time, against a log that is a vector.

mod admin;
mod failures;
mod host;
mod join;
mod members;
mod offsets;
mod random;
mod reload;
mod shell;
mod static_members;
mod sync;
mod world;
