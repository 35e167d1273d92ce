//! The store on a real disk and the real reactor.

mod back_pressure;
mod flow;
mod logs;
mod model;
mod reopen;
mod support;
