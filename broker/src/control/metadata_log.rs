//! The durable log of metadata records: `metadata/<base>.snapshot` and `metadata/<base>.log` in the data folder.
//!
//! Contract: [`MetadataLog::append`] returns when its groups are on disk, and a group is found again as a whole or
//! not at all. What was not returned for may be found again too. After a failed sync the log is poisoned: nothing
//! more is appended in this life, for nobody knows what is on disk; opening it again tells. A full disk is no fault:
//! the folder has a `reserve` file that is given up for an append that finds no room, so that topics can be deleted
//! then, and made again when there is room.
//!
//! Order on a crash. Append: one frame a sync, written in one piece, then fdatasync; then, not synced, a *seal*: an empty
//! frame. So only the last frame with content can be torn, and only when no seal is behind it; it is cut when the log is
//! opened. A damaged frame with a whole one behind it was durable once: that is corruption, and is refused with its place. Snapshot: the state goes to `<base>.snapshot.new`, fsync, rename, a new log with a synced header, fsync of
//! the folder, and only then the older files are removed. So at each moment one snapshot is whole with the log of its
//! base, or without one when the crash came between the two; the highest base holds.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use reactor::OpenOptions;
use reactor::blocking::{self, File};
use tracing::warn;

use crate::control::frame::{FRAME_HEADER_BYTES, FileHeader, FileKind, HEADER_BYTES};
use crate::control::limits::{
    FRAME_BYTES_MAX, LOG_BYTES_BEFORE_SNAPSHOT, RESERVE_BYTES, SNAPSHOT_FRAME_RECORDS,
};
use crate::metadata::records::{self, Record};

/// A group of records: one decision.
pub type Group = Vec<Record>;

/// The open log.
#[derive(Debug)]
pub struct MetadataLog {
    dir: PathBuf,
    header: FileHeader,
    file: File,
    log_bytes: u64,
    snapshot_bytes: u64,
    /// The number of the last frame.
    sequence: u64,
    poisoned: bool,
}

/// What was found when the log was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The state of the snapshot, as groups that build it from nothing.
    pub snapshot: Vec<Group>,
    /// How many groups the snapshot stands for.
    pub snapshot_version: u64,
    /// The groups since then.
    pub groups: Vec<Group>,
    /// Bytes of a torn last frame that were cut.
    pub cut_bytes: u64,
}

/// Why the log cannot be opened or written.
#[derive(Debug)]
pub enum LogError {
    /// The operating system refused.
    Io(PathBuf, io::Error),
    /// A file is damaged in a place that a crash does not explain.
    Corrupt(PathBuf, String),
    /// An earlier write or sync failed.
    Poisoned,
    /// One decision has more records than a frame holds.
    TooLarge(usize),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Corrupt(path, what) => {
                write!(
                    f,
                    "{} is corrupt, {what}; restore it from a copy, nothing was changed",
                    path.display()
                )
            }
            Self::Poisoned => f.write_str("the metadata log failed earlier; restart the broker"),
            Self::TooLarge(bytes) => write!(f, "{bytes} bytes of records do not fit in one frame"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Corrupt(..) | Self::Poisoned | Self::TooLarge(_) => None,
        }
    }
}

