//! What happens to a store in one life: producers, readers, and whoever deletes, truncates, checkpoints.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use reactor::sim::Random;
use reactor::{Priority, sleep, spawn};
use storage::producer_state::{ProducerBatch, ProducerCheck};
use storage::types::{LeaderEpoch, LogId, Offset, Timestamp};
use storage::{Append, Log, StageError, StorageError, Store};
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::record_batch::BatchHeader;

use crate::checks;
use crate::model::{Batch, Model, Outstanding};
use crate::plan::log_config;
use crate::run::{Seen, say};

/// What the tasks of one shard share.
#[derive(Clone)]
pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) shards: u32,
    pub(crate) store: Store,
    pub(crate) model: Rc<RefCell<Model>>,
    pub(crate) random: Rc<Random>,
    pub(crate) seen: Rc<RefCell<Seen>>,
}

impl Shard {
    fn pick(&self) -> Option<u64> {
        let active = self.seen.borrow().active_logs;
        let mut ids = self.model.borrow().on_shard(self.index, self.shards);
        // Mostly the active ones; the idle ones come last in the order of ids and seldom get a turn.
        if !self.random.one_in(30) {
            let few: Vec<u64> = ids.iter().copied().filter(|id| is_active(*id, active)).collect();
            if !few.is_empty() {
                ids = few;
            }
        }
        (!ids.is_empty()).then(|| *self.random.pick(&ids))
    }

    fn log(&self, id: u64) -> Option<Log> {
        self.store.log(LogId(id))
    }

    async fn pause(&self, us: std::ops::Range<u64>) {
        sleep(Duration::from_micros(self.random.range(us))).await;
    }
}

fn is_active(id: u64, active: u64) -> bool {
    id <= active || id > 1_000
}

/// A batch of some records, and how many.
fn batch(random: &Random, salt: u64, producer: Option<Producer>) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(producer) = producer {
        builder = builder.producer(producer);
    }
    let bytes = match random.below(40) {
        0 => random.range(20_000..checks::bounds::BATCH_BYTES_MAX as u64 - 1_000),
        1..6 => random.range(3_000..12_000),
        _ => random.range(20..1_500),
    };
    let records = random.range(1..6);
    let value: Vec<u8> = salt.to_le_bytes().into_iter().cycle().take((bytes / records) as usize).collect();
    for _ in 0..records {
        let timestamp = reactor::wall_clock_ms();
        builder.push(&NewRecord { timestamp, value: Some(&value), ..NewRecord::default() });
    }
    builder.build().expect("a batch")
}

/// Appends for as long as the store takes it.
pub(crate) async fn produce(shard: Shard) {
    loop {
        shard.pause(5..2_000).await;
        let Some(id) = shard.pick() else { continue };
        let turn = {
            let mut model = shard.model.borrow_mut();
            model.next_crc_salt += 1;
            let salt = model.next_crc_salt;
            let Some(log) = model.live.get_mut(&id) else { continue };
            if log.truncating.is_some() || log.offline {
                continue;
            }
            match &mut log.idempotent {
                Some(producer) if shard.random.one_in(2) && !producer.busy => {
                    producer.busy = true;
                    None
                }
                _ => Some(batch(&shard.random, salt, None)),
            }
        };
        match turn {
            None => spawn(Priority::Latency, "idempotent", idempotent(shard.clone(), id)).detach(),
            Some(bytes) => {
                if let Some((base, crc, log, ticket)) = stage(&shard, id, &bytes, None).await {
                    let shard = shard.clone();
                    spawn(Priority::Latency, "wait", async move {
                        if log.durable(ticket).await.is_ok() {
                            acknowledge(&shard, id, base, crc);
                        }
                    })
                    .detach();
                }
            }
        }
    }
}

fn acknowledge(shard: &Shard, id: u64, base: i64, crc: u32) {
    if let Some(log) = shard.model.borrow_mut().live.get_mut(&id) {
        log.acknowledge(base, crc);
        shard.seen.borrow_mut().add("acknowledged", 1);
    }
}

type Place = (i64, u32, Log, storage::Ticket);

/// Stages a batch when it is let in.
async fn stage(shard: &Shard, id: u64, bytes: &Bytes, producer: Option<(i64, i32)>) -> Option<Place> {
    admit(shard, bytes.len()).await?;
    stage_now(shard, id, bytes, producer)
}

async fn admit(shard: &Shard, bytes: usize) -> Option<()> {
    let admitted = shard.store.admit(bytes).await;
    shard.seen.borrow_mut().add("refused for space", u64::from(admitted == Err(StageError::NoSpace)));
    admitted.ok()
}

