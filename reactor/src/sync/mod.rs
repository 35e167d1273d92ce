//! Waiting between tasks of one reactor. Nothing here is `Send`; across reactors use any runtime-agnostic channel.
//!
//! All of it is fair (first come, first served), and a waiter that is dropped after it was chosen passes its turn on.

mod notify;
mod oneshot;
mod queue;
mod semaphore;
mod waiters;

pub use notify::{Notified, Notify};
pub use oneshot::{Closed, Receiver, Sender, oneshot};
pub use queue::{Queue, QueueClosed};
pub use semaphore::{Acquire, Permit, Semaphore};