impl MetadataLog {
    /// Opens the log in a folder, which is made when it is missing, and reads all that is in it.
    ///
    /// # Errors
    /// What the operating system refuses, and corruption.
    pub fn open(dir: &Path) -> Result<(Self, Found), LogError> {
        blocking::create_dir_all(dir).map_err(at(dir))?;
        // The folder's own name comes first: what is durable in it would be lost with it.
        if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            sync_dir(above)?;
        }
        let (snapshots, logs) = (bases(dir, "snapshot")?, bases(dir, "log")?);
        let base = snapshots.last().copied().unwrap_or(0);
        if let Some(stray) = logs.iter().find(|log| **log > base) {
            let path = path_of(dir, *stray, "log");
            return Err(LogError::Corrupt(path, "its snapshot is missing".to_owned()));
        }
        if logs.is_empty() && !snapshots.is_empty() {
            // The older log goes only when the newer one is there.
            let path = path_of(dir, base, "snapshot");
            return Err(LogError::Corrupt(path, "the log that follows it is missing".to_owned()));
        }
        let mut found = Found::default();
        let mut snapshot_bytes = 0;
        if !snapshots.is_empty() {
            snapshot_bytes = read_snapshot(&path_of(dir, base, "snapshot"), base, &mut found)?;
        }
        let path = path_of(dir, base, "log");
        let (mut log, unsealed) = if logs.contains(&base) {
            let (log, unsealed) = read_log(&path, base, &mut found)?;
            (Self { dir: dir.to_owned(), snapshot_bytes, ..log }, unsealed)
        } else {
            (Self::create(dir, base, snapshot_bytes)?, Unsealed::default())
        };
        log.finish_open(found.cut_bytes, &unsealed)?;
        remove_older(dir, base)?;
        keep_reserve(dir);
        Ok((log, found))
    }

    /// Writes groups in one frame and syncs it. They are durable when this returns.
    ///
    /// # Errors
    /// A failed write; or a failed sync, after which the log is poisoned.
    pub fn append(&mut self, groups: &[Group]) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        let payload = encode_groups(groups)?;
        let mut bytes = Vec::new();
        self.header.put_frame(&mut bytes, self.sequence + 1, &payload);
        let path = path_of(&self.dir, self.header.base, "log");
        let mut written = self.write(&bytes);
        if written.as_ref().is_err_and(is_no_space) && give_up_reserve(&self.dir) {
            warn!(folder = %self.dir.display(), "no space: the reserve of the metadata log is used");
            written = self.write(&bytes);
        }
        written.map_err(at(&path))?;
        if let Err(error) = self.file.sync_data() {
            self.poisoned = true;
            return Err(LogError::Io(path, error));
        }
        self.sequence += 1;
        self.log_bytes += bytes.len() as u64;
        self.seal();
        keep_reserve(&self.dir);
        Ok(())
    }

    /// Writes behind the last frame, or leaves nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, self.log_bytes);
        if written.is_err() {
            // What came of the frame is taken back, and the next request may try again.
            self.poisoned = self.file.set_len(self.log_bytes).is_err();
        }
        written
    }

    /// Says behind a synced frame that it was whole. The log is as good without.
    fn seal(&mut self) {
        let mut bytes = Vec::new();
        self.header.put_frame(&mut bytes, self.sequence + 1, &[]);
        if self.write(&bytes).is_ok() {
            self.sequence += 1;
            self.log_bytes += bytes.len() as u64;
        }
    }

    /// Whether the log has grown so long that a snapshot pays: longer than a floor and than the last snapshot.
    pub fn wants_snapshot(&self) -> bool {
        !self.poisoned && self.log_bytes > LOG_BYTES_BEFORE_SNAPSHOT.max(self.snapshot_bytes)
    }

    /// Replaces all groups so far by records that build the same state, and starts a new log.
    ///
    /// # Errors
    /// What the operating system refuses. The log is poisoned then, for it may exist twice; but not by a full disk.
    pub fn snapshot(&mut self, version: u64, state: &[Record]) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        // At least one frame lies between two snapshots, so that no name is used twice.
        let base = self.sequence.max(self.header.base + 1);
        let bytes = match write_snapshot(&self.dir, base, version, state) {
            Err(LogError::Io(path, error))
                if is_no_space(&error) && path.extension() == Some("new".as_ref()) =>
            {
                // It has no name yet that counts; the log goes on as it is, and a later append brings the next try.
                let _ = blocking::remove_file(&path);
                return Err(LogError::Io(path, error));
            }
            other => {
                self.poisoned = true;
                other?
            }
        };
        let next = Self::create(&self.dir, base, bytes)?;
        remove_older(&self.dir, base)?;
        *self = next;
        Ok(())
    }

    /// An empty log under its name, whole from the first moment on.
    fn create(dir: &Path, base: u64, snapshot_bytes: u64) -> Result<Self, LogError> {
        let (path, new) = (path_of(dir, base, "log"), path_of(dir, base, "log.new"));
        let header =
            FileHeader { kind: FileKind::Log, base, id: blocking::random_bytes().map_err(at(&path))? };
        let _ = blocking::remove_file(&new);
        let options = OpenOptions::new().write(true).create_new(true);
        let file = File::open(&new, &options).map_err(at(&new))?;
        file.write_all_at(&header.encode(), 0).and_then(|()| file.sync_all()).map_err(at(&new))?;
        blocking::rename(&new, &path).map_err(at(&path))?;
        sync_dir(dir)?;
        let (dir, log_bytes) = (dir.to_owned(), HEADER_BYTES as u64);
        Ok(Self { dir, header, file, log_bytes, snapshot_bytes, sequence: base, poisoned: false })
    }

    /// Cuts a torn end and makes what was read durable: a killed process may have left it in the page cache only. What
    /// no seal vouches for is written again, for its sync may have failed, and the next does not make that good.
    fn finish_open(&mut self, cut_bytes: u64, unsealed: &Unsealed) -> Result<(), LogError> {
        let path = path_of(&self.dir, self.header.base, "log");
        if cut_bytes > 0 {
            self.file.set_len(self.log_bytes).map_err(at(&path))?;
        }
        self.file.write_all_at(&unsealed.bytes, unsealed.position).map_err(at(&path))?;
        self.file.sync_all().map_err(at(&path))?;
        sync_dir(&self.dir)
    }
}

