//! Records on their way into batches, one line of open batches per partition.
//!
//! As in the Java client: records gather in a partition's newest batch until it is full; a partition is *ready* when
//! its oldest batch is full or has lingered; the sender takes the oldest batch of each ready partition, however full
//! it is by then. So a slow broker makes batches grow instead of queues of small ones. Sequences are given when a
//! batch is taken, in the order of sending. Pure: no clock, no socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reactor::Instant;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::record_batch::{BatchError, BatchHeader, HEADER_LEN, set_crc};

use crate::limits::SPARE_BUFFERS_MAX;
use crate::records::RecordSource;

/// How records become batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSettings {
    /// A batch takes no more records when it would exceed this, but always takes one.
    pub(crate) batch_bytes: usize,
    /// How long an incomplete batch waits for more records.
    pub(crate) linger: Duration,
    pub(crate) codec: Codec,
}

/// From when the latency of a batch's records counts.
#[derive(Clone, Debug)]
pub(crate) enum Intended {
    /// Each record from its own intended time (open loop), with how many in a row have the same.
    Each(Vec<(Instant, u32)>),
    /// All from the moment the request is sent (closed loop).
    Sending,
}

/// The producer that batches are from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    /// Its batches belong to its transaction.
    pub(crate) transactional: bool,
}

/// A batch ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Place of its partition in the accumulator.
    pub(crate) slot: usize,
    pub(crate) bytes: Bytes,
    pub(crate) records: u32,
    /// Number in the partition of its first record.
    pub(crate) first_number: u64,
    /// Bytes of its values.
    pub(crate) value_bytes: u64,
    pub(crate) intended: Intended,
    /// What it is a copy of.
    template: Option<Template>,
}

/// A full batch made once and sent again and again with new header fields: what a load is made of when it need not
/// differ from batch to batch.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// Copies that were sent and acknowledged, to be sent again.
    spare: Rc<RefCell<Vec<BytesMut>>>,
    bytes: Bytes,
    records: u32,
    value_bytes: u64,
}

