//! One shard's storage: its commit log, its logs, and what runs behind them.
//!
//! **Contract.** [`Store::open`] recovers, and when it returns everything acknowledged before is readable and new
//! appends can be staged. [`Store::close`] brings everything into segments and writes a checkpoint, so that the next
//! start has nothing to replay; dropping a store without it is a crash, by design the same to recovery as a kill.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use reactor::sync::{Notify, Semaphore};
use reactor::{File, SyncMethod, Task};

use crate::checkpoint::{Slots, Summary};
use crate::cold_segments::ColdSegments;
use crate::commit_log::{CommitLog, CommitStats};
use crate::deletion::Retired;
use crate::error::{StageError, StorageError};
use crate::limits::{COLD_READS_MAX, FOLDER_NAME_KEPT, LOGS_STEP};
use crate::log::Log;
use crate::log::core::{Health, LogCell, LogCore};
use crate::options::{Catalog, LogConfig, LogSpec, StoreOptions};
use crate::producer_state::ProducerBudget;
use crate::recovery::RecoveryReport;
use crate::space::Space;
use crate::types::LogId;

/// How commits are synced, and how long that took at start.
#[derive(Clone, Copy, Debug)]
pub struct SyncProbe {
    /// The method in use.
    pub method: SyncMethod,
    /// Median time of a 4 KiB commit with it, at start.
    pub latency: Duration,
}

/// State and counters of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStats {
    /// Of the commit log.
    pub commits: CommitStats,
    /// Bytes of the ring's files.
    pub ring_bytes: u64,
    /// Bytes that commits may take before anything is freed.
    pub ring_free_bytes: u64,
    /// Appended bytes that writeback has not gone through.
    pub dirty_bytes: u64,
    /// Bytes of commit buffers kept for readers.
    pub tail_bytes: usize,
    /// Bytes written to segments.
    pub writeback_bytes: u64,
    /// Of these, bytes that were copied for it; the others were written from where they lay.
    pub writeback_copied_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Syncs of the whole file system, each for what a checkpoint wrote to many files.
    pub synced_together: u64,
    /// Files of segments that were made many at a time.
    pub made_together: u64,
    /// Partial blocks carried forward.
    pub carried: u64,
    /// Logs.
    pub logs: usize,
    /// Logs whose files have failed.
    pub offline_logs: usize,
    /// Bytes of such logs that were brought from the commit log to files of their own.
    pub salvaged_bytes: u64,
    /// Appends that wait to be admitted.
    pub appends_waiting: usize,
    /// The commit log has failed.
    pub poisoned: bool,
    /// Free space is below the reserve, or the file system refused a write for want of it.
    pub no_space: bool,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) writeback_bytes: Cell<u64>,
    pub(crate) writeback_copied_bytes: Cell<u64>,
    pub(crate) checkpoints: Cell<u64>,
    pub(crate) synced_together: Cell<u64>,
    pub(crate) made_together: Cell<u64>,
    pub(crate) carried: Cell<u64>,
    pub(crate) offline_logs: Cell<usize>,
    pub(crate) salvaged_bytes: Cell<u64>,
    /// Of these, bytes that are kept in memory for readers.
    pub(crate) salvaged_held: Cell<u64>,
    /// Checkpoints that failed since the last good one.
    pub(crate) checkpoint_failures: Cell<u32>,
}

