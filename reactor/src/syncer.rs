//! Syncing a whole file system, on a thread of its own ([`side_thread`](crate::side_thread)): the ring has no operation for
//! `syncfs`, and it blocks for as long as the disk takes, seconds where others have much to write.
//!
//! Calls are not answered together: the kernel tells each open file once of the writes that failed, so what was said to one
//! says nothing to another. The second of two finds little left to write.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::File;
use crate::faults::FileOp;
use crate::limits::FILE_SYSTEM_SYNCS_MAX;
use crate::ring::path::c_string;
use crate::side_thread::SideThread;
use crate::sys;

static THREAD: SideThread = SideThread::new("sync", FILE_SYSTEM_SYNCS_MAX);

/// Writes everything that is dirty on the file system of an open file or folder, whoever wrote it, and waits for the disk
/// (`syncfs`). What was written before this call is covered, also past the page cache and through files since closed.
///
/// **The device's cache** may still hold it: XFS flushes that only when its log has something to write. An fdatasync of any
/// file there, begun after this has returned, flushes the device.
///
/// # Errors
/// The system's. A write that failed of *any* file there is told once to each open file, since it was opened; so who wants
/// to know of all opens `of` before he writes, and keeps it. `OutOfMemory` when there is no thread for it.
pub async fn sync_file_system(of: &File) -> io::Result<()> {
    let shared = of.share();
    shared.tag().check(FileOp::Sync)?;
    let file = shared.open_file();
    #[cfg(feature = "simulator")]
    if let Some(operation) =
        crate::executor::with(|reactor| Some(reactor.driver().simulated()?.sync_file_system(file)))
    {
        return sys::outcome(operation.await.result).map(drop);
    }
    let file = Arc::clone(file);
    let sync = move || {
        // SAFETY: no pointers; this call holds the file open.
        let code = unsafe { libc::syncfs(file.raw()) };
        sys::check(code.into()).map(drop)
    };
    THREAD.call(sync).await
}

/// Whether [`sync_file_system`] and then one fdatasync make everything durable that was written there: of ext4 and XFS their
/// source says so. Others may not: FUSE does not tell its server, CIFS flushes file by file, btrfs finds nothing to do when
/// blocks were written in place.
pub fn can_sync_file_system(path: &Path) -> io::Result<bool> {
    #[cfg(feature = "simulator")]
    if crate::sim::is_running() {
        return Ok(true);
    }
    let path = c_string(path)?;
    let mut status = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and `status` is a valid place for a statfs.
    sys::check(unsafe { libc::statfs(path.as_ptr(), status.as_mut_ptr()) }.into())?;
    // SAFETY: zeroed, then written by the kernel.
    let kind = unsafe { status.assume_init() }.f_type;
    Ok(kind == libc::EXT4_SUPER_MAGIC || kind == libc::XFS_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::{Builder, OpenOptions, Priority};

    /// Beside the build's output: not in memory.
    fn folder() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
    }

    async fn open(path: &Path) -> io::Result<File> {
        File::open(path, &OpenOptions::new().read(true)).await
    }

    #[test]
    fn a_file_system_is_synced_through_a_folder_while_the_reactor_goes_on() {
        let dir = folder();
        let path = dir.path().to_path_buf();
        let turns = Builder::new("test").run(|| async move {
            let folder = open(&path).await.unwrap();
            let options = OpenOptions::new().write(true).create(true);
            let file = File::open(&path.join("file"), &options).await.unwrap();
            file.write_at(Bytes::from(vec![1; 1 << 20]), 0).await.unwrap();
            let sync = crate::spawn(Priority::Background, "sync", async move {
                sync_file_system(&folder).await.unwrap();
            });
            let mut turns = 0;
            while !sync.is_finished() {
                crate::sleep(std::time::Duration::from_micros(100)).await;
                turns += 1;
            }
            turns
        });
        assert!(turns.unwrap() > 0);
    }

    #[test]
    fn calls_of_several_reactors_are_all_answered() {
        let dir = folder();
        let reactors: Vec<_> = (0..3)
            .map(|_| {
                let path = dir.path().to_path_buf();
                let all = || async move {
                    let folder = open(&path).await.unwrap();
                    for _ in 0..5 {
                        sync_file_system(&folder).await.unwrap();
                    }
                };
                Builder::new("test").spawn(all).unwrap()
            })
            .collect();
        for reactor in reactors {
            reactor.join().unwrap();
        }
    }

    #[test]
    fn a_call_that_is_dropped_or_whose_reactor_ends_harms_nobody() {
        let dir = folder();
        for _ in 0..3 {
            let path = dir.path().to_path_buf();
            let ended = Builder::new("test").run(|| async move {
                let folder = open(&path).await.unwrap();
                let mut context = Context::from_waker(Waker::noop());
                assert!(pin!(sync_file_system(&folder)).as_mut().poll(&mut context).is_pending());
                let goes_on = async move { sync_file_system(&folder).await };
                crate::spawn(Priority::Background, "sync", goes_on).detach();
                crate::yield_now().await;
            });
            ended.unwrap();
        }
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_synced() {
        let dir = folder();
        let path = dir.path().join("missing");
        assert_eq!(can_sync_file_system(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let error = Builder::new("test").run(|| async move { open(&path).await.map(drop) });
        assert_eq!(error.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!can_sync_file_system(Path::new("/proc")).unwrap(), "nothing is known of it");
    }
}