fn read_snapshot(path: &Path, base: u64, found: &mut Found) -> Result<u64, LogError> {
    let bytes = blocking::read(path).map_err(at(path))?;
    let corrupt = |what: String| LogError::Corrupt(path.to_owned(), what);
    let header = FileHeader::decode(&bytes).map_err(|bad| corrupt(bad.to_string()))?;
    if header.kind != FileKind::Snapshot || header.base != base {
        return Err(corrupt("its name and its header differ".to_owned()));
    }
    let mut position = HEADER_BYTES;
    loop {
        let frame = header.frame(&bytes[position..]);
        let frame = frame.ok_or_else(|| corrupt(format!("at byte {position}")))?;
        position += frame.size();
        // The last frame carries nothing; its number is the version.
        if frame.payload.is_empty() {
            found.snapshot_version = frame.sequence;
            break;
        }
        found.snapshot.extend(decode_groups(frame.payload).map_err(corrupt)?);
    }
    if position == bytes.len() { Ok(bytes.len() as u64) } else { Err(corrupt(format!("at byte {position}"))) }
}

/// The bytes of a log of which no seal says that they were synced.
#[derive(Default)]
struct Unsealed {
    position: u64,
    bytes: Vec<u8>,
}

fn read_log(path: &Path, base: u64, found: &mut Found) -> Result<(MetadataLog, Unsealed), LogError> {
    let mut bytes = blocking::read(path).map_err(at(path))?;
    let corrupt = |what: String| LogError::Corrupt(path.to_owned(), what);
    let header = FileHeader::decode(&bytes).map_err(|bad| corrupt(bad.to_string()))?;
    if header.kind != FileKind::Log || header.base != base {
        return Err(corrupt("its name and its header differ".to_owned()));
    }
    let (mut position, mut sequence) = (HEADER_BYTES, base);
    let mut unsealed = HEADER_BYTES;
    while position < bytes.len() {
        restore_seal(&header, &mut bytes[position..], sequence + 1);
        let Some(frame) = header.frame(&bytes[position..]) else {
            if header.find_frame(&bytes[position + 1..]).is_some() {
                return Err(corrupt(format!("at byte {position}, with whole records behind it")));
            }
            found.cut_bytes = (bytes.len() - position) as u64;
            break;
        };
        if frame.sequence != sequence + 1 {
            let got = frame.sequence;
            return Err(corrupt(format!("at byte {position}, frame {got} follows frame {sequence}")));
        }
        sequence = frame.sequence;
        found.groups.extend(decode_groups(frame.payload).map_err(corrupt)?);
        if frame.payload.is_empty() {
            unsealed = position;
        }
        position += frame.size();
    }
    let file = File::open(path, &OpenOptions::new().write(true)).map_err(at(path))?;
    let (dir, log_bytes) = (PathBuf::new(), position as u64);
    let unsealed = Unsealed { position: unsealed as u64, bytes: bytes[unsealed..position].to_vec() };
    Ok((MetadataLog { dir, header, file, log_bytes, snapshot_bytes: 0, sequence, poisoned: false }, unsealed))
}

/// A seal is not synced by itself: the power may be cut when it is lost and the frame behind it is not. What it was follows
/// from its place.
fn restore_seal(header: &FileHeader, bytes: &mut [u8], sequence: u64) {
    let behind = bytes.get(FRAME_HEADER_BYTES..).and_then(|behind| header.frame(behind));
    if header.frame(bytes).is_none() && behind.is_some_and(|frame| frame.sequence == sequence + 1) {
        let mut seal = Vec::new();
        header.put_frame(&mut seal, sequence, &[]);
        bytes[..FRAME_HEADER_BYTES].copy_from_slice(&seal);
    }
}

