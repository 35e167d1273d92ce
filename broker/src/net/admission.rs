//! Which connections are taken, and when: `max.connections`, `max.connections.per.ip` and
//! `max.connection.creation.rate`, as Kafka 4.3 has them.
//!
//! Over the rate and over the total a connection waits: accepting rests, and those behind it stay in the kernel's queue.
//! Over the limit of its address a connection is closed. The rate is shared out evenly between the shards; the two limits
//! are exact, see [`ConnectionCounts`].

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use reactor::{Instant, Priority};

use crate::handlers::Context;
use crate::shard::connection_counts::ConnectionCounts;

/// How often a connection that waits for the total looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The setting that means "no limit".
const UNLIMITED: i32 = i32::MAX;

/// A connection that is counted until this is dropped.
pub struct Admitted {
    context: Rc<Context>,
    in_total: bool,
    from: Option<IpAddr>,
}

impl Admitted {
    /// A connection from an address that was allowed by [`enter`]; `None` when the address has too many.
    pub async fn from(mut self, address: IpAddr) -> Option<Admitted> {
        // The same client by both protocols.
        let address = address.to_canonical();
        let max = self.context.config.connections_max_of(address);
        if max == UNLIMITED {
            return Some(self);
        }
        let shard = ConnectionCounts::shard_of(address, self.context.lane.shards());
        let enter = move |owner: Rc<Context>| async move {
            owner.connection_counts.enter_from(address, max.max(0) as u64)
        };
        if !self.context.on_shard(shard, enter).await.unwrap_or(false) {
            return None;
        }
        self.from = Some(address);
        Some(self)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let (context, in_total, from) = (self.context.clone(), self.in_total, self.from);
        if !in_total && from.is_none() {
            return;
        }
        let leave = async move {
            if in_total {
                let leave = |owner: Rc<Context>| async move { owner.connection_counts.leave() };
                // A shard that is gone counts nothing any more; so below.
                let _ = context.on_shard(ConnectionCounts::TOTAL, leave).await;
            }
            if let Some(address) = from {
                let shard = ConnectionCounts::shard_of(address, context.lane.shards());
                let leave = move |owner: Rc<Context>| async move {
                    owner.connection_counts.leave_from(address);
                };
                let _ = context.on_shard(shard, leave).await;
            }
        };
        reactor::spawn(Priority::Latency, "connection-leave", leave).detach();
    }
}

/// Waits until the node has room for one more connection.
pub async fn enter(context: &Rc<Context>) -> Admitted {
    let max = context.config.network.max_connections;
    if max == UNLIMITED {
        return Admitted { context: context.clone(), in_total: false, from: None };
    }
    let started = reactor::now();
    loop {
        let enter = move |owner: Rc<Context>| async move { owner.connection_counts.enter(max.max(0) as u64) };
        if context.on_shard(ConnectionCounts::TOTAL, enter).await.unwrap_or(false) {
            count_wait(context, started.elapsed());
            return Admitted { context: context.clone(), in_total: true, from: None };
        }
        reactor::sleep(LOOK_AGAIN).await;
    }
}

fn count_wait(context: &Context, time: Duration) {
    context.shard.metrics.accept_throttle_us.add(time.as_micros() as u64);
}

/// How fast one shard may accept: so many a second, and as many at once when it has rested for a second.
pub struct Pace {
    per_second: f64,
    saved: Cell<f64>,
    counted: Cell<Instant>,
}

impl Pace {
    /// The pace of one of `shards` shards; `None` without a limit.
    pub fn of(rate: i32, shards: u32) -> Option<Pace> {
        let per_second = f64::from(rate.max(0)) / f64::from(shards);
        let pace = Pace { per_second, saved: Cell::new(1.0), counted: Cell::new(reactor::now()) };
        (rate != UNLIMITED).then_some(pace)
    }

    /// Waits until one more connection may be accepted.
    pub async fn next(&self, context: &Context) {
        let started = reactor::now();
        loop {
            match self.take(reactor::now()) {
                None => return count_wait(context, started.elapsed()),
                Some(wait) => reactor::sleep(wait).await,
            }
        }
    }

    /// Takes one of those saved up, or says how long to wait.
    fn take(&self, now: Instant) -> Option<Duration> {
        let earned = now.since(self.counted.replace(now)).as_secs_f64() * self.per_second;
        let saved = (self.saved.get() + earned).min(self.per_second.max(1.0));
        if saved >= 1.0 {
            self.saved.set(saved - 1.0);
            return None;
        }
        self.saved.set(saved);
        // A rate of 0 is looked at again, and never granted.
        Some(Duration::from_secs_f64(((1.0 - saved) / self.per_second).clamp(0.001, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_allows_so_many_a_second_and_a_burst_of_one_second() {
        let start = reactor::now();
        let pace = Pace { per_second: 10.0, saved: Cell::new(10.0), counted: Cell::new(start) };
        let taken_at = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            (0..100).filter(|_| pace.take(now).is_none()).count()
        };
        assert_eq!([taken_at(0), taken_at(1), taken_at(5)], [10, 10, 10]);
        let wait = pace.take(start + Duration::from_secs(5)).unwrap();
        assert!((0.09..=0.11).contains(&wait.as_secs_f64()), "{wait:?}");
        let never = Pace { per_second: 0.0, saved: Cell::new(0.0), counted: Cell::new(start) };
        assert_eq!(never.take(start + Duration::from_secs(9)), Some(Duration::from_secs(1)));
    }
}
