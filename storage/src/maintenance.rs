//! What runs behind a store: writeback under pressure, checkpoints, the ring's growth, the watch on free space.

use std::cell::RefCell;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use reactor::Pace;
use reactor::sync::Permit;

use crate::checkpointer::{Goal, checkpoint};
use crate::commit_log::ring;
use crate::error::StorageError;
use crate::limits::{
    CHECKPOINT_AT_ONE_IN, GROW_AT_ONE_IN, HOUSEKEEPING_INTERVAL, LOGS_STEP, RELIEVE_TO_ONE_IN,
    RETRY_INTERVAL, RING_FILES_MAX, WRITEBACKS_MAX,
};
use crate::log::core::LogCell;
use crate::store::StoreInner;
use crate::writeback::{Extent, Sync, write_back};

/// Starts the tasks of a store.
pub(crate) async fn start(inner: &Rc<StoreInner>) -> Result<(), StorageError> {
    inner.look_at_space()?;
    inner.keep_reserve().await;
    let maintenance = run(Rc::clone(inner));
    let maintenance = reactor::spawn(reactor::Priority::Background, "storage-maintenance", maintenance);
    let growth = reactor::spawn(reactor::Priority::Background, "commit-log-growth", grow(Rc::clone(inner)));
    inner.tasks.borrow_mut().extend([maintenance, growth]);
    reactor::yield_now().await;
    Ok(())
}

async fn run(inner: Rc<StoreInner>) {
    let mut looked = reactor::now();
    let mut freed = false;
    while !inner.is_closed() {
        // Whoever waits for room may need more than one round.
        if !(freed && inner.commit.has_queue()) {
            let _ = reactor::timeout(HOUSEKEEPING_INTERVAL, inner.pressure.notified()).await;
        }
        if looked.elapsed() >= HOUSEKEEPING_INTERVAL {
            looked = reactor::now();
            housekeep(&inner).await;
        }
        if wants_growth(&inner) {
            inner.growth.notify_one();
        }
        let _turn = inner.maintenance.acquire(1).await;
        if inner.is_closed() || inner.commit.poisoned().is_some() {
            freed = false;
            continue;
        }
        let before = (inner.commit.with_ring(ring::Ring::free), inner.commit.dirty());
        let result = if inner.disk_is_full() {
            checkpoint(&inner, Goal::Everything).await.inspect(|()| inner.note_full(false))
        } else if is_crowded(&inner) {
            checkpoint(&inner, Goal::Reclaim).await
        } else if inner.commit.dirty() > inner.options.dirty_bytes / 2 || inner.commit.has_queue() {
            relieve(&inner).await
        } else {
            Ok(())
        };
        if let Err(error) = result {
            // A full disk has been told of once.
            if !error.is_no_space() {
                tracing::warn!(%error, "writeback or checkpoint failed, to be tried again");
            }
            pause(&inner, RETRY_INTERVAL).await;
        }
        let after = (inner.commit.with_ring(ring::Ring::free), inner.commit.dirty());
        freed = after.0 > before.0 || after.1 < before.1;
    }
}

/// What is looked at every second.
async fn housekeep(inner: &Rc<StoreInner>) {
    if let Err(error) = inner.look_at_space() {
        tracing::warn!(%error, "free space is not known");
    }
    inner.keep_reserve().await;
    inner.commit.mark_durable();
}

/// A quarter of the ring is in use or an append waits for room in it, and there is a file to free.
fn is_crowded(inner: &StoreInner) -> bool {
    let used = |ring: &ring::Ring| ring.total() - ring.free() >= ring.total() / CHECKPOINT_AT_ONE_IN;
    let wanted = inner.commit.wants_room() || inner.commit.with_ring(used);
    wanted && inner.commit.with_ring(|ring| !ring.closed().is_empty())
}

/// Writes dirty blocks back without a checkpoint, largest first, until a quarter of the budget is left: what is small
/// now is cheaper to write when it has grown.
async fn relieve(inner: &Rc<StoreInner>) -> Result<(), StorageError> {
    // Few of very many logs come to their turn: a heap of their ids is made, and thrown away, in less time than anything that
    // touches them all.
    let mut heap = BinaryHeap::with_capacity(inner.listed.borrow().len());
    let mut pace = Pace::every(LOGS_STEP);
    loop {
        let next = inner.listed.borrow().get(heap.len()).map(|cell| (cell.core.borrow().unhandled, cell.id));
        let Some(next) = next else { break };
        heap.push(next);
        pace.step().await;
    }
    let shared = Rc::clone(inner);
    let logs = Rc::clone(inner);
    let largest = std::iter::from_fn(move || heap.pop())
        .filter_map(move |(_, id)| logs.logs.borrow().get(&id).cloned());
    for_each(largest, move |cell| {
        let inner = Rc::clone(&shared);
        async move {
            if inner.commit.dirty() <= inner.options.dirty_bytes / RELIEVE_TO_ONE_IN {
                return Ok(ControlFlow::Break(()));
            }
            write_back(&inner, &cell, Extent::Blocks, Sync::No).await.map(ControlFlow::Continue)
        }
    })
    .await
}