fn write_snapshot(dir: &Path, base: u64, version: u64, state: &[Record]) -> Result<u64, LogError> {
    let (path, new) = (path_of(dir, base, "snapshot"), path_of(dir, base, "snapshot.new"));
    let header =
        FileHeader { kind: FileKind::Snapshot, base, id: blocking::random_bytes().map_err(at(&path))? };
    let mut bytes = header.encode().to_vec();
    let options = OpenOptions::new().write(true).create(true).truncate(true);
    let file = File::open(&new, &options).map_err(at(&new))?;
    let mut size = 0;
    for (index, part) in state.chunks(SNAPSHOT_FRAME_RECORDS).enumerate() {
        header.put_frame(&mut bytes, index as u64 + 1, &encode_groups(&[part.to_vec()])?);
        file.write_all_at(&bytes, size).map_err(at(&new))?;
        size += bytes.len() as u64;
        bytes.clear();
    }
    header.put_frame(&mut bytes, version, &[]);
    file.write_all_at(&bytes, size).and_then(|()| file.sync_all()).map_err(at(&new))?;
    blocking::rename(&new, &path).map_err(at(&path))?;
    sync_dir(dir)?;
    Ok(size + bytes.len() as u64)
}

/// Groups one after another, each with its length in front.
fn encode_groups(groups: &[Group]) -> Result<Vec<u8>, LogError> {
    let mut payload = Vec::new();
    for group in groups {
        let bytes =
            records::encode(group).map_err(|bad| LogError::Corrupt(PathBuf::new(), bad.to_string()))?;
        payload.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        payload.extend_from_slice(&bytes);
        if payload.len() > FRAME_BYTES_MAX {
            return Err(LogError::TooLarge(payload.len()));
        }
    }
    Ok(payload)
}

fn decode_groups(mut payload: &[u8]) -> Result<Vec<Group>, String> {
    let mut groups = Vec::new();
    while !payload.is_empty() {
        let (length, rest) = payload.split_first_chunk::<4>().ok_or("a frame with a cut group")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (group, rest) = rest.split_at_checked(length).ok_or("a frame with a cut group")?;
        groups.push(records::decode(group).map_err(|bad| bad.to_string())?);
        payload = rest;
    }
    Ok(groups)
}

