//! One executor over one `io_uring`, one per core: the ground that storage and broker stand on.
//!
//! A reactor is a thread with tasks, timers and a ring. Nothing of it is shared: its types are `Rc` and `Cell`, and stay
//! on its thread. Reactors talk by waking each other's tasks, through any channel that uses standard wakers.
//!
//! **A turn of the loop** polls woken tasks within a time budget (latency first, then background), then enters the ring
//! once: to submit what the tasks asked for, to collect what has completed, and to sleep when there is nothing to do, until
//! a completion, a wake-up or the nearest timer. Nothing preempts a task: a long loop asks [`should_yield`] and awaits
//! [`yield_now`]. Polls over a millisecond are counted by name in [`Stats`].
//!
//! **Ownership of buffers.** An operation owns what the kernel reads and writes, and the descriptor, from its start to its
//! completion. Buffers go in by value and come back with the result. Dropping a future never frees memory that the kernel
//! still uses.
//!
//! **Cancellation.** Any future may be dropped at any time. Reads, receives, sends and waits are then cancelled; writes,
//! syncs and changes of names run to their end unobserved. What is lost is said at each function: `accept` and `recv` lose
//! nothing, a send that did not end breaks its stream.
//!
//! **Wake-ups are never lost.** The protocol is in the module `wake`, the soak test is its proof by trial.
//!
//! **Backends.** The API shows no ring, no descriptor and no system clock, so that a simulator can stand behind it too. This
//! is the only crate with unsafe code; in it, every unsafe block is one operation and says who keeps the promise.
//!
//! ```
//! use reactor::{Builder, Priority};
//!
//! let answer = Builder::new("example").run(|| async {
//!     let task = reactor::spawn(Priority::Latency, "adder", async { 40 + 2 });
//!     reactor::sleep(std::time::Duration::from_millis(1)).await;
//!     task.await
//! });
//! assert_eq!(answer.unwrap(), 42);
//! ```

pub mod blocking;
mod buffer;
mod builder;
mod driver;
mod executor;
pub mod faults;
mod file;
pub mod fs;
pub mod limits;
mod net;
mod new_files;
pub mod planted;
mod pool_buffer;
pub mod process;
mod ring;
mod side_thread;
pub mod signal;
#[cfg(feature = "simulator")]
pub mod sim;
mod stats;
pub mod sync;
mod syncer;
mod sys;
mod task;
mod time;
mod timer;
mod wake;

use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "simulator")]
pub(crate) use buffer::alignment_of;
pub use buffer::{FixedBuffer, aligned, fixed_buffer, is_aligned, read_buffer};
pub use builder::{Builder, JoinHandle, allowed_cpus};
pub use file::{Commit, File, OpenOptions, SharedFile, SyncMethod};
pub use net::{ListenOptions, RecvBuf, Shutdown, TcpListener, TcpStream};
pub use pool_buffer::{BufferPool, PoolBuffer, ReceiveBuffer};
pub use stats::{LongPolls, Stats, stats, take_longest_poll};
pub use task::{Priority, Task, spawn};
pub use time::{Elapsed, Instant, Sleep, now, sleep, sleep_until, timeout, wall_clock_ms};

/// True when the tasks of this turn have used up its time. Long loops ask it, and then await [`yield_now`].
///
/// # Panics
/// Outside a reactor.
pub fn should_yield() -> bool {
    executor::with(executor::Reactor::turn_is_over)
}

/// Lets other tasks run and the ring be looked at; goes on in the next turn.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// Future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        executor::with(|reactor| reactor.wake_next_turn(context.waker().clone()));
        Poll::Pending
    }
}

/// Lets other tasks run when those of this turn have used up its time; in a long loop, so often that no more than some
/// hundred microseconds lie in between.
///
/// # Panics
/// Outside a reactor.
pub async fn give_way() {
    if should_yield() {
        yield_now().await;
    }
}

/// [`give_way`] for loops with short steps: looks at the clock at every so many of them only.
#[derive(Debug)]
pub struct Pace {
    every: u32,
    left: u32,
}

impl Pace {
    /// Looks at the clock at every `every`-th step.
    pub fn every(every: u32) -> Pace {
        Pace { every, left: every }
    }

    /// One more step: true when it is time to [`give_way`].
    pub fn is_due(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.left = self.every;
        should_yield()
    }

    /// One more step. Lets other tasks run when it is time.
    pub async fn step(&mut self) {
        if self.is_due() {
            yield_now().await;
        }
    }
}

/// A number from the reactor's generator: fast, seeded by the kernel, not for secrets.
///
/// # Panics
/// Outside a reactor.
pub fn random_u64() -> u64 {
    executor::with(executor::Reactor::random)
}
