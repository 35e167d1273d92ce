//! Time: instants of the reactor's clock, sleeping, time-outs. Code above the reactor uses no other clock, so that a
//! simulator can give it another one.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::executor;
use crate::sys;
use crate::timer::TimerId;

/// A moment of the monotonic clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The moment that lies `ns` nanoseconds after the clock's start.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Time since this moment.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The monotonic clock, read now. Also works outside a reactor.
pub fn now() -> Instant {
    #[cfg(feature = "simulator")]
    if let Some(ns) = crate::sim::clock::now_ns() {
        return Instant(ns);
    }
    Instant(sys::monotonic_ns())
}

/// For how long this thread has had a core. In the simulator all time is its own.
pub(crate) fn thread_cpu() -> Duration {
    #[cfg(feature = "simulator")]
    if let Some(ns) = crate::sim::clock::now_ns() {
        return Duration::from_nanos(ns);
    }
    Duration::from_nanos(sys::thread_cpu_ns())
}

/// Milliseconds since 1970 of the wall clock. For timestamps that others see, never for measuring time.
pub fn wall_clock_ms() -> i64 {
    #[cfg(feature = "simulator")]
    if let Some(ns) = crate::sim::clock::now_ns() {
        return crate::sim::clock::wall_ms(ns);
    }
    (sys::realtime_ns() / 1_000_000) as i64
}

/// Completes after `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Completes at `deadline`, at once if that has passed.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None, not_send: PhantomData }
}

/// Future of [`sleep`]. Dropping it removes the timer.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Option<TimerId>,
    /// The timer belongs to the thread that polled this first.
    not_send: PhantomData<*const ()>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        executor::with(|reactor| {
            let mut timers = reactor.timers().borrow_mut();
            match self.timer {
                Some(id) if timers.has_fired(id) => {
                    self.timer = None;
                    return Poll::Ready(());
                }
                Some(id) => timers.set_waker(id, context.waker()),
                None if now() >= self.deadline => return Poll::Ready(()),
                None => self.timer = Some(timers.insert(self.deadline, context.waker().clone())),
            }
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            // The waker is dropped after the timers are free again: it may be anybody's.
            let _waker = executor::try_with(|reactor| {
                reactor.and_then(|reactor| reactor.timers().borrow_mut().remove(id))
            });
        }
    }
}

/// The time allowed for something has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for Elapsed {}

/// Waits for `future`, but no longer than `duration`; the future is dropped when the time is up.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep(duration));
    std::future::poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        timer.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}