/// What the store's handles, its logs and its tasks share.
pub(crate) struct StoreInner {
    pub(crate) options: StoreOptions,
    pub(crate) commit: CommitLog,
    pub(crate) probe: SyncProbe,
    pub(crate) logs: RefCell<BTreeMap<LogId, Rc<LogCell>>>,
    pub(crate) budget: Rc<ProducerBudget>,
    /// Logs that a checkpoint must look at: changed, or with bytes that no segment holds safely.
    pub(crate) listed: RefCell<Vec<Rc<LogCell>>>,
    /// Logs with a folder that recovery knew nothing of.
    orphans: BTreeSet<LogId>,
    /// Settings of the log that was made or set last.
    last_config: RefCell<Rc<LogConfig>>,
    /// Deleted logs that the last checkpoint still names.
    pub(crate) removed: RefCell<Vec<LogId>>,
    pub(crate) slots: RefCell<Slots>,
    pub(crate) cold: ColdSegments,
    /// Turns of reads that look into segments.
    pub(crate) cold_reads: Semaphore,
    pub(crate) pressure: Rc<Notify>,
    /// Tells the task that makes ring files that the ring is used.
    pub(crate) growth: Notify,
    /// Tells tasks that pause that the store is closed.
    pub(crate) closing: Notify,
    /// Maintenance and growth.
    pub(crate) tasks: RefCell<Vec<Task<()>>>,
    /// One at a time: writeback, checkpoint, truncation, deletion.
    pub(crate) maintenance: Semaphore,
    pub(crate) counters: Counters,
    /// What checkpoints say of the ring; `reclaimed` moves.
    pub(crate) summary: Cell<Summary>,
    /// Folders with new names that are not yet durable.
    pub(crate) unsynced_dirs: RefCell<BTreeSet<PathBuf>>,
    pub(crate) space: Space,
    /// The folder of segments, held open to sync its file system; `None` where that is no sync of every file.
    pub(crate) file_system: Option<File>,
    /// Whether the device takes writes from memory that is aligned to [`SECTOR`](crate::limits::SECTOR) only, as far as is known.
    pub(crate) writes_in_place: Cell<bool>,
    closed: Cell<bool>,
}

impl StoreInner {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Settings as logs keep them: those that are made or set one after the other with the same ones share them.
    pub(crate) fn shared(&self, config: LogConfig) -> Rc<LogConfig> {
        let mut last = self.last_config.borrow_mut();
        if **last != config {
            *last = Rc::new(config);
        }
        Rc::clone(&last)
    }

    /// Puts a log on the list of those that the next checkpoint looks at.
    pub(crate) fn list(&self, cell: &Rc<LogCell>) {
        let mut core = cell.core.borrow_mut();
        if !core.listed {
            core.listed = true;
            self.listed.borrow_mut().push(Rc::clone(cell));
        }
    }

    /// Folder of a log's segments.
    pub(crate) fn log_dir(&self, id: LogId, name: &str) -> PathBuf {
        log_dir(&self.options, id, name)
    }
}

/// Folder of a log's segments: the log id in the name keeps a re-created topic apart from the deleted one. The longest
/// of Kafka's names leave no room for it and are cut; the id alone tells folders apart.
pub(crate) fn log_dir(options: &StoreOptions, id: LogId, name: &str) -> PathBuf {
    let kept =
        name.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(|end| *end <= FOLDER_NAME_KEPT);
    options.topics_dir().join(format!("{}-{:016x}", &name[..kept.last().unwrap_or(0)], id.0))
}

/// One shard's storage. Cloning gives another handle of the same; the last one dropped ends it as a crash would.
#[derive(Clone)]
pub struct Store {
    handle: Rc<Handle>,
}

struct Handle {
    inner: Rc<StoreInner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.closed.set(true);
        self.inner.commit.stop();
        self.inner.pressure.notify_one();
        self.inner.growth.notify_one();
        self.inner.closing.notify_all();
    }
}

/// What recovery hands over.
pub(crate) struct Recovered {
    pub(crate) options: StoreOptions,
    pub(crate) commit: CommitLog,
    pub(crate) pressure: Rc<Notify>,
    pub(crate) probe: SyncProbe,
    pub(crate) logs: BTreeMap<LogId, Rc<LogCell>>,
    pub(crate) orphans: BTreeSet<LogId>,
    pub(crate) budget: Rc<ProducerBudget>,
    pub(crate) slots: Slots,
    pub(crate) summary: Summary,
}

