//! Recovery: what the checkpoint and the ring say, and nothing else, becomes the state of a shard.
//!
//! * The newest whole checkpoint is read.
//! * Every block of the ring is scanned for commits (`scan`); the chain is followed from the first one that the
//!   checkpoint needs.
//! * Entries are replayed over the checkpoint's records (`replay`).
//! * The ring's files are synced: after a kill, commits may sit only in the drive's cache.
//! * A full checkpoint is written that raises the incarnation, so that what lies behind the end of the chain can never
//!   count again.
//! * Only then is anything accepted.
//!
//! The time is that of reading the ring and the checkpoint, whatever the size of the data. Refused, with the place
//! named: a missing or older checkpoint than headers in the ring name, commits missing that a header calls durable,
//! entries that do not fit the records, logs that the metadata log has never issued.

mod probe;
pub(crate) mod replay;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use reactor::SyncMethod;
use reactor::sync::Notify;

use crate::checkpoint::{Slots, Snapshot, Summary, load, write_full};
use crate::commit_log::ring::{self, Ring};
use crate::commit_log::{Beginning, CommitLimits, CommitLog, Lsn, Retained};
use crate::commit_rate::CommitRate;
use crate::deletion::remove_dir;
use crate::error::StorageError;
use crate::limits::{BLOCK, COMMIT_BYTES_MAX, RING_FILE_BYTES_MIN, RING_FILES_MIN};
use crate::log::core::LogCell;
use crate::log_record::{Extent, LogRecord};
use crate::options::{Catalog, Direct, Known, OnDamage, StoreOptions};
use crate::producer_state::ProducerBudget;
use crate::store::{Recovered, log_dir};
use crate::types::{LogId, Timestamp};
use crate::{salvage, space};
use replay::{Replay, ReplayError};
use scan::{Chain, Scan};

/// What a recovery did, for the start line.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// How long it took.
    pub duration: Duration,
    /// Commits read again.
    pub commits: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Logs with state.
    pub logs: usize,
    /// Deleted logs whose files were removed.
    pub deleted: usize,
    /// Which life of the ring begins; 1 is the first.
    pub incarnation: u64,
    /// Damage that was discarded because the options say so.
    pub discarded: Option<String>,
}

/// What the chain of commits gave.
struct Replayed {
    logs: BTreeMap<LogId, Rc<LogCell>>,
    deleted: BTreeMap<LogId, Option<String>>,
    chain: Chain,
    retained: Vec<Retained>,
}

/// Recovers a shard. See the module.
pub(crate) async fn recover(
    options: StoreOptions,
    catalog: &Catalog,
) -> Result<(Recovered, RecoveryReport), StorageError> {
    let options = with_usable_ring(options);
    let started = reactor::now();
    let mut report = RecoveryReport::default();
    prepare_dirs(&options).await?;
    let (shard_dir, ring_dir) = (options.shard_dir(), options.ring_dir());
    let snapshot = load(&shard_dir).await?;
    let summary = snapshot.as_ref().map(|snapshot| snapshot.summary);
    let mut scan = scan::scan(&ring_dir, options.direct, summary.as_ref()).await?;
    check_checkpoint(&options, catalog, snapshot.as_ref(), &scan)?;
    let budget = Rc::new(ProducerBudget::default());
    let replayed = replay_all(&options, catalog, snapshot.as_ref(), &mut scan, &budget, &mut report).await?;
    scan.write_again().await?;
    for file in scan.files.iter().filter(|file| file.holds.is_some()) {
        let path = ring::file_path(&ring_dir, file.number);
        file.file.sync_data().await.map_err(StorageError::io("sync", path))?;
    }
    remove_deleted(&options, &replayed.deleted).await?;
    report.deleted = replayed.deleted.len();

    let mut ring = Ring::default();
    for file in scan.files {
        ring.add(file);
    }
    if ring.len() == 0 {
        ring.add(ring::make_file(&ring_dir, 0, options.ring_first_file_bytes, options.direct).await?);
    }
    if let Some((number, end)) = replayed.chain.end {
        ring.resume(number, end);
    }
    let old = summary.unwrap_or_else(|| Summary { ring_id: new_ring_id(), ..Summary::default() });
    let summary =
        Summary { incarnation: old.incarnation + 1, incarnation_from: replayed.chain.sequence + 1, ..old };
    let mut slots = Slots::new(&shard_dir, snapshot.as_ref());
    let next = Lsn { sequence: replayed.chain.sequence + 1, entry: 0 };
    write_checkpoint(&mut slots, &replayed.logs, next, summary).await?;
    let probe = probe::probe(&options, &ring).await?;
    let orphans = orphans(&options, &replayed.logs)?;
    report.incarnation = summary.incarnation;
    report.logs = replayed.logs.len();

    let pressure = Rc::new(Notify::new());
    let smallest = ring.smallest();
    let beginning = Beginning {
        ring,
        ring_id: u128::from_le_bytes(summary.ring_id),
        incarnation: summary.incarnation,
        durable: replayed.chain.sequence,
        previous_crc: replayed.chain.crc,
        checkpoint: slots.sequence(),
        retained: replayed.retained,
        rate: CommitRate::new(Arc::clone(&options.frequent_commits)),
    };
    let commit = CommitLog::start(beginning, limits(&options, probe.method, smallest), Rc::clone(&pressure));
    let dirty = replayed.logs.values().map(|cell| cell.core.borrow().unhandled).sum();
    commit.recovered_dirty(dirty);
    report.duration = started.elapsed();
    let recovered =
        Recovered { options, commit, pressure, probe, logs: replayed.logs, orphans, budget, slots, summary };
    Ok((recovered, report))
}