/// The logs that a checkpoint looks at. Holds the store's maintenance turn: none leaves the list meanwhile.
pub(crate) async fn listed(inner: &StoreInner) -> Vec<Rc<LogCell>> {
    let mut cells = Vec::new();
    let mut pace = Pace::every(LOGS_STEP);
    loop {
        let next = inner.listed.borrow().get(cells.len()).cloned();
        let Some(cell) = next else { return cells };
        cells.push(cell);
        pace.step().await;
    }
}

/// A part of the ring is in use, or an append waits for room or was refused for want of it: a shard that is idle keeps
/// its small ring.
fn wants_growth(inner: &StoreInner) -> bool {
    let used = |ring: &ring::Ring| ring.total() - ring.free() >= ring.total() / GROW_AT_ONE_IN;
    inner.commit.has_queue() || inner.commit.is_stuck() || inner.commit.with_ring(used)
}

/// Makes ring files when the ring is used, until it has its size.
async fn grow(inner: Rc<StoreInner>) {
    while !inner.is_closed() {
        if !wants_growth(&inner) {
            inner.growth.notified().await;
            continue;
        }
        let options = &inner.options;
        let (total, number, files) =
            inner.commit.with_ring(|ring| (ring.total(), ring.next_number(), ring.len()));
        let bytes = options.ring_file_bytes;
        if total + bytes > options.commit_log_bytes || files == RING_FILES_MAX {
            return;
        }
        if !inner.has_space_for(&options.ring_dir(), bytes) {
            inner.commit.set_stuck(true);
            pause(&inner, HOUSEKEEPING_INTERVAL).await;
            continue;
        }
        match ring::make_file(&options.ring_dir(), number, bytes, options.direct).await {
            Ok(file) => {
                inner.commit.set_stuck(false);
                inner.commit.grow(file);
            }
            Err(error) => {
                inner.commit.set_stuck(error.is_no_space());
                tracing::warn!(%error, "the commit log cannot grow, to be tried again");
                pause(&inner, HOUSEKEEPING_INTERVAL).await;
            }
        }
    }
}

/// Waits, but no longer than until the store is closed.
async fn pause(inner: &StoreInner, duration: Duration) {
    if !inner.is_closed() {
        let _ = reactor::timeout(duration, inner.closing.notified()).await;
    }
}

/// Everything into segments and a checkpoint, now.
pub(crate) async fn checkpoint_now(inner: &Rc<StoreInner>) -> Result<(), StorageError> {
    let _turn = turn(inner).await?;
    checkpoint(inner, Goal::Everything).await
}

/// Waits for the turn of those that write files.
///
/// # Errors
/// [`StorageError::Gone`] when the store was closed meanwhile: its last checkpoint is written, and no other may follow,
/// which would lack the logs that are gone.
pub(crate) async fn turn(inner: &StoreInner) -> Result<Permit, StorageError> {
    let turn = inner.maintenance.acquire(1).await;
    if inner.is_closed() { Err(StorageError::Gone) } else { Ok(turn) }
}

/// See [`crate::Store::close`].
pub(crate) async fn close(inner: &Rc<StoreInner>) -> Result<(), StorageError> {
    inner.commit.refuse();
    inner.commit.durable(inner.commit.staged()).await?;
    let _turn = inner.maintenance.acquire(1).await;
    checkpoint(inner, Goal::Stop).await
}

/// Calls `f` for every item, a bounded number at a time, until it breaks off; the first error is returned when all that
/// were begun have ended.
pub(crate) async fn for_each<T, F, Fut>(
    items: impl Iterator<Item = T> + 'static,
    f: F,
) -> Result<(), StorageError>
where
    T: 'static,
    F: Fn(T) -> Fut + 'static,
    Fut: Future<Output = Result<ControlFlow<()>, StorageError>> + 'static,
{
    let (items, f) = (Rc::new(RefCell::new(items)), Rc::new(f));
    let tasks: Vec<_> = (0..WRITEBACKS_MAX)
        .map(|_| {
            let (items, f) = (Rc::clone(&items), Rc::clone(&f));
            reactor::spawn(reactor::Priority::Background, "writeback", async move {
                let mut result = Ok(());
                loop {
                    let item = items.borrow_mut().next();
                    let Some(item) = item else { return result };
                    match f(item).await {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => return result,
                        Err(error) => result = result.and(Err(error)),
                    }
                    reactor::give_way().await;
                }
            })
        })
        .collect();
    let mut result = Ok(());
    for task in tasks {
        result = result.and(task.await);
    }
    result
}