fn stage_now(shard: &Shard, id: u64, bytes: &Bytes, producer: Option<(i64, i32)>) -> Option<Place> {
    let log = shard.log(id)?;
    let header = BatchHeader::parse(bytes).expect("a batch");
    let mut model = shard.model.borrow_mut();
    let known = model.live.get_mut(&id)?;
    if known.truncating.is_some() {
        return None;
    }
    match log.stage(Append { bytes, header: &header, epoch: LeaderEpoch(1) }) {
        Ok(staged) => {
            let (base, next) = (staged.base_offset.0, staged.last_offset.0 + 1);
            assert!(base >= known.end(), "log {id}: {base} is given out again");
            known.batches.push(Batch { base, next, crc: header.crc, acknowledged: false, producer });
            drop(model);
            checks::bounds::check(&shard.store, &shard.seen.borrow().options);
            Some((base, header.crc, log, staged.ticket))
        }
        Err(StageError::Offline) => {
            known.offline = true;
            None
        }
        Err(StageError::NoSpace) => {
            shard.seen.borrow_mut().add("refused for space", 1);
            None
        }
        Err(_) => None,
    }
}

/// Sends the outstanding batch of a log's idempotent producer, or a new one, perhaps twice, until it is answered.
async fn idempotent(shard: Shard, id: u64) {
    let outstanding = {
        let mut model = shard.model.borrow_mut();
        model.next_crc_salt += 1;
        let salt = model.next_crc_salt;
        let Some(log) = model.live.get_mut(&id) else { return };
        let Some(producer) = &mut log.idempotent else { return };
        let (producer_id, sequence) = (producer.id, producer.next_sequence);
        let fresh = || {
            let producer = Producer { id: producer_id, epoch: 0, base_sequence: sequence };
            Outstanding { bytes: batch(&shard.random, salt, Some(producer)), sequence }
        };
        producer.outstanding.get_or_insert_with(fresh).clone()
    };
    let mut answered = false;
    for _ in 0..4 {
        if send_once(&shard, id, &outstanding).await == Some(true) {
            answered = true;
            break;
        }
        shard.pause(50..3_000).await;
    }
    let mut model = shard.model.borrow_mut();
    let producer = model.live.get_mut(&id).and_then(|log| log.idempotent.as_mut());
    if let Some(producer) = producer {
        producer.busy = false;
        if answered {
            let header = BatchHeader::parse(&outstanding.bytes).expect("a batch");
            producer.next_sequence = outstanding.sequence + header.last_offset_delta + 1;
            producer.outstanding = None;
        }
    }
}

/// One try. `Some(true)`: acknowledged. The answer may be given up while the original is not yet flushed, so that the next
/// try finds it staged.
async fn send_once(shard: &Shard, id: u64, outstanding: &Outstanding) -> Option<bool> {
    admit(shard, outstanding.bytes.len()).await?;
    let log = shard.log(id)?;
    let header = BatchHeader::parse(&outstanding.bytes).expect("a batch");
    let producer = ProducerBatch::of(&header).expect("a batch").expect("it has a producer");
    match log.check_producer(&producer) {
        ProducerCheck::Ok => {
            let key = (header.producer_id, header.base_sequence);
            let (base, crc, log, ticket) = stage_now(shard, id, &outstanding.bytes, Some(key))?;
            if let Some(log) = shard.model.borrow().live.get(&id) {
                checks::duplicates::check(log);
            }
            if shard.random.one_in(3) {
                return Some(false);
            }
            log.durable(ticket).await.ok()?;
            acknowledge(shard, id, base, crc);
            Some(true)
        }
        ProducerCheck::Duplicate(original) => {
            shard.seen.borrow_mut().add("duplicates", 1);
            log.flushed_above(original.last_offset).await.ok()?;
            let mut model = shard.model.borrow_mut();
            let known = model.live.get_mut(&id)?;
            let there = known.batch_at(original.base_offset.0).is_some_and(|batch| batch.crc == header.crc);
            let dropped = original.base_offset.0 < known.start_max;
            assert!(there || dropped, "log {id}: a duplicate of nothing at {}", original.base_offset);
            known.acknowledge(original.base_offset.0, header.crc);
            Some(true)
        }
        refused => panic!("log {id}: sequence {} is refused: {refused:?}", outstanding.sequence),
    }
}

/// Reads from anywhere, and compares.
pub(crate) async fn consume(shard: Shard) {
    loop {
        shard.pause(50..4_000).await;
        let Some(id) = shard.pick() else { continue };
        read_some(&shard, id).await;
    }
}

async fn read_some(shard: &Shard, id: u64) {
    let Some(log) = shard.log(id) else { return };
    let (start, flushed) = (log.start_offset().0, log.flushed_offset().0);
    let truncations = {
        let model = shard.model.borrow();
        let Some(known) = model.live.get(&id) else { return };
        if known.truncating.is_some() || flushed <= start {
            return;
        }
        checks::ends::check(known, &log);
        known.truncations
    };
    let from = if shard.random.one_in(2) {
        shard.random.range(start as u64..flushed as u64) as i64
    } else {
        (flushed - 1 - shard.random.below(8) as i64).max(start)
    };
    let most = shard.random.range(1..200_000) as usize;
    let Ok(read) = log.read(Offset(from), most, Offset::MAX).await else { return };
    let Ok(bytes) = read.into_bytes().await else { return };
    let mut model = shard.model.borrow_mut();
    let Some(known) = model.live.get_mut(&id) else { return };
    if known.truncations != truncations || log.is_gone() {
        return;
    }
    let next = checks::bytes::check(known, from, bytes);
    checks::shown::note(known, next, log.flushed_offset().0);
    shard.seen.borrow_mut().add("reads", 1);
}

