//! Files for threads without a reactor: calls that block, for what is small and rare.
//!
//! The control thread keeps its metadata log with them. They obey the same rules of failing disks as the reactor's own
//! files ([`faults`](crate::faults)), and in a simulation they act on the simulated disk of the machine whose reactor calls
//! them: what they write is as volatile there until it is synced as anything else, and the power may be cut between any two of
//! them.

use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::OpenOptions;
use crate::faults::{FileOp, Tag, check};

/// An open file.
#[derive(Debug)]
pub struct File {
    backend: Backend,
    tag: Tag,
}

#[derive(Debug)]
enum Backend {
    System(std::fs::File),
    #[cfg(feature = "simulator")]
    Simulated(crate::sim::disk::Handle),
}

impl File {
    /// Opens a file. New files get mode 0666, less the process's mask.
    pub fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        check(FileOp::Open, path)?;
        let tag = Tag::new(path);
        #[cfg(feature = "simulator")]
        if let Some(handle) = crate::sim::calls::open(path, *options) {
            return Ok(Self { backend: Backend::Simulated(handle?), tag });
        }
        Ok(Self { backend: Backend::System(options.for_system().open(path)?), tag })
    }

    /// Writes all of the bytes at a position, or fails; then any part of them may be written.
    pub fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.tag.check(FileOp::Write)?;
        match &self.backend {
            Backend::System(file) => file.write_all_at(bytes, position),
            #[cfg(feature = "simulator")]
            Backend::Simulated(handle) => crate::sim::calls::write(handle, bytes, position),
        }
    }

    /// Cuts or extends the file.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        match &self.backend {
            Backend::System(file) => file.set_len(length),
            #[cfg(feature = "simulator")]
            Backend::Simulated(handle) => crate::sim::calls::set_length(handle, length),
        }
    }

    /// Makes the file's data and length durable (`fdatasync`).
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync(std::fs::File::sync_data)
    }

    /// Makes data and all attributes durable (`fsync`).
    pub fn sync_all(&self) -> io::Result<()> {
        self.sync(std::fs::File::sync_all)
    }

    fn sync(&self, how: impl FnOnce(&std::fs::File) -> io::Result<()>) -> io::Result<()> {
        self.tag.check(FileOp::Sync)?;
        match &self.backend {
            Backend::System(file) => how(file),
            #[cfg(feature = "simulator")]
            Backend::Simulated(handle) => crate::sim::calls::sync(handle),
        }
    }
}

/// How far the kernel reads ahead of readers of the files in a folder, in bytes; `None` if the folder is on no block device.
pub fn read_ahead_bytes(folder: &Path) -> Option<u64> {
    let device = std::fs::metadata(folder).ok()?.dev();
    let name = format!("{}:{}", libc::major(device), libc::minor(device));
    read_ahead_of(&Path::new("/sys/dev/block").join(name))
}

/// Of a device's folder in sysfs. A partition's settings are those of its disk, in whose folder it lies.
fn read_ahead_of(device: &Path) -> Option<u64> {
    let settings = ["queue/read_ahead_kb", "../queue/read_ahead_kb"].map(|name| device.join(name));
    let text = settings.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
    text.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The whole content of a file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    check(FileOp::Read, path)?;
    #[cfg(feature = "simulator")]
    if let Some(bytes) = crate::sim::calls::read(path) {
        return bytes;
    }
    std::fs::read(path)
}

/// Makes a folder and those above it. No error if it is there.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    #[cfg(feature = "simulator")]
    if let Some(made) = crate::sim::calls::create_dir_all(path) {
        return made;
    }
    std::fs::create_dir_all(path)
}

/// Gives a file another name, replacing a file that has it.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    check(FileOp::Rename, from)?;
    #[cfg(feature = "simulator")]
    if let Some(renamed) = crate::sim::calls::rename(from, to) {
        return renamed;
    }
    std::fs::rename(from, to)
}

/// Removes a file.
pub fn remove_file(path: &Path) -> io::Result<()> {
    check(FileOp::Unlink, path)?;
    #[cfg(feature = "simulator")]
    if let Some(removed) = crate::sim::calls::remove_file(path) {
        return removed;
    }
    std::fs::remove_file(path)
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path, &OpenOptions::new().read(true))?.sync_all()
}

/// Random bytes of the kernel's, good for secrets. In a simulation they follow from the seed.
pub fn random_bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    #[cfg(feature = "simulator")]
    if crate::sim::calls::fill_random(&mut bytes) {
        return Ok(bytes);
    }
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_renamed_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a/b/first"), dir.path().join("a/b/second"));
        create_dir_all(&dir.path().join("a/b")).unwrap();
        create_dir_all(&dir.path().join("a/b")).unwrap();
        let options = OpenOptions::new().write(true).create_new(true);
        let file = File::open(&first, &options).unwrap();
        assert!(File::open(&first, &options).is_err(), "it is there already");
        file.write_all_at(b"hello, world", 0).unwrap();
        file.write_all_at(b"W", 7).unwrap();
        file.set_len(10).unwrap();
        file.sync_data().unwrap();
        rename(&first, &second).unwrap();
        sync_dir(second.parent().unwrap()).unwrap();
        assert_eq!(read(&second).unwrap(), b"hello, Wor");
        remove_file(&second).unwrap();
        assert_eq!(read(&second).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }

    #[test]
    fn reading_ahead_is_a_setting_of_the_disk() {
        let tree = tempfile::tempdir().unwrap();
        let disk = tree.path().join("sda");
        let partition = disk.join("sda1");
        std::fs::create_dir_all(disk.join("queue")).unwrap();
        std::fs::create_dir(&partition).unwrap();
        std::fs::write(disk.join("queue/read_ahead_kb"), "512\n").unwrap();
        assert_eq!(read_ahead_of(&disk), Some(512 << 10));
        assert_eq!(read_ahead_of(&partition), Some(512 << 10));
        assert_eq!(read_ahead_of(tree.path()), None);
        std::fs::write(disk.join("queue/read_ahead_kb"), "many").unwrap();
        assert_eq!(read_ahead_of(&disk), None);
        assert_eq!(read_ahead_bytes(Path::new("/proc")), None, "on no block device");
    }
}
