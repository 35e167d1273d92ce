//! `corelane`: the broker and its command line.
#![forbid(unsafe_code)]

fn main() {}
