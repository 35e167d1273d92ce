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

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reactor::{File, OpenOptions, fs};

use crate::error::StorageError;

/// Version of the on-disk formats that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the small text files in the folder at most.
const TEXT_BYTES_MAX: usize = 4096;

/// A data folder, locked for this process until dropped. May be held by any thread.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: fs::DirLock,
}

impl DataDir {
    /// Makes the folder if there is none, locks it and checks its version. Runs on any reactor.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::UnknownFormat`] when another version
    /// wrote it, or it has content but no version.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        fs::create_dir_all(&path).await.map_err(StorageError::io("make folder", &path))?;
        let note = format!("process {}", std::process::id());
        let lock = fs::lock(&path, "lock", &note).map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => StorageError::Locked { path: path.clone(), cause: Arc::new(cause) },
            _ => StorageError::io("lock", &path)(cause),
        })?;
        let dir = Self { path, _lock: lock };
        dir.check_format().await?;
        Ok(dir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For how many shards the folder was last used; `None` for a new one.
    pub async fn shards(&self) -> Result<Option<u32>, StorageError> {
        let path = self.path.join("shards");
        let Some(text) = read_text(&path).await? else { return Ok(None) };
        match text.trim().parse() {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(StorageError::corrupt(path, format!("{text:?} is no number of shards"))),
        }
    }

    /// Notes durably that the layout is about to change, whatever the numbers of shards before and after: until
    /// [`Self::set_shards`] the next [`place_anew`](crate::place_anew) moves every log to its place. To be called before
    /// the new places are durable.
    pub async fn set_moving(&self) -> Result<(), StorageError> {
        self.set_shards(0).await
    }

    /// Notes durably for how many shards the folder is laid out, after that is so.
    pub async fn set_shards(&self, count: u32) -> Result<(), StorageError> {
        self.replace("shards", &format!("{count}\n")).await
    }

    async fn check_format(&self) -> Result<(), StorageError> {
        let path = self.path.join("format");
        let expected = format!("corelane {FORMAT_VERSION}");
        match read_text(&path).await? {
            Some(text) if text.trim() == expected => Ok(()),
            Some(text) => Err(StorageError::UnknownFormat { path, found: text.trim().to_owned() }),
            None => {
                for sign in ["topics", "shard-0"] {
                    let sign = self.path.join(sign);
                    if fs::exists(&sign).await.map_err(StorageError::io("look for", &sign))? {
                        return Err(StorageError::UnknownFormat { path, found: String::new() });
                    }
                }
                // The folder's own name comes first: what is durable in it would be lost with it.
                let above = self.path.parent().filter(|above| !above.as_os_str().is_empty());
                let above = above.unwrap_or(Path::new("."));
                fs::sync_dir(above).await.map_err(StorageError::io("sync", above))?;
                self.replace("format", &format!("{expected}\n")).await
            }
        }
    }

    /// Replaces a small file durably: written beside, synced, renamed, folder synced.
    async fn replace(&self, name: &str, content: &str) -> Result<(), StorageError> {
        let (path, beside) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let write = async {
            let options = OpenOptions::new().write(true).create(true).truncate(true);
            let file = File::open(&beside, &options).await?;
            file.write_at(Bytes::copy_from_slice(content.as_bytes()), 0).await?;
            file.sync_all().await?;
            fs::rename(&beside, &path).await?;
            fs::sync_dir(&self.path).await
        };
        write.await.map_err(StorageError::io("write", &path))
    }
}

/// A small file's text; `None` if there is no such file.
async fn read_text(path: &Path) -> Result<Option<String>, StorageError> {
    let failed = StorageError::io("read", path);
    let file = match File::open(path, &OpenOptions::new().read(true)).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (read, bytes) = file.read_at(BytesMut::with_capacity(TEXT_BYTES_MAX), TEXT_BYTES_MAX, 0).await;
    read.map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDir, StorageError> {
        let path = path.to_path_buf();
        reactor::Builder::new("test").run(|| DataDir::open(path)).unwrap()
    }

    #[test]
    fn a_folder_in_use_is_refused_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path()).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StorageError::Locked { .. }), "{error}");
        assert!(error.to_string().contains("process"), "{error}");
        drop(held);
        open(dir.path()).unwrap();
    }

    #[test]
    fn an_unknown_version_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("format"), "corelane 2\n").unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("corelane 2"), "{error}");
    }

    #[test]
    fn data_without_a_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("topics")).unwrap();
        assert!(matches!(open(dir.path()), Err(StorageError::UnknownFormat { .. })));
    }

    #[test]
    fn the_number_of_shards_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let data = open(dir.path()).unwrap();
        let shards = async move {
            let before = data.shards().await.unwrap();
            data.set_shards(3).await.unwrap();
            (before, data.shards().await.unwrap())
        };
        assert_eq!(reactor::Builder::new("test").run(|| shards).unwrap(), (None, Some(3)));
    }
}
