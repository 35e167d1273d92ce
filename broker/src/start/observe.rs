//! Answers what the admin port asks of a shard, and says when a task held its core.

use std::rc::Rc;

use async_channel::Receiver;

use crate::handlers::Context;
use crate::limits::{STALL_TOLD_EVERY, STALL_TOLD_FROM};
use crate::metrics::{Ask, ShardSnapshot};
use crate::net::connections::Connections;

/// Answers until nobody can ask any more.
pub(super) async fn answer(context: Rc<Context>, connections: Rc<Connections>, asks: Receiver<Ask>) {
    while let Ok(ask) = asks.recv().await {
        // Whoever asked may have given up.
        let _ = ask.try_send(Box::new(snapshot(&context, &connections)));
    }
}

/// Says which task held the core for longest, if that was long, and at most once in [`STALL_TOLD_EVERY`].
pub(super) async fn tell_stalls(context: Rc<Context>) {
    loop {
        reactor::sleep(STALL_TOLD_EVERY).await;
        let longest = reactor::take_longest_poll().filter(|(_, held)| *held >= STALL_TOLD_FROM);
        if let Some((task, held)) = longest {
            let ms = held.as_secs_f64() * 1e3;
            tracing::warn!(shard = %context.shard.index, task, ms, "a task held the core");
        }
    }
}

fn snapshot(context: &Context, connections: &Connections) -> ShardSnapshot {
    let shard = &context.shard;
    let queued = |lengths: &mut dyn Iterator<Item = usize>| lengths.sum::<usize>() as u64;
    let calls = queued(&mut context.lane.incoming().iter().map(Receiver::len));
    let appends = queued(&mut context.produce_lane.incoming().iter().map(Receiver::len));
    ShardSnapshot {
        counters: shard.metrics.copy(),
        reactor: reactor::stats(),
        store: shard.store.stats(),
        poisoned: shard.store.poisoned(),
        connections: connections.count() as u64,
        mesh_queued: calls + appends,
        requests: shard.request_budget.snapshot(),
        partitions: shard.partition_count() as u64,
        groups: context.groups.group_count() as u64,
    }
}
