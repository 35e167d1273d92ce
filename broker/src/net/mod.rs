//! The shell around the handlers: sockets, frames, order of answers. It takes no decision of its own.

pub mod admission;
pub mod bulk;
pub mod connection;
pub mod connections;
pub mod frame_reader;
pub mod listener;
pub mod send;