impl Store {
    /// Recovers one shard's storage and starts it. The data folder is locked by the caller
    /// ([`DataDir`](crate::data_dir::DataDir)).
    ///
    /// # Errors
    /// Damage, an unknown log, a folder without direct I/O, or the system's.
    pub async fn open(
        options: StoreOptions,
        catalog: &Catalog,
    ) -> Result<(Store, RecoveryReport), StorageError> {
        let (store, report) = Self::open_once(options.clone(), catalog).await?;
        if report.discarded.is_none() {
            return Ok((store, report));
        }
        // What survived goes into segments, and the ring gets another id: old headers name commits that are gone,
        // and would be taken for damage at every start.
        store.checkpoint().await?;
        let inner = store.inner();
        inner.summary.set(Summary { ring_id: crate::recovery::new_ring_id(), ..inner.summary.get() });
        store.checkpoint().await?;
        drop(store);
        let (store, _) = Self::open_once(options, catalog).await?;
        Ok((store, report))
    }

    async fn open_once(
        options: StoreOptions,
        catalog: &Catalog,
    ) -> Result<(Store, RecoveryReport), StorageError> {
        let (recovered, report) = crate::recovery::recover(options, catalog).await?;
        let logs: Vec<Rc<LogCell>> = recovered.logs.values().cloned().collect();
        let file_system = crate::together::open(&recovered.options).await?;
        let inner = Self::assemble(recovered, file_system);
        let mut pace = reactor::Pace::every(LOGS_STEP);
        for cell in logs {
            let unsettled = {
                let core = cell.core.borrow();
                core.changed || core.unsafe_from() < core.end_at() || !core.doomed.is_empty()
            };
            if unsettled {
                inner.list(&cell);
            }
            pace.step().await;
        }
        crate::maintenance::start(&inner).await?;
        Ok((Store { handle: Rc::new(Handle { inner }) }, report))
    }

    fn assemble(recovered: Recovered, file_system: Option<File>) -> Rc<StoreInner> {
        Rc::new(StoreInner {
            options: recovered.options,
            commit: recovered.commit,
            probe: recovered.probe,
            logs: RefCell::new(recovered.logs),
            budget: recovered.budget,
            listed: RefCell::default(),
            orphans: recovered.orphans,
            last_config: RefCell::default(),
            removed: RefCell::default(),
            slots: RefCell::new(recovered.slots),
            cold: ColdSegments::new(),
            cold_reads: Semaphore::new(COLD_READS_MAX),
            pressure: recovered.pressure,
            growth: Notify::new(),
            closing: Notify::new(),
            tasks: RefCell::default(),
            maintenance: Semaphore::new(1),
            counters: Counters::default(),
            summary: Cell::new(recovered.summary),
            unsynced_dirs: RefCell::default(),
            space: Space::default(),
            file_system,
            writes_in_place: Cell::new(true),
            closed: Cell::new(false),
        })
    }

    pub(crate) fn inner(&self) -> &Rc<StoreInner> {
        &self.handle.inner
    }

    fn handle_of(&self, cell: Rc<LogCell>) -> Log {
        Log { store: Rc::clone(self.inner()), cell }
    }

    /// The log of `spec`: as recovered, or a new and empty one, which has no file. Its id must be durable in the
    /// metadata log already.
    ///
    /// # Errors
    /// [`StorageError::Gone`] when the store is closed; [`StorageError::Corrupt`] when there are segments of which
    /// neither checkpoint nor commit log knows.
    pub fn create_log(&self, spec: LogSpec) -> Result<Log, StorageError> {
        let inner = self.inner();
        if inner.is_closed() {
            return Err(StorageError::Gone);
        }
        let config = inner.shared(spec.config);
        let mut logs = inner.logs.borrow_mut();
        if inner.orphans.contains(&spec.id) && !logs.contains_key(&spec.id) {
            let dir = inner.log_dir(spec.id, &spec.name);
            let what = "it has segments, but neither a checkpoint nor the commit log knows of them";
            return Err(StorageError::corrupt(dir, what));
        }
        let cell = logs.entry(spec.id).or_insert_with(|| {
            LogCell::new(spec.id, LogCore::new(&spec.name, Rc::clone(&config), Rc::clone(&inner.budget)))
        });
        let cell = Rc::clone(cell);
        cell.core.borrow_mut().config = config;
        Ok(self.handle_of(cell))
    }

    /// The log with this id.
    pub fn log(&self, id: LogId) -> Option<Log> {
        self.inner().logs.borrow().get(&id).cloned().map(|cell| self.handle_of(cell))
    }