impl Template {
    /// As many of the next records as `settings` allow in a batch. The one that finds no room is left with the source.
    pub(crate) fn new(source: &mut RecordSource, settings: BatchSettings) -> Result<Self, BatchError> {
        let mut builder = BatchBuilder::new(settings.codec);
        let mut value_bytes = 0;
        loop {
            let record = source.record();
            if !has_room(&builder, payload_len(&record), settings.batch_bytes) {
                break;
            }
            builder.push(&record);
            value_bytes += record.value.map_or(0, <[u8]>::len) as u64;
            source.draw();
        }
        let records = builder.record_count() as u32;
        Ok(Self { spare: Rc::default(), bytes: builder.build()?, records, value_bytes })
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// The batch, written now and by `producer`, outside of transactions.
    fn batch(&self, timestamp: i64, producer: Option<Producer>) -> Result<Bytes, BatchError> {
        let mut header = BatchHeader::parse(&self.bytes)?;
        header.base_timestamp = timestamp;
        header.max_timestamp = timestamp;
        if let Some(producer) = producer {
            header.producer_id = producer.id;
            header.producer_epoch = producer.epoch;
            header.base_sequence = producer.base_sequence;
        }
        let spare = self.spare.borrow_mut().pop();
        let mut bytes = spare.unwrap_or_else(|| BytesMut::from(&self.bytes[..]));
        bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        set_crc(&mut bytes);
        Ok(bytes.freeze())
    }
}

/// Bytes of key, value and headers.
fn payload_len(record: &NewRecord<'_>) -> usize {
    /// What a header costs at most besides name and value: two lengths.
    const HEADER_OVERHEAD: usize = 4;
    let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(|(name, value)| name.len() + len(*value) + HEADER_OVERHEAD);
    len(record.key) + len(record.value) + headers.sum::<usize>()
}

/// Whether a batch takes one more record with so many bytes of payload.
fn has_room(builder: &BatchBuilder, payload_len: usize, batch_bytes: usize) -> bool {
    /// What a record costs at most besides its payload: varints of lengths, times, offset and counts.
    const RECORD_OVERHEAD: usize = 24;
    builder.record_count() == 0 || builder.size() + payload_len + RECORD_OVERHEAD <= batch_bytes
}

enum Content {
    Records(BatchBuilder),
    Template(Template, i64),
}

struct OpenBatch {
    content: Content,
    first_number: u64,
    value_bytes: u64,
    intended: Intended,
    opened: Instant,
}

#[derive(Default)]
struct Slot {
    batches: VecDeque<OpenBatch>,
    next_number: u64,
    next_sequence: i32,
    is_ready: bool,
}

/// The open batches of the partitions that one connection leads to.
pub(crate) struct Accumulator {
    settings: BatchSettings,
    slots: Vec<Slot>,
    /// Slots whose oldest batch may be sent, oldest first.
    ready: VecDeque<usize>,
    /// Slots with a batch that lingers, in the order of opening; may name batches that are gone.
    lingering: VecDeque<(Instant, usize)>,
    /// Memory of batches that were acknowledged.
    spare: Vec<Vec<u8>>,
}

impl Accumulator {
    pub(crate) fn new(slots: usize, settings: BatchSettings) -> Self {
        Self {
            settings,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            ready: VecDeque::new(),
            lingering: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Takes back the memory of a batch that was acknowledged, if nobody else holds it.
    pub(crate) fn give_back(&mut self, batch: Batch) {
        let Ok(mut bytes) = batch.bytes.try_into_mut() else { return };
        if let Some(template) = batch.template {
            let mut spare = template.spare.borrow_mut();
            if spare.len() < SPARE_BUFFERS_MAX {
                spare.push(bytes);
            }
        } else if self.spare.len() < SPARE_BUFFERS_MAX {
            bytes.clear();
            self.spare.push(bytes.into());
        }
    }

    /// Number that the next record of `slot` gets.
    pub(crate) fn next_number(&self, slot: usize) -> u64 {
        self.slots[slot].next_number
    }

    /// Adds a record, due at `intended`, at `now`; says whether its partition has become ready.
    pub(crate) fn push(
        &mut self,
        slot: usize,
        record: &NewRecord<'_>,
        intended: Instant,
        now: Instant,
    ) -> bool {
        let value_len = record.value.map_or(0, <[u8]>::len);
        let payload_len = payload_len(record);
        let batch_bytes = self.settings.batch_bytes;
        let line = &mut self.slots[slot];
        let takes = line.batches.back().is_some_and(|batch| {
            matches!(&batch.content, Content::Records(builder) if has_room(builder, payload_len, batch_bytes))
        });
        if !takes {
            let buffer = self.spare.pop().unwrap_or_default();
            line.batches.push_back(OpenBatch {
                content: Content::Records(BatchBuilder::new_in(buffer, self.settings.codec)),
                first_number: line.next_number,
                value_bytes: 0,
                intended: Intended::Each(Vec::new()),
                opened: now,
            });
            if !self.settings.linger.is_zero() {
                self.lingering.push_back((now + self.settings.linger, slot));
            }
        }
        line.next_number += 1;
        let mut is_full = false;
        if let Some(OpenBatch { content: Content::Records(builder), value_bytes, intended: times, .. }) =
            line.batches.back_mut()
        {
            builder.push(record);
            *value_bytes += value_len as u64;
            if let Intended::Each(times) = times {
                match times.last_mut() {
                    Some((last, count)) if *last == intended => *count += 1,
                    _ => times.push((intended, 1)),
                }
            }
            is_full = !has_room(builder, payload_len, batch_bytes);
        }
        let is_ready = is_full || line.batches.len() > 1 || self.settings.linger.is_zero();
        is_ready && self.make_ready(slot)
    }

    /// Adds a whole batch, in a closed loop.
    pub(crate) fn push_template(&mut self, slot: usize, template: &Template, timestamp: i64, now: Instant) {
        let line = &mut self.slots[slot];
        line.batches.push_back(OpenBatch {
            content: Content::Template(template.clone(), timestamp),
            first_number: line.next_number,
            value_bytes: template.value_bytes,
            intended: Intended::Sending,
            opened: now,
        });
        line.next_number += u64::from(template.records);
        self.make_ready(slot);
    }

    /// When the next batch has lingered long enough.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.lingering.front().map(|(deadline, _)| *deadline)
    }

    /// Makes partitions ready whose batches have lingered long enough; says whether there was one.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((deadline, slot)) =
            self.lingering.front().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.lingering.pop_front();
            let oldest = self.slots[slot].batches.front();
            if oldest.is_some_and(|batch| batch.opened + self.settings.linger <= deadline) {
                self.make_ready(slot);
                any = true;
            }
        }
        any
    }

