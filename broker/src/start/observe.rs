//! Answers what the admin port asks of a shard.

use std::rc::Rc;

use async_channel::Receiver;

use crate::handlers::Context;
use crate::metrics::{Ask, ShardSnapshot};
use crate::net::connections::Connections;

/// Answers until nobody can ask any more.
pub(super) async fn answer(context: Rc<Context>, connections: Rc<Connections>, asks: Receiver<Ask>) {
    while let Ok(ask) = asks.recv().await {
        // Whoever asked may have given up.
        let _ = ask.try_send(Box::new(snapshot(&context, &connections)));
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