/// A ring of fewer than four files could not free one while it fills another: small rings have smaller files.
fn with_usable_ring(options: StoreOptions) -> StoreOptions {
    let bytes = options.commit_log_bytes.max(RING_FILES_MIN * RING_FILE_BYTES_MIN);
    let file_max = bytes / RING_FILES_MIN / BLOCK * BLOCK;
    let fit = |wanted: u64| wanted.next_multiple_of(BLOCK).clamp(RING_FILE_BYTES_MIN, file_max);
    StoreOptions {
        commit_log_bytes: bytes,
        ring_first_file_bytes: fit(options.ring_first_file_bytes),
        ring_file_bytes: fit(options.ring_file_bytes),
        ..options
    }
}

/// Bounds of the commit log; a commit must fit every file several times, whatever the options were when it was made.
fn limits(options: &StoreOptions, method: SyncMethod, smallest: u64) -> CommitLimits {
    let smallest = smallest.min(options.ring_file_bytes) as usize;
    let (first, file) = (options.ring_first_file_bytes, options.ring_file_bytes);
    CommitLimits {
        ring_bytes_max: first + (options.commit_log_bytes - first) / file * file,
        file_bytes_max: first.max(file),
        dirty_bytes: options.dirty_bytes,
        tail_bytes: options.tail_bytes,
        commit_bytes_max: (smallest / 4 / BLOCK as usize * BLOCK as usize).min(COMMIT_BYTES_MAX),
        method,
        fail_from: options.fail_commits_from,
    }
}

pub(crate) fn new_ring_id() -> [u8; 16] {
    let id = u128::from(reactor::random_u64()) << 64 | u128::from(reactor::random_u64());
    id.to_le_bytes()
}

