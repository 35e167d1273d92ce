//! Making many files, with their folders, on a thread ([`side_thread`](crate::side_thread)): the ring hands each making of a
//! folder and each making of a file to a kernel worker by itself, and wakes the reactor for each. This is one call for many.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use crate::faults::{FileOp, check};
use crate::limits::{FILES_MADE_CALLS_MAX, FILES_MADE_MAX};
use crate::side_thread::SideThread;
use crate::{File, OpenOptions};

static THREAD: SideThread = SideThread::new("files", FILES_MADE_CALLS_MAX);

/// A file to be opened, in a folder that is made if it is missing.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Where.
    pub path: PathBuf,
    /// How. Of a file that is made the mode is 0644, of its folder 0755.
    pub options: OpenOptions,
}

/// Opens files, at most [`FILES_MADE_MAX`] in one call, one after the other; each folder that is missing is made first, not
/// those above it. The names are not durable before a sync. Answers for each of them, in their order.
///
/// When the future is dropped, the files of a call that has begun are made nevertheless, and closed.
///
/// # Errors
/// Of each file its own. `OutOfMemory` when there is no thread for it: then nothing was made.
pub async fn make_files(files: Vec<NewFile>) -> io::Result<Vec<io::Result<File>>> {
    assert!(files.len() <= FILES_MADE_MAX, "the caller divides them");
    #[cfg(feature = "simulator")]
    if crate::sim::is_running() {
        return Ok(simulated(files).await);
    }
    let made = THREAD.call(move || {
        let made = files.into_iter().map(|file| (make(&file), file));
        Ok(made.collect::<Vec<_>>())
    });
    let opened = |(made, file): (io::Result<std::fs::File>, NewFile)| {
        made.map(|system| File::from_system(system, &file.path, file.options))
    };
    Ok(made.await?.into_iter().map(opened).collect())
}

/// On the thread.
fn make(file: &NewFile) -> io::Result<std::fs::File> {
    if let Some(folder) = file.path.parent() {
        check(FileOp::Open, folder)?;
        is_there(std::fs::DirBuilder::new().mode(0o755).create(folder))?;
    }
    check(FileOp::Open, &file.path)?;
    file.options.for_system().mode(0o644).open(&file.path)
}

/// What is no folder is found out when the file is opened.
fn is_there(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The same calls on a simulated disk, where something may happen between any two of them.
#[cfg(feature = "simulator")]
async fn simulated(files: Vec<NewFile>) -> Vec<io::Result<File>> {
    let mut made = Vec::with_capacity(files.len());
    for file in files {
        made.push(make_simulated(&file).await);
    }
    made
}

#[cfg(feature = "simulator")]
async fn make_simulated(file: &NewFile) -> io::Result<File> {
    if let Some(folder) = file.path.parent() {
        check(FileOp::Open, folder)?;
        let made = crate::executor::with(|reactor| reactor.driver().make_dir(folder))?;
        is_there(crate::sys::outcome(made.await.result).map(drop))?;
    }
    File::open(&file.path, &file.options).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::{Builder, stats};

    fn wanted(path: PathBuf) -> NewFile {
        NewFile { path, options: OpenOptions::new().read(true).write(true).create(true) }
    }

    fn many(dir: &Path) -> Vec<NewFile> {
        (0..FILES_MADE_MAX).map(|number| wanted(dir.join(format!("{number}/file")))).collect()
    }

    #[test]
    fn many_files_and_their_folders_cost_one_wake_up_and_no_operation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let main = || async move {
            let before = stats();
            let made = make_files(many(&path)).await.unwrap();
            let after = stats();
            assert_eq!(after.operations - before.operations, 0);
            assert!(after.remote_wakes_received - before.remote_wakes_received <= 1);
            for (number, file) in made.into_iter().enumerate() {
                let file = file.unwrap();
                file.write_at(Bytes::from(vec![number as u8; 3]), 0).await.unwrap();
                assert_eq!(file.size().await.unwrap(), 3);
            }
            // Now they are there: opened once more, with what they have.
            for (number, file) in make_files(many(&path)).await.unwrap().into_iter().enumerate() {
                let (read, bytes) = file.unwrap().read_at(BytesMut::with_capacity(3), 3, 0).await;
                assert_eq!((read.unwrap(), &bytes[..]), (3, &[number as u8; 3][..]));
            }
        };
        Builder::new("test").run(main).unwrap();
    }

    #[test]
    fn one_file_that_cannot_be_made_is_the_error_of_that_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        std::fs::write(path.join("taken"), b"").unwrap();
        let main = || async move {
            let paths = ["taken/file", "a/b/file", "c/file", "c"].map(|name| wanted(path.join(name)));
            let kinds: Vec<_> = make_files(paths.to_vec())
                .await
                .unwrap()
                .into_iter()
                .map(|made| made.map(drop).map_err(|error| error.kind()))
                .collect();
            let expected =
                [io::ErrorKind::NotADirectory, io::ErrorKind::NotFound, io::ErrorKind::IsADirectory];
            assert_eq!(kinds, [Err(expected[0]), Err(expected[1]), Ok(()), Err(expected[2])]);
        };
        Builder::new("test").run(main).unwrap();
    }
}