/// Deletes, drops, truncates, checkpoints.
pub(crate) async fn disturb(shard: Shard) {
    loop {
        shard.pause(500..15_000).await;
        let Some(id) = shard.pick() else { continue };
        match shard.random.below(14) {
            0..4 => delete_records(&shard, id).await,
            4..8 => retain(&shard, id).await,
            8 => truncate(&shard, id).await,
            9 => {
                let _ = shard.store.checkpoint().await;
            }
            10 => create_again(&shard, id).await,
            _ => count(&shard, id),
        }
    }
}

async fn delete_records(shard: &Shard, id: u64) {
    let Some(log) = shard.log(id) else { return };
    let (start, flushed) = (log.start_offset().0, log.flushed_offset().0);
    if flushed <= start {
        return;
    }
    let before = start + shard.random.below((flushed - start) as u64 + 1) as i64;
    if let Some(known) = shard.model.borrow_mut().live.get_mut(&id) {
        if known.truncating.is_some() {
            return;
        }
        known.start_max = known.start_max.max(before);
    }
    let answer = log.delete_records(Offset(before)).await;
    say(|| format!("log {id}: records below {before} deleted: {answer:?}"));
    if let (Ok(start), Some(known)) = (answer, shard.model.borrow_mut().live.get_mut(&id)) {
        known.start = known.start.max(start.0);
    }
}

async fn retain(shard: &Shard, id: u64) {
    let Some(log) = shard.log(id) else { return };
    if let Some(known) = shard.model.borrow_mut().live.get_mut(&id) {
        known.start_max = known.start_max.max(log.flushed_offset().0);
    }
    let answer = log.apply_retention(Timestamp(reactor::wall_clock_ms())).await;
    say(|| format!("log {id}: retention: {answer:?}, starts at {}", log.start_offset()));
    if let (Ok(_), Some(known)) = (answer, shard.model.borrow_mut().live.get_mut(&id)) {
        known.start = known.start.max(log.start_offset().0);
    }
}

async fn truncate(shard: &Shard, id: u64) {
    let Some(log) = shard.log(id) else { return };
    let to = {
        let mut model = shard.model.borrow_mut();
        let Some(known) = model.live.get_mut(&id) else { return };
        let (start, end) = (log.start_offset().0, log.end_offset().0);
        let settled = log.flushed_offset().0 == end && known.start_max <= start;
        if !known.may_be_truncated() || known.truncating.is_some() || end <= start || !settled {
            return;
        }
        let to = start + shard.random.below((end - start) as u64) as i64;
        known.truncating = Some(to);
        known.truncations += 1;
        to
    };
    let answer = log.truncate(Offset(to)).await;
    say(|| format!("log {id}: truncated to {to}: {answer:?}"));
    let mut model = shard.model.borrow_mut();
    let Some(known) = model.live.get_mut(&id) else { return };
    if let Err(StorageError::OffsetOutOfRange { .. }) = answer {
        known.truncating = None;
    }
    if let Ok(end) = answer {
        assert!(end.0 <= to, "log {id}: truncated to {end}, asked for {to}");
        known.truncating = None;
        known.batches.retain(|batch| batch.next <= end.0);
        known.shown = known.shown.min(end.0);
        shard.seen.borrow_mut().add("truncated", 1);
    }
}

/// Deletes a log and makes one of the same name.
async fn create_again(shard: &Shard, id: u64) {
    if !shard.random.one_in(3) {
        return;
    }
    let spec = {
        let mut model = shard.model.borrow_mut();
        let Some(old) = model.live.remove(&id) else { return };
        // Ids of the same shard: the next is not on it in general, so skip to one that is.
        model.issued = model.issued.max(1_000);
        while crate::model::shard_of(model.issued + 1, shard.shards) != shard.index {
            model.issued += 1;
        }
        let config = log_config(&shard.random);
        model.create(&old.spec.name, config, shard.random.one_in(2))
    };
    let _ = shard.store.delete_log(LogId(id)).await;
    if shard.store.create_log(spec).is_ok() {
        shard.seen.borrow_mut().add("deleted and created again", 1);
    }
}

fn count(shard: &Shard, id: u64) {
    if let Some(log) = shard.log(id)
        && log.segment_count() > 1
    {
        shard.seen.borrow_mut().add("rolled", 1);
    }
}
