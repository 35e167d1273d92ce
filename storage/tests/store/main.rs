//! The store on a real disk and the real reactor.

#![allow(clippy::unwrap_used, clippy::expect_used)] // these are tests; clippy knows only of `#[test]` functions

mod back_pressure;
mod damage;
mod first_reads;
mod flow;
mod logs;
mod model;
mod reopen;
mod shards;
mod support;
mod together;
