//! Another number of shards: logs change the ring and the checkpoint they belong to, their segments stay where they are.
//!
//! Before anything is served, every ring found is recovered and drained, so that a log is its checkpoint record and its
//! segment files and nothing else. Then records move.
//!
//! Crash order: `shards` says 0 (moving) → the new places are durable, by whoever decides on them: after a crash the
//! numbers of shards may be equal again, and the places not → every shard drained → checkpoints of shards that gain
//! logs, with what they had and what they gain → checkpoints of those that lose → folders of shards that are no more →
//! `shards` says the new number. A crash in between leaves records twice but equal, because nothing was appended, and
//! the next start, whatever its number of shards, sees that the move has not ended and does it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{Slots, Snapshot, load, write_full};
use crate::data_dir::DataDir;
use crate::error::StorageError;
use crate::log_record::LogRecord;
use crate::options::{Catalog, Known, StoreOptions};
use crate::store::Store;
use crate::types::LogId;

/// Lays the data folder out for `shards` shards if it is not, with each log on the shard that `place` says; answers how
/// many logs moved. Runs on any reactor, before any store of the folder is open; the time is that of recovery.
///
/// `options` are those of any shard; its number does not matter.
pub async fn place_anew(
    dir: &DataDir,
    options: &StoreOptions,
    catalog: &Catalog,
    shards: u32,
    place: impl Fn(LogId) -> u32,
) -> Result<usize, StorageError> {
    match dir.shards().await? {
        Some(count) if count == shards => return Ok(0),
        None => {
            let stray = found(options)?;
            if let Some(shard) = stray.first() {
                let what = format!("the file is missing, but there is a folder shard-{shard}");
                return Err(StorageError::corrupt(options.data_dir.join("shards"), what));
            }
            dir.set_shards(shards).await?;
            return Ok(0);
        }
        Some(_) => dir.set_moving().await?,
    }
    let mut all: BTreeSet<u32> = found(options)?;
    all.extend(0..shards);
    let mut snapshots = BTreeMap::new();
    for shard in &all {
        snapshots.insert(*shard, drained(options, *shard, catalog).await?);
    }
    let mut records: BTreeMap<u64, LogRecord> = BTreeMap::new();
    for record in snapshots.values().flat_map(|snapshot| snapshot.logs.values()) {
        // In whatever ring it goes on, there are no entries of it yet.
        let record = LogRecord { lsn_sequence: 0, lsn_entry: 0, ..record.clone() };
        records.insert(record.id, record);
    }
    let mut wanted: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for id in records.keys() {
        let shard = place(LogId(*id));
        assert!(shard < shards, "a log is placed on a shard that is");
        wanted.entry(shard).or_default().push(*id);
    }
    let mut moved = 0;
    for (shard, snapshot) in &mut snapshots {
        let gained: Vec<u64> = wanted
            .get(shard)
            .into_iter()
            .flatten()
            .copied()
            .filter(|id| !snapshot.logs.contains_key(id))
            .collect();
        if !gained.is_empty() {
            moved += gained.len();
            let kept: Vec<u64> = snapshot.logs.keys().copied().collect();
            rewrite(options, *shard, snapshot, &records, [kept, gained].concat()).await?;
        }
    }
    for (shard, snapshot) in &mut snapshots {
        let kept = wanted.remove(shard).unwrap_or_default();
        if kept.len() != snapshot.logs.len() {
            rewrite(options, *shard, snapshot, &records, kept).await?;
        }
    }
    for shard in all.iter().filter(|shard| **shard >= shards) {
        let gone = StoreOptions { shard: *shard, ..options.clone() };
        for folder in [gone.ring_dir(), gone.shard_dir()] {
            if reactor::fs::exists(&folder).await.map_err(StorageError::io("look for", &folder))? {
                reactor::fs::remove_dir_all(&folder)
                    .await
                    .map_err(StorageError::io("remove folder", &folder))?;
            }
        }
    }
    dir.set_shards(shards).await?;
    Ok(moved)
}

/// Shards that have a folder.
fn found(options: &StoreOptions) -> Result<BTreeSet<u32>, StorageError> {
    let dir = &options.data_dir;
    let entries = reactor::fs::read_dir(dir).map_err(StorageError::io("read folder", dir))?;
    let number = |name: &str| name.strip_prefix("shard-")?.parse().ok();
    Ok(entries.iter().filter_map(|entry| number(entry.name.to_str()?)).collect())
}

/// A shard's state when nothing of it is only in the ring.
async fn drained(options: &StoreOptions, shard: u32, catalog: &Catalog) -> Result<Snapshot, StorageError> {
    let options = StoreOptions { shard, known: Known::Perhaps, ..options.clone() };
    let dir = options.shard_dir();
    let (store, report) = Store::open(options, catalog).await?;
    tracing::info!(shard, commits = report.commits, logs = report.logs, "drained to place its logs anew");
    store.close().await?;
    // What was salvaged of a log lies beside the ring that it had: it must be in segments before the log may move.
    if let Some(failed) =
        store.log_ids().into_iter().find(|id| store.log(*id).is_some_and(|log| log.is_offline()))
    {
        return Err(StorageError::Offline(failed));
    }
    load(&dir).await?.ok_or_else(|| StorageError::corrupt(dir, "the checkpoint just written is not there"))
}

/// A full checkpoint of exactly the logs `ids`.
async fn rewrite(
    options: &StoreOptions,
    shard: u32,
    snapshot: &mut Snapshot,
    records: &BTreeMap<u64, LogRecord>,
    ids: Vec<u64>,
) -> Result<(), StorageError> {
    let dir = StoreOptions { shard, ..options.clone() }.shard_dir();
    let mut slots = Slots::new(&dir, Some(snapshot));
    let chosen = ids.iter().filter_map(|id| records.get(id).cloned());
    write_full(&mut slots, chosen, snapshot.summary).await?;
    let read = load(&dir).await?;
    *snapshot = read.ok_or_else(|| StorageError::corrupt(dir, "the checkpoint just written is not there"))?;
    Ok(())
}
