//! Large sends and receives, a few of which a shard begins in a turn.
//!
//! The kernel copies on this thread, when it is told to send or receive and the socket is ready. A crowd of clients that send
//! or ask for much would make one turn as long as all their copies; with this it is as long as a few, and clients that send
//! and ask for little do not wait for the others. A socket that is not ready keeps nobody else from beginning.

use std::future::Future;

use futures_util::future::join;
use reactor::sync::Semaphore;

use crate::limits;

/// Bytes of the next step of something large: few when others have begun one in this turn, so that they take turns.
pub fn step(turns: &Semaphore) -> usize {
    let alone = turns.available() == limits::BULK_BEGUN_A_TURN;
    if alone { limits::STEP_BYTES_ALONE } else { limits::STEP_BYTES }
}

/// Runs `copy`, which copies up to so many bytes, when it is its turn to begin. `turns` has as many permits as may begin in a
/// turn of the shard.
pub async fn begin<T>(turns: &Semaphore, bytes: usize, copy: impl Future<Output = T>) -> T {
    if bytes < limits::BULK_BYTES {
        return copy.await;
    }
    let permit = turns.acquire(1).await;
    let begun = async {
        // In the next turn the kernel has copied what there was or had room.
        reactor::yield_now().await;
        drop(permit);
    };
    join(copy, begun).await.0
}