/// Makes the folders, durably, and looks whether they can be written as asked.
async fn prepare_dirs(options: &StoreOptions) -> Result<(), StorageError> {
    let (shard, ring, topics) = (options.shard_dir(), options.ring_dir(), options.topics_dir());
    for dir in [&shard, &ring, &topics] {
        reactor::fs::create_dir_all(dir).await.map_err(StorageError::io("make folder", dir))?;
        space::make_room_to_start(&shard).await;
        for above in dir.ancestors().skip(1).take(2).filter(|above| !above.as_os_str().is_empty()) {
            reactor::fs::sync_dir(above).await.map_err(StorageError::io("sync", above))?;
        }
    }
    if options.direct == Direct::Required {
        for dir in [ring, topics] {
            match reactor::fs::supports_direct(&dir).await.map_err(StorageError::io("write in", &dir)) {
                Ok(true) => {}
                Ok(false) => return Err(StorageError::NoDirectIo(dir)),
                // A full disk cannot be asked; the files that are there can be opened, or the start ends with them.
                Err(error) if error.is_no_space() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A checkpoint that is missing, or older than one that the ring names, is damage whatever the options say: without
/// it nothing in the ring has a place.
fn check_checkpoint(
    options: &StoreOptions,
    catalog: &Catalog,
    snapshot: Option<&Snapshot>,
    scan: &Scan,
) -> Result<(), StorageError> {
    let dir = options.shard_dir();
    scan.check_files(snapshot.is_some())?;
    match snapshot {
        None if options.known == Known::Surely && catalog.issued_max > LogId(0) => {
            let what = "this shard was here before, but there is no readable checkpoint";
            Err(StorageError::corrupt(dir, what))
        }
        None if scan.has_commits => {
            let what = format!("{} has commits, but there is no readable checkpoint", scan.dir().display());
            Err(StorageError::corrupt(dir, what))
        }
        Some(snapshot) if snapshot.sequence < scan.named_checkpoint => {
            let (have, named) = (snapshot.sequence, scan.named_checkpoint);
            let what = format!(
                "checkpoint {named} is named in the commit log, but the newest readable one is {have}"
            );
            Err(StorageError::corrupt(dir, what))
        }
        _ => Ok(()),
    }
}

async fn replay_all(
    options: &StoreOptions,
    catalog: &Catalog,
    snapshot: Option<&Snapshot>,
    scan: &mut Scan,
    budget: &Rc<ProducerBudget>,
    report: &mut RecoveryReport,
) -> Result<Replayed, StorageError> {
    let dir = scan.dir().to_path_buf();
    let place = |error| match error {
        ReplayError::Damage(what) => StorageError::corrupt(&dir, what),
        ReplayError::Unknown { id, name } => StorageError::UnknownLog { id, name },
    };
    let now = Timestamp(reactor::wall_clock_ms());
    let mut replay = Replay::new(catalog, Rc::clone(budget), now);
    for record in snapshot.into_iter().flat_map(|snapshot| snapshot.logs.values()) {
        replay.record(record).map_err(place)?;
    }
    for salvaged in salvage::load_all(options).await? {
        let (log, path) = (salvaged.log, salvaged.path);
        if replay.salvaged(log, salvaged.pieces) {
            tracing::warn!(%log, file = %path.display(), "salvaged records are taken in again");
        } else {
            salvage::remove(options, log).await?;
        }
    }
    let mut chain = Chain::new(snapshot.map_or(0, |snapshot| snapshot.summary.reclaimed));
    let mut held: Vec<(u64, usize, Vec<LogId>)> = Vec::new();
    while let Some(found) = scan.next(&mut chain).await? {
        report.commits += 1;
        report.bytes += found.bytes;
        let mut ids = Vec::new();
        for (number, (entry, payload)) in found.entries.into_iter().enumerate() {
            let lsn = Lsn { sequence: found.sequence, entry: number as u32 };
            if replay.entry(lsn, &entry, payload).map_err(place)? {
                ids.push(entry.log);
            }
        }
        held.push((found.sequence, found.bytes as usize, ids));
        if reactor::should_yield() {
            reactor::yield_now().await;
        }
    }
    if scan.named_durable > chain.sequence {
        let (first, last) = (chain.sequence + 1, scan.named_durable);
        let what = format!("commits {first} to {last} were acknowledged and are missing or damaged");
        if options.on_damage == OnDamage::Refuse {
            return Err(StorageError::corrupt(dir, what));
        }
        tracing::error!(ring = %dir.display(), what, "damage discarded as the options say");
        report.discarded = Some(what);
    }
    let deleted = std::mem::take(&mut replay.deleted);
    let logs = replay.finish().map_err(place)?;
    let logs: BTreeMap<LogId, Rc<LogCell>> =
        logs.into_iter().map(|(id, core)| (id, LogCell::new(id, core))).collect();
    let retained = held.into_iter().map(|(sequence, bytes, ids)| {
        let cells = ids.iter().filter_map(|id| logs.get(id).cloned()).collect();
        Retained { sequence, bytes, cells }
    });
    Ok(Replayed { retained: retained.collect(), logs, deleted, chain })
}

/// Finishes deletions that a crash interrupted.
async fn remove_deleted(
    options: &StoreOptions,
    deleted: &BTreeMap<LogId, Option<String>>,
) -> Result<(), StorageError> {
    let mut nameless = Vec::new();
    for (id, name) in deleted {
        match name {
            Some(name) => remove_dir(&log_dir(options, *id, name)).await?,
            None => nameless.push(format!("-{:016x}", id.0)),
        }
    }
    if nameless.is_empty() {
        return Ok(());
    }
    let topics = options.topics_dir();
    for entry in reactor::fs::read_dir(&topics).map_err(StorageError::io("read folder", &topics))? {
        let name = entry.name.to_string_lossy();
        if nameless.iter().any(|suffix| name.ends_with(suffix)) {
            remove_dir(&topics.join(&entry.name)).await?;
        }
    }
    Ok(())
}

/// Logs that have a folder and are not among those of this shard: of another shard, or lost with their checkpoint.
fn orphans(
    options: &StoreOptions,
    logs: &BTreeMap<LogId, Rc<LogCell>>,
) -> Result<BTreeSet<LogId>, StorageError> {
    let topics = options.topics_dir();
    let entries = reactor::fs::read_dir(&topics).map_err(StorageError::io("read folder", &topics))?;
    let id = |name: &str| u64::from_str_radix(name.rsplit_once('-')?.1, 16).ok().map(LogId);
    let ids = entries.iter().filter_map(|entry| id(&entry.name.to_string_lossy()));
    Ok(ids.filter(|id| !logs.contains_key(id)).collect())
}

/// A full checkpoint of what was recovered.
async fn write_checkpoint(
    slots: &mut Slots,
    logs: &BTreeMap<LogId, Rc<LogCell>>,
    lsn: Lsn,
    summary: Summary,
) -> Result<(), StorageError> {
    let records = logs.values().map(|cell| {
        let mut core = cell.core.borrow_mut();
        core.changed = false;
        LogRecord::of(cell.id, &mut core, lsn, Extent::Whole)
    });
    write_full(slots, records, summary).await
}
