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

/// A log that serves nobody any more and whose files are still there. Dropped, they stay until the next start.
#[must_use = "the files stay until they are removed"]
pub struct Retired {
    inner: Rc<StoreInner>,
    id: LogId,
    name: Rc<str>,
}

/// See [`crate::Store::retire_log`].
pub(crate) fn retire(inner: &Rc<StoreInner>, id: LogId) -> Option<Retired> {
    let cell = inner.logs.borrow_mut().remove(&id)?;
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
    Some(Retired { inner: Rc::clone(inner), id, name })
}

impl Retired {
    /// `<topic>-<partition>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes the files. Readers that hold one may go on.
    ///
    /// # Errors
    /// The system's; [`StorageError::Gone`] when the store was closed meanwhile: the next start removes them.
    pub async fn remove_files(self) -> Result<(), StorageError> {
        let Retired { inner, id, name } = self;
        // Not while writeback may have the log's files open and make new ones.
        let _turn = crate::maintenance::turn(&inner).await?;
        remove_dir(&inner.log_dir(id, &name)).await?;
        crate::salvage::remove(&inner.options, id).await?;
        inner.removed.borrow_mut().push(id);
        Ok(())
    }
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