/// The bases of the files with this ending, ascending.
fn bases(dir: &Path, ending: &str) -> Result<Vec<u64>, LogError> {
    let mut bases = Vec::new();
    for entry in reactor::fs::read_dir(dir).map_err(at(dir))? {
        let number =
            entry.name.to_str().and_then(|name| name.split_once('.')).filter(|(_, rest)| *rest == ending);
        bases.extend(number.and_then(|(number, _)| number.parse::<u64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Removes what a newer snapshot replaced, and unfinished snapshots.
fn remove_older(dir: &Path, base: u64) -> Result<(), LogError> {
    let mut old = Vec::new();
    for ending in ["log.new", "snapshot.new"] {
        old.extend(bases(dir, ending)?.into_iter().map(|each| path_of(dir, each, ending)));
    }
    for ending in ["log", "snapshot"] {
        let bases = bases(dir, ending)?;
        old.extend(bases.into_iter().filter(|each| *each < base).map(|each| path_of(dir, each, ending)));
    }
    old.into_iter().try_for_each(|path| blocking::remove_file(&path).map_err(at(&path)))
}

fn path_of(dir: &Path, base: u64, ending: &str) -> PathBuf {
    dir.join(format!("{base:020}.{ending}"))
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the reserve when it is not there and there is plenty of space. Best effort.
fn keep_reserve(dir: &Path) {
    let path = dir.join("reserve");
    let plenty = || reactor::fs::free_space(dir).is_ok_and(|free| free >= 2 * RESERVE_BYTES as u64);
    let options = OpenOptions::new().write(true);
    if File::open(&path, &options).is_ok() || !plenty() {
        return;
    }
    let made = File::open(&path, &options.create(true));
    if let Err(error) = made.and_then(|file| file.write_all_at(&vec![0; RESERVE_BYTES], 0)) {
        warn!(%error, "no reserve for the metadata log, to be tried again");
        let _ = blocking::remove_file(&path);
    }
}

/// Gives up the reserve; says whether there was one.
fn give_up_reserve(dir: &Path) -> bool {
    blocking::remove_file(&dir.join("reserve")).is_ok() && blocking::sync_dir(dir).is_ok()
}

fn sync_dir(dir: &Path) -> Result<(), LogError> {
    blocking::sync_dir(dir).map_err(at(dir))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |error| LogError::Io(path, error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn group(number: i64) -> Group {
        vec![Record::ProducerIds { next: number }, Record::Cluster { id: format!("{number}") }]
    }

    /// Bytes of a seal.
    const SEAL: usize = crate::control::frame::FRAME_HEADER_BYTES;

    fn append(dir: &Path, groups: &[Group]) {
        let (mut log, _) = MetadataLog::open(dir).unwrap();
        for group in groups {
            log.append(std::slice::from_ref(group)).unwrap();
        }
    }

    fn only_log(dir: &Path) -> PathBuf {
        let bases = bases(dir, "log").unwrap();
        assert_eq!(bases.len(), 1);
        path_of(dir, bases[0], "log")
    }

    #[test]
    fn groups_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[group(1), group(2)]);
        append(dir.path(), &[group(3)]);
        let (mut log, found) = MetadataLog::open(dir.path()).unwrap();
        assert_eq!(found, Found { groups: vec![group(1), group(2), group(3)], ..Found::default() });
        log.append(&[group(4), group(5)]).unwrap();
        assert_eq!(MetadataLog::open(dir.path()).unwrap().1.groups.len(), 5);
    }

    #[test]
    fn a_torn_last_frame_is_cut_at_every_length() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[group(1)]);
        let path = only_log(dir.path());
        let whole = fs::read(&path).unwrap();
        append(dir.path(), &[group(2)]);
        let longer = fs::read(&path).unwrap();
        for end in whole.len()..longer.len() - SEAL {
            fs::write(&path, &longer[..end]).unwrap();
            let (mut log, found) = MetadataLog::open(dir.path()).unwrap();
            assert_eq!((found.groups, found.cut_bytes), (vec![group(1)], (end - whole.len()) as u64));
            log.append(&[group(3)]).unwrap();
            assert_eq!(MetadataLog::open(dir.path()).unwrap().1.groups, [group(1), group(3)]);
        }
        for end in longer.len() - SEAL..longer.len() {
            fs::write(&path, &longer[..end]).unwrap();
            let (_, found) = MetadataLog::open(dir.path()).unwrap();
            assert_eq!(found.groups, [group(1), group(2)], "only the seal is torn");
        }
    }

    #[test]
    fn a_seal_that_was_lost_before_the_frame_behind_it_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[group(1), group(2)]);
        let path = only_log(dir.path());
        let good = fs::read(&path).unwrap();
        let first = HEADER_BYTES + (good.len() - HEADER_BYTES) / 2;
        let mut lost = good.clone();
        lost[first - SEAL..first].fill(0);
        for end in [good.len() - SEAL, good.len()] {
            fs::write(&path, &lost[..end]).unwrap();
            let found = MetadataLog::open(dir.path()).unwrap().1;
            assert_eq!((found.groups, found.cut_bytes), (vec![group(1), group(2)], 0));
        }
        fs::write(&path, &lost[..good.len() - SEAL]).unwrap();
        MetadataLog::open(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), good[..good.len() - SEAL], "it is on disk again");
    }

    #[test]
    fn the_newest_frame_was_durable_when_its_seal_is_there() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[group(1)]);
        let path = only_log(dir.path());
        let good = fs::read(&path).unwrap();
        for bit in HEADER_BYTES * 8..(good.len() - SEAL) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert!(matches!(MetadataLog::open(dir.path()), Err(LogError::Corrupt(..))), "bit {bit}");
        }
    }

    #[test]
    fn damage_with_whole_frames_behind_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[group(1)]);
        let path = only_log(dir.path());
        let first = fs::read(&path).unwrap().len();
        append(dir.path(), &[group(2), group(3)]);
        let good = fs::read(&path).unwrap();
        for at in HEADER_BYTES..first - SEAL {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let error = MetadataLog::open(dir.path()).unwrap_err();
            assert!(error.to_string().contains("is corrupt, at byte 48"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bad, "nothing was changed");
        }
        let mut cut = good[..HEADER_BYTES].to_vec();
        cut.extend_from_slice(&good[first..]);
        fs::write(&path, &cut).unwrap();
        let error = MetadataLog::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("frame 3 follows frame 0"), "{error}");
        for at in 0..HEADER_BYTES {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(MetadataLog::open(dir.path()), Err(LogError::Corrupt(..))));
        }
    }

    #[test]
    fn a_snapshot_replaces_the_groups_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = MetadataLog::open(dir.path()).unwrap();
        log.append(&[group(1), group(2)]).unwrap();
        log.snapshot(2, &group(2)).unwrap();
        log.append(&[group(3)]).unwrap();
        let expected = Found {
            snapshot: vec![group(2)],
            snapshot_version: 2,
            groups: vec![group(3)],
            ..Found::default()
        };
        assert_eq!(MetadataLog::open(dir.path()).unwrap().1, expected);
        log.snapshot(3, &group(3)).unwrap();
        log.snapshot(3, &group(3)).unwrap();
        let found = MetadataLog::open(dir.path()).unwrap().1;
        assert_eq!((found.snapshot, found.snapshot_version, found.groups.len()), (vec![group(3)], 3, 0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "one of each, and the reserve");
    }

    #[test]
    fn a_crash_at_any_step_of_a_snapshot_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), &[group(1)]);
        let old = fs::read(only_log(dir.path())).unwrap();
        let (mut log, _) = MetadataLog::open(dir.path()).unwrap();
        log.snapshot(1, &group(1)).unwrap();
        let (log_path, snapshot_path) = (only_log(dir.path()), path_of(dir.path(), 2, "snapshot"));
        let (log_bytes, snapshot_bytes) = (fs::read(&log_path).unwrap(), fs::read(&snapshot_path).unwrap());
        let files: [(&str, &[u8]); 5] = [
            ("00000000000000000000.log", &old),
            ("00000000000000000002.snapshot.new", &snapshot_bytes[..snapshot_bytes.len() / 2]),
            ("00000000000000000002.snapshot", &snapshot_bytes),
            ("00000000000000000002.log.new", &log_bytes[..HEADER_BYTES / 2]),
            ("00000000000000000002.log", &log_bytes),
        ];
        for step in [
            &files[..1],
            &files[..2],
            &files[..1],
            &[files[0], files[2]],
            &[files[0], files[2], files[3]],
            &[files[0], files[2], files[4]],
        ] {
            let crashed = tempfile::tempdir().unwrap();
            for (name, bytes) in step {
                fs::write(crashed.path().join(name), bytes).unwrap();
            }
            let (mut log, found) = MetadataLog::open(crashed.path()).unwrap();
            let all: Vec<_> = found.snapshot.into_iter().chain(found.groups).collect();
            assert_eq!(all, [group(1)]);
            log.append(&[group(2)]).unwrap();
            let found = MetadataLog::open(crashed.path()).unwrap().1;
            assert_eq!(found.groups.last(), Some(&group(2)));
        }
    }

    #[test]
    fn a_folder_of_version_1_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/fixtures/v1"));
        for name in ["00000000000000000001.snapshot", "00000000000000000001.log"] {
            fs::copy(fixtures.join(name), dir.path().join(name)).unwrap();
        }
        let found = MetadataLog::open(dir.path()).unwrap().1;
        let expected = Found {
            snapshot: vec![group(1)],
            snapshot_version: 1,
            groups: vec![group(2)],
            ..Found::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn damaged_or_missing_snapshots_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = MetadataLog::open(dir.path()).unwrap();
        log.append(&[group(1)]).unwrap();
        log.snapshot(1, &group(1)).unwrap();
        let path = path_of(dir.path(), 2, "snapshot");
        let log_path = only_log(dir.path());
        let log_bytes = fs::read(&log_path).unwrap();
        fs::remove_file(&log_path).unwrap();
        let error = MetadataLog::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("the log that follows it is missing"), "{error}");
        fs::write(&log_path, log_bytes).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(MetadataLog::open(dir.path()), Err(LogError::Corrupt(..))), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(matches!(MetadataLog::open(dir.path()), Err(LogError::Corrupt(..))), "cut at {at}");
        }
        fs::remove_file(&path).unwrap();
        let error = MetadataLog::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("its snapshot is missing"), "{error}");
    }
}
