//! Room on the disk: a state of the store, not a fault.
//!
//! Appends are refused ([`StageError::NoSpace`](crate::StageError::NoSpace), which clients try again) while there is
//! *little* space, less than `free_bytes_min` beside what writeback has yet to write; or while the disk is *full*: the
//! file system has refused a write, for a quota too. Little space ends when there is an eighth more than that; a full
//! disk when everything could be written. Reads, deletions and retention go on: what they must write, a checkpoint,
//! has a reserve of its own, a file that is given up when a checkpoint finds no room and made again when there is.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use reactor::{File, OpenOptions};

use crate::error::StorageError;
use crate::limits::{CHECKPOINT_RESERVE_BYTES, HYSTERESIS_ONE_IN};
use crate::store::StoreInner;

/// What is known of the disk.
#[derive(Default)]
pub(crate) struct Space {
    little: Cell<bool>,
    full: Cell<bool>,
    /// The reserve is there.
    reserved: Cell<bool>,
}

impl StoreInner {
    /// Appends are refused.
    pub(crate) fn no_space(&self) -> bool {
        self.space.little.get() || self.space.full.get()
    }

    /// The file system has refused a write, and not taken everything since.
    pub(crate) fn disk_is_full(&self) -> bool {
        self.space.full.get()
    }

    /// Asks the file system.
    pub(crate) fn look_at_space(&self) -> Result<(), StorageError> {
        let free = self.free_space()?;
        let wanted = self.options.free_bytes_min.saturating_add(self.commit.dirty());
        let more = if self.space.little.get() { self.options.free_bytes_min / HYSTERESIS_ONE_IN } else { 0 };
        self.note_space(free < wanted.saturating_add(more), self.space.full.get());
        Ok(())
    }

    /// Notes whether the file system took everything, or refused a write.
    pub(crate) fn note_full(&self, full: bool) {
        self.note_space(self.space.little.get(), full);
    }

    /// Whether so many more bytes may be taken for what is not urgent.
    pub(crate) fn has_space_for(&self, dir: &Path, bytes: u64) -> bool {
        let free = reactor::fs::free_space(dir).unwrap_or(0);
        !self.no_space() && free >= self.options.free_bytes_min.saturating_add(bytes)
    }

    fn free_space(&self) -> Result<u64, StorageError> {
        let dir = &self.options.data_dir;
        reactor::fs::free_space(dir).map_err(StorageError::io("ask the free space of", dir))
    }

    fn note_space(&self, little: bool, full: bool) {
        let before = self.no_space();
        self.space.little.set(little);
        self.space.full.set(full);
        let now = self.no_space();
        if before == now {
            return;
        }
        self.commit.set_no_space(now);
        let folder = self.options.data_dir.display().to_string();
        let reserve = self.options.free_bytes_min;
        if now {
            tracing::error!(folder, reserve, full, "no space: appends are refused, all else goes on");
        } else {
            tracing::warn!(folder, reserve, "space again: appends are taken");
        }
    }

    /// Makes the reserve of checkpoints when it is not there and there is space for it.
    pub(crate) async fn keep_reserve(&self) {
        let dir = self.options.shard_dir();
        let unwanted = self.options.free_bytes_min == 0 || self.space.reserved.get();
        if unwanted || !self.has_space_for(&dir, CHECKPOINT_RESERVE_BYTES) {
            return;
        }
        match make(&reserve_path(&dir)).await {
            Ok(()) => self.space.reserved.set(true),
            Err(error) => tracing::warn!(%error, "no reserve for checkpoints, to be tried again"),
        }
    }

    /// Gives up the reserve; says whether there was one.
    pub(crate) async fn give_up_reserve(&self) -> bool {
        self.space.reserved.set(false);
        give_up(&self.options.shard_dir()).await
    }
}

/// Gives up the reserve in a shard's folder when the file system is nearly full: a start writes a checkpoint.
pub(crate) async fn make_room_to_start(shard_dir: &Path) {
    let free = reactor::fs::free_space(shard_dir).unwrap_or(u64::MAX);
    if free < CHECKPOINT_RESERVE_BYTES && give_up(shard_dir).await {
        tracing::warn!(folder = %shard_dir.display(), free, "no space: the reserve of checkpoints is used");
    }
}

async fn give_up(shard_dir: &Path) -> bool {
    reactor::fs::remove_file(&reserve_path(shard_dir)).await.is_ok()
}

fn reserve_path(shard_dir: &Path) -> PathBuf {
    shard_dir.join("reserve")
}

async fn make(path: &Path) -> std::io::Result<()> {
    let file = File::open(path, &OpenOptions::new().write(true).create(true)).await?;
    file.allocate(0, CHECKPOINT_RESERVE_BYTES).await
}