    /// Makes everything ready: no more records come.
    pub(crate) fn flush(&mut self) {
        for slot in 0..self.slots.len() {
            if !self.slots[slot].batches.is_empty() {
                self.make_ready(slot);
            }
        }
        self.lingering.clear();
    }

    #[cfg(test)]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The partition whose batch [`Accumulator::take`] would take.
    pub(crate) fn next_slot(&self) -> Option<usize> {
        self.ready.front().copied()
    }

    /// Whether no record waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.batches.is_empty())
    }

    /// Takes the oldest batch of the partition that has been ready longest. With a producer it gets the partition's next
    /// sequences.
    pub(crate) fn take(&mut self, identity: Option<Identity>) -> Result<Option<Batch>, BatchError> {
        let Some(slot) = self.ready.pop_front() else { return Ok(None) };
        let line = &mut self.slots[slot];
        line.is_ready = false;
        let Some(open) = line.batches.pop_front() else { return Ok(None) };
        if !line.batches.is_empty() {
            // The oldest of several is closed, whatever is in it.
            self.make_ready(slot);
        }
        let line = &mut self.slots[slot];
        let producer = identity.map(|Identity { id, epoch, .. }| Producer {
            id,
            epoch,
            base_sequence: line.next_sequence,
        });
        let transactional = identity.is_some_and(|identity| identity.transactional);
        let (records, bytes, template) = match open.content {
            Content::Records(builder) => {
                let records = builder.record_count() as u32;
                let builder = match producer {
                    Some(producer) => builder.producer(producer),
                    None => builder,
                };
                let builder = if transactional { builder.transactional() } else { builder };
                (records, builder.build()?, None)
            }
            Content::Template(template, timestamp) => {
                (template.records, template.batch(timestamp, producer)?, Some(template))
            }
        };
        // Sequences go from i32::MAX to 0.
        line.next_sequence =
            ((i64::from(line.next_sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32;
        let (first_number, value_bytes, intended) = (open.first_number, open.value_bytes, open.intended);
        Ok(Some(Batch { slot, bytes, records, first_number, value_bytes, intended, template }))
    }

    /// Says whether it was not.
    fn make_ready(&mut self, slot: usize) -> bool {
        let is_new = !self.slots[slot].is_ready;
        if is_new {
            self.slots[slot].is_ready = true;
            self.ready.push_back(slot);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributions::Keys;
    use crate::records::RecordShape;

    fn accumulator(batch_bytes: usize, linger_ms: u64) -> Accumulator {
        let linger = Duration::from_millis(linger_ms);
        Accumulator::new(2, BatchSettings { batch_bytes, linger, codec: Codec::None })
    }

    fn at(ms: u64) -> Instant {
        Instant::from_ns(ms * 1_000_000)
    }

    fn push(accumulator: &mut Accumulator, slot: usize, now: Instant) {
        let record = NewRecord { value: Some(&[b'v'; 100]), timestamp: 5, ..NewRecord::default() };
        accumulator.push(slot, &record, now, now);
    }

    fn idempotent(id: i64, epoch: i16) -> Identity {
        Identity { id, epoch, transactional: false }
    }

    #[test]
    fn batches_of_a_transaction_say_so() {
        let mut accumulator = accumulator(10_000, 0);
        for transactional in [true, false] {
            push(&mut accumulator, 0, at(1));
            let identity = Identity { id: 5, epoch: 1, transactional };
            let batch = accumulator.take(Some(identity)).unwrap().unwrap();
            assert_eq!(header(&batch).attributes.is_transactional(), transactional);
        }
    }

    fn header(batch: &Batch) -> BatchHeader {
        let header = BatchHeader::parse(&batch.bytes).expect("a batch");
        header.verify_crc(&batch.bytes).expect("its CRC");
        header
    }

    #[test]
    fn without_linger_a_record_is_ready_at_once() {
        let mut accumulator = accumulator(10_000, 0);
        push(&mut accumulator, 0, at(1));
        let batch = accumulator.take(None).unwrap().unwrap();
        assert_eq!((batch.slot, batch.records, batch.value_bytes), (0, 1, 100));
        assert!(accumulator.is_empty() && !accumulator.has_ready());
    }

    #[test]
    fn an_incomplete_batch_lingers_and_a_full_one_does_not() {
        let mut accumulator = accumulator(400, 10);
        push(&mut accumulator, 0, at(1));
        assert!(!accumulator.has_ready());
        assert_eq!(accumulator.next_deadline(), Some(at(11)));
        assert!(!accumulator.expire(at(10)) && accumulator.expire(at(11)));
        assert_eq!(accumulator.take(None).unwrap().unwrap().records, 1);
        for _ in 0..3 {
            push(&mut accumulator, 1, at(20));
        }
        assert!(accumulator.has_ready(), "full");
        assert!(header(&accumulator.take(None).unwrap().unwrap()).size <= 400);
    }

    #[test]
    fn a_deadline_of_a_batch_that_is_gone_does_not_send_its_successor_early() {
        let mut accumulator = accumulator(400, 10);
        for _ in 0..3 {
            push(&mut accumulator, 0, at(1));
        }
        assert_eq!(accumulator.take(None).unwrap().unwrap().records, 2);
        let rest = accumulator.take(None).unwrap();
        assert!(rest.is_none_or(|rest| rest.records == 1));
        push(&mut accumulator, 0, at(8));
        assert!(!accumulator.expire(at(12)) || accumulator.next_deadline().is_some());
    }

    #[test]
    fn batches_grow_while_nobody_takes_them() {
        let mut accumulator = accumulator(10_000, 0);
        for _ in 0..20 {
            push(&mut accumulator, 0, at(1));
        }
        assert_eq!(accumulator.take(None).unwrap().unwrap().records, 20);
    }

    #[test]
    fn sequences_and_numbers_follow_each_other() {
        let mut accumulator = accumulator(300, 0);
        for _ in 0..7 {
            push(&mut accumulator, 0, at(1));
            push(&mut accumulator, 1, at(1));
        }
        let mut next = [0u64; 2];
        while let Some(batch) = accumulator.take(Some(idempotent(9, 2))).unwrap() {
            let header = header(&batch);
            assert_eq!((header.producer_id, header.producer_epoch), (9, 2));
            assert_eq!(header.base_sequence as u64, next[batch.slot]);
            assert_eq!(batch.first_number, next[batch.slot]);
            assert!(matches!(&batch.intended, Intended::Each(times)
                    if times.iter().map(|(_, count)| count).sum::<u32>() == batch.records));
            next[batch.slot] += u64::from(batch.records);
        }
        assert_eq!(next, [7, 7]);
    }

    #[test]
    fn a_template_is_a_full_batch_with_fresh_fields() {
        for codec in [Codec::None, Codec::Lz4] {
            let settings = BatchSettings { batch_bytes: 4096, linger: Duration::ZERO, codec };
            let template = Template::new(&mut source("fixed:100", "0:0"), settings).unwrap();
            let mut accumulator = Accumulator::new(1, settings);
            accumulator.push_template(0, &template, 1234, at(1));
            accumulator.push_template(0, &template, 1235, at(1));
            let first = accumulator.take(Some(idempotent(7, 0))).unwrap().unwrap();
            let second = accumulator.take(Some(idempotent(7, 0))).unwrap().unwrap();
            assert!(first.records > 30 && first.records == template.records(), "{}", first.records);
            let (first, second) = (header(&first), header(&second));
            assert_eq!((first.max_timestamp, second.max_timestamp), (1234, 1235));
            assert_eq!(second.base_sequence as u32, template.records());
        }
    }

    fn source(sizes: &str, headers: &str) -> RecordSource {
        let shape = RecordShape {
            sizes: sizes.parse().unwrap(),
            keys: Keys::None,
            headers: headers.parse().unwrap(),
            compressibility: None,
        };
        RecordSource::new(shape, 1, (0, 1), 0)
    }

    #[test]
    fn a_batch_with_headers_and_all_sizes_stays_within_its_bytes() {
        let settings = BatchSettings { batch_bytes: 4096, linger: Duration::ZERO, codec: Codec::None };
        let mut source = source("uniform:1-900", "3:20");
        for _ in 0..50 {
            let template = Template::new(&mut source, settings).unwrap();
            let size = BatchHeader::parse(&template.bytes).unwrap().size;
            assert!((3000..=4096).contains(&size), "{size}");
            assert!(template.value_bytes < size as u64);
        }
    }

    #[test]
    fn memory_that_comes_back_is_used_again_and_what_it_held_is_gone() {
        let mut accumulator = accumulator(10_000, 0);
        let batches = |accumulator: &mut Accumulator, records: usize| {
            (0..records).for_each(|_| push(accumulator, 0, at(1)));
            accumulator.take(None).unwrap().unwrap()
        };
        let first = batches(&mut accumulator, 20);
        let place = first.bytes.as_ptr();
        accumulator.give_back(first);
        let second = batches(&mut accumulator, 3);
        assert_eq!((second.bytes.as_ptr(), second.records), (place, 3));
        assert_eq!(header(&second).size, second.bytes.len());
        let held = second.bytes.clone();
        accumulator.give_back(second);
        let third = batches(&mut accumulator, 3);
        assert_ne!(third.bytes.as_ptr(), place, "somebody still reads it");
        assert_eq!(third.bytes, held);
    }

    #[test]
    fn a_template_that_comes_back_gets_another_header_only() {
        let settings = BatchSettings { batch_bytes: 4096, linger: Duration::ZERO, codec: Codec::None };
        let template = Template::new(&mut source("fixed:100", "0:0"), settings).unwrap();
        let mut accumulator = Accumulator::new(1, settings);
        accumulator.push_template(0, &template, 1234, at(1));
        let first = accumulator.take(Some(idempotent(7, 0))).unwrap().unwrap();
        let (place, body) = (first.bytes.as_ptr(), first.bytes[HEADER_LEN..].to_vec());
        accumulator.give_back(first);
        accumulator.push_template(0, &template, 1235, at(1));
        let second = accumulator.take(Some(idempotent(7, 0))).unwrap().unwrap();
        assert_eq!((second.bytes.as_ptr(), header(&second).max_timestamp), (place, 1235));
        assert_eq!(second.bytes[HEADER_LEN..], body);
    }

    #[test]
    fn a_flush_leaves_nothing() {
        let mut accumulator = accumulator(400, 1000);
        for _ in 0..5 {
            push(&mut accumulator, 0, at(1));
        }
        push(&mut accumulator, 1, at(1));
        accumulator.flush();
        while accumulator.take(None).unwrap().is_some() {}
        assert!(accumulator.is_empty());
    }
}