    /// The ids of all logs.
    pub fn log_ids(&self) -> Vec<LogId> {
        self.inner().logs.borrow().keys().copied().collect()
    }

    /// Gives up a log whose deletion is durable in the metadata log: it is gone for everybody at once. Its files are the
    /// caller's to have removed, when there is time. `None`: there is no such log.
    pub fn retire_log(&self, id: LogId) -> Option<Retired> {
        crate::deletion::retire(self.inner(), id)
    }

    /// Gives up a log ([`Self::retire_log`]) and removes its files.
    ///
    /// # Errors
    /// The system's; [`StorageError::Gone`] when the store was closed meanwhile.
    pub async fn delete_log(&self, id: LogId) -> Result<(), StorageError> {
        match self.retire_log(id) {
            Some(retired) => retired.remove_files().await,
            None => Ok(()),
        }
    }

    /// Waits until an append of `bytes` can be staged, first come first served. Stage in the same poll.
    ///
    /// # Errors
    /// What [`Log::stage`] would give, but never [`StageError::Full`].
    pub async fn admit(&self, bytes: usize) -> Result<(), StageError> {
        self.inner().commit.admit(bytes).await
    }

    /// Largest batch that the commit log takes, in bytes.
    pub fn append_bytes_max(&self) -> usize {
        self.inner().commit.append_max()
    }

    /// How commits are synced here.
    pub fn sync_probe(&self) -> SyncProbe {
        self.inner().probe
    }

    /// State and counters.
    pub fn stats(&self) -> StoreStats {
        let inner = self.inner();
        let (ring_bytes, ring_free_bytes) = inner.commit.with_ring(|ring| (ring.total(), ring.free()));
        StoreStats {
            commits: inner.commit.stats(),
            ring_bytes,
            ring_free_bytes,
            dirty_bytes: inner.commit.dirty(),
            tail_bytes: inner.commit.retained_bytes(),
            writeback_bytes: inner.counters.writeback_bytes.get(),
            writeback_copied_bytes: inner.counters.writeback_copied_bytes.get(),
            checkpoints: inner.counters.checkpoints.get(),
            synced_together: inner.counters.synced_together.get(),
            made_together: inner.counters.made_together.get(),
            carried: inner.counters.carried.get(),
            logs: inner.logs.borrow().len(),
            offline_logs: inner.counters.offline_logs.get(),
            salvaged_bytes: inner.counters.salvaged_bytes.get(),
            appends_waiting: inner.commit.waiting(),
            poisoned: inner.commit.poisoned().is_some(),
            no_space: inner.no_space(),
        }
    }

    /// Why the commit log has failed, if it has.
    pub fn poisoned(&self) -> Option<String> {
        self.inner().commit.poisoned().map(|cause| cause.to_string())
    }

    /// Writes everything durable into segments and a checkpoint now.
    pub async fn checkpoint(&self) -> Result<(), StorageError> {
        crate::maintenance::checkpoint_now(self.inner()).await
    }

    /// Takes nothing any more, waits for what is staged, brings everything into segments, writes a checkpoint. Of very many quiet
    /// logs some stay in the commit log, so that this does not take long, and the next start replays them. The store is unusable
    /// afterwards, also on an error; then the next start replays.
    pub async fn close(&self) -> Result<(), StorageError> {
        let inner = self.inner();
        let result = crate::maintenance::close(inner).await;
        inner.closed.set(true);
        inner.commit.stop();
        inner.pressure.notify_one();
        inner.growth.notify_one();
        inner.closing.notify_all();
        let cells: Vec<Rc<LogCell>> = inner.logs.borrow().values().cloned().collect();
        for cell in cells {
            let health = &mut cell.core.borrow_mut().health;
            if *health == Health::Serving {
                *health = Health::Gone;
            }
            cell.notify_grew();
        }
        // None of them may touch a file of the folder when this returns: it may be removed. The logs are gone by now, so
        // that whoever held a turn gives it back.
        let tasks = std::mem::take(&mut *inner.tasks.borrow_mut());
        for task in tasks {
            task.await;
        }
        result
    }
}
