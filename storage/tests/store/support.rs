//! What the tests of the store share: a reactor, a small ring, batches with content that says where it belongs.

use std::future::Future;
use std::path::Path;

use bytes::Bytes;
use storage::types::{LeaderEpoch, LogId, Offset};
use storage::{
    Append, Catalog, Log, LogConfig, LogSpec, RecoveryReport, StageError, Staged, StorageError, Store,
    StoreOptions,
};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::record_batch::{BatchHeader, Batches};

/// Runs a future on a reactor of its own; what it spawned is dropped with it, as by a kill.
pub(crate) fn run<F, Fut, T>(main: F) -> T
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = T> + 'static,
    T: 'static,
{
    reactor::Builder::new("test").run(main).expect("a reactor")
}

/// A folder beside the build's output, where direct I/O works.
pub(crate) fn folder() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tempfile::Builder::new().prefix("storage-").tempdir_in(target).expect("a folder")
}

/// A small ring: 256 KiB first, 1 MiB in all.
pub(crate) fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        commit_log_bytes: 1 << 20,
        ring_first_file_bytes: 256 << 10,
        ring_file_bytes: 256 << 10,
        dirty_bytes: 512 << 10,
        tail_bytes: 256 << 10,
        free_bytes_min: 0,
        ..StoreOptions::new(dir, 0)
    }
}

pub(crate) fn spec(id: u64) -> LogSpec {
    spec_with(id, LogConfig::default())
}

pub(crate) fn spec_with(id: u64, config: LogConfig) -> LogSpec {
    LogSpec { id: LogId(id), name: format!("topic-{id}"), config }
}

pub(crate) fn catalog(specs: &[LogSpec]) -> Catalog {
    Catalog { live: specs.iter().map(|spec| (spec.id, spec.clone())).collect(), issued_max: LogId(1_000_000) }
}

pub(crate) async fn open(options: StoreOptions, specs: &[LogSpec]) -> (Store, RecoveryReport) {
    try_open(options, specs).await.expect("the store opens")
}

pub(crate) async fn try_open(
    options: StoreOptions,
    specs: &[LogSpec],
) -> Result<(Store, RecoveryReport), StorageError> {
    Store::open(options, &catalog(specs)).await
}

/// A batch of one record whose value is `value` and whose timestamp is `timestamp`.
pub(crate) fn batch_at(value: &[u8], timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&NewRecord { timestamp, value: Some(value), ..NewRecord::default() });
    builder.build().expect("a batch")
}

pub(crate) fn batch(value: &[u8]) -> Bytes {
    batch_at(value, 1_700_000_000_000)
}

/// Bytes that are recognisable: a number over and over.
pub(crate) fn value(number: u64, length: usize) -> Vec<u8> {
    number.to_le_bytes().iter().copied().cycle().take(length).collect()
}

pub(crate) fn producer_batch(id: i64, sequence: i32) -> Bytes {
    let mut builder =
        BatchBuilder::new(Codec::None).producer(Producer { id, epoch: 0, base_sequence: sequence });
    builder.push(&NewRecord { timestamp: 1_700_000_000_000, value: Some(b"v"), ..NewRecord::default() });
    builder.build().expect("a batch")
}

pub(crate) fn stage(log: &Log, bytes: &Bytes) -> Result<Staged, StageError> {
    let header = BatchHeader::parse(bytes).expect("a batch");
    log.stage(Append { bytes, header: &header, epoch: LeaderEpoch(1) })
}

/// Stages, after admission, and waits until it is on disk.
pub(crate) async fn append(store: &Store, log: &Log, bytes: &Bytes) -> Staged {
    let staged = stage_admitted(store, log, bytes).await;
    log.durable(staged.ticket).await.expect("durable");
    staged
}

pub(crate) async fn stage_admitted(store: &Store, log: &Log, bytes: &Bytes) -> Staged {
    store.admit(bytes.len()).await.expect("admitted");
    stage(log, bytes).expect("staged")
}

/// All batches of a log as (base offset, bytes), read in pieces of `piece` bytes.
pub(crate) async fn read_all(log: &Log, piece: usize) -> Vec<(i64, Bytes)> {
    let mut out = Vec::new();
    let mut from = log.start_offset();
    while from < log.flushed_offset() {
        let read = log.read(from, piece, Offset::MAX).await.expect("readable");
        assert!(!read.is_empty(), "nothing at {from} of {}", log.flushed_offset());
        let bytes = read.into_bytes().await.expect("files have what they promise");
        let before = from;
        for batch in Batches::new(bytes) {
            let batch = batch.expect("whole batches");
            batch.header.verify_crc(&batch.bytes).expect("the bytes that were sent");
            assert!(batch.header.last_offset() >= from.0);
            from = Offset(batch.header.next_offset());
            out.push((batch.header.base_offset, batch.bytes));
        }
        assert!(from > before, "a read has at least one whole batch");
    }
    out
}

/// The one record's value of a batch that [`batch`] made.
pub(crate) fn contains(batch: &Bytes, value: &[u8]) -> bool {
    batch.windows(value.len()).any(|window| window == value)
}
