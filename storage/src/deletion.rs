//! Deleting a log.
//!
//! Order: the metadata log knows durably that the id is gone (the caller's part); the log leaves memory and serves
//! nobody; its folder is unlinked; the next checkpoint no longer names it. A crash in between leaves a log that the
//! catalog proves deleted, and recovery finishes the work.

use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::error::StorageError;
use crate::limits::UNLINKS_A_TURN;
use crate::log::core::Health;
use crate::store::StoreInner;
use crate::types::LogId;

/// See [`crate::Store::delete_log`].
pub(crate) async fn delete(inner: &Rc<StoreInner>, id: LogId) -> Result<(), StorageError> {
    let Some(cell) = inner.logs.borrow_mut().remove(&id) else { return Ok(()) };
    let (name, unhandled) = {
        let mut core = cell.core.borrow_mut();
        if core.health == Health::Offline {
            inner.counters.offline_logs.set(inner.counters.offline_logs.get() - 1);
        }
        core.health = Health::Gone;
        core.tail.clear();
        core.producers.clear();
        (Rc::clone(&core.name), std::mem::take(&mut core.unhandled))
    };
    cell.notify_grew();
    inner.commit.handled(unhandled);
    inner.cold.forget_log(id);
    // Not while writeback may have the log's files open and make new ones.
    let _turn = crate::maintenance::turn(inner).await?;
    remove_dir(&inner.log_dir(id, &name)).await?;
    crate::salvage::remove(&inner.options, id).await?;
    inner.removed.borrow_mut().push(id);
    Ok(())
}

/// Removes a log's folder, a few files a turn. None is fine.
pub(crate) async fn remove_dir(dir: &Path) -> Result<(), StorageError> {
    let entries = match reactor::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io("read folder", dir)(error)),
    };
    for (count, entry) in entries.iter().enumerate() {
        if count % UNLINKS_A_TURN == UNLINKS_A_TURN - 1 {
            reactor::yield_now().await;
        }
        let path = dir.join(&entry.name);
        reactor::fs::remove_file(&path).await.map_err(StorageError::io("remove", &path))?;
    }
    reactor::fs::remove_dir_all(dir).await.map_err(StorageError::io("remove folder", dir))
}
