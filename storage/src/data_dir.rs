//! The data folder: one process at a time, of one format.
//!
//! ```text
//! <data>/format               "corelane 1": version of everything below, written first
//! <data>/shards               number of shards that the rings and checkpoints below are for
//! <data>/lock                 held by the running process
//! <data>/topics/<topic>-<partition>-<log id>/…   segments, whichever shard they belong to
//! <data>/shard-<n>/ring-<n>.log, checkpoint-0, checkpoint-1
//! <data>/metadata/…           the control plane's
//! ```
//!
//! Crash order: `format` is durable before anything else is made, so a folder with data always says its version.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StorageError;

/// Version of the on-disk formats that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// A data folder, locked for this process until dropped. May be held by any thread.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: reactor::fs::DirLock,
}

impl DataDir {
    /// Makes the folder if there is none, locks it and checks its version. Blocks the thread; needs no reactor.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::UnknownFormat`] when another version
    /// wrote it, or it has content but no version.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        std::fs::create_dir_all(&path).map_err(StorageError::io("make folder", &path))?;
        let note = format!("process {}", std::process::id());
        let lock = reactor::fs::lock(&path, "lock", &note).map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => StorageError::Locked { path: path.clone(), cause: Arc::new(cause) },
            _ => StorageError::io("lock", &path)(cause),
        })?;
        let dir = Self { path, _lock: lock };
        dir.check_format()?;
        Ok(dir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For how many shards the folder was last used; `None` for a new one.
    pub fn shards(&self) -> Result<Option<u32>, StorageError> {
        let path = self.path.join("shards");
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(count) => Ok(Some(count)),
                Err(_) => Err(StorageError::corrupt(path, format!("{text:?} is no number of shards"))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// Notes durably for how many shards the folder is laid out, after that is so.
    pub fn set_shards(&self, count: u32) -> Result<(), StorageError> {
        self.replace("shards", &format!("{count}\n"))
    }

    fn check_format(&self) -> Result<(), StorageError> {
        let path = self.path.join("format");
        let expected = format!("corelane {FORMAT_VERSION}");
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim() == expected => Ok(()),
            Ok(text) => Err(StorageError::UnknownFormat { path, found: text.trim().to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.path.join("topics").exists() || self.path.join("shard-0").exists() {
                    return Err(StorageError::UnknownFormat { path, found: String::new() });
                }
                self.replace("format", &format!("{expected}\n"))
            }
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// Replaces a small file durably: written beside, synced, renamed, folder synced.
    fn replace(&self, name: &str, content: &str) -> Result<(), StorageError> {
        let (path, beside) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)?;
            std::fs::File::open(&self.path)?.sync_all()
        };
        write().map_err(StorageError::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, StorageError::Locked { .. }), "{error}");
        assert!(error.to_string().contains("process"), "{error}");
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn an_unknown_version_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("format"), "corelane 2\n").unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("corelane 2"), "{error}");
    }

    #[test]
    fn data_without_a_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("topics")).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(StorageError::UnknownFormat { .. })));
    }

    #[test]
    fn the_number_of_shards_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.shards().unwrap(), None);
        data.set_shards(3).unwrap();
        assert_eq!(data.shards().unwrap(), Some(3));
    }
}
