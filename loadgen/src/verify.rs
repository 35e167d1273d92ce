//! Nothing lost, nothing twice, nothing out of order, nothing altered: what a log must do, checked record by record.
//!
//! A verified value names the run, the producer, the partition and the record's number in that partition, and carries
//! a CRC-32C over all of itself, so that the check does not depend on the checksums of the protocol. Per partition one
//! [`Checker`] reads everything that the log gives and keeps one bit per number; at the end it is told what was
//! acknowledged. An acknowledged record that was not seen is lost. One that was seen without acknowledgement is no
//! fault: the answer may have been what got lost.

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::VERIFIED_RECORDS_MAX;

/// Bytes at the start of a value that the check needs.
pub(crate) const STAMP_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"vfy1";

/// Who wrote a record, and which of its records it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordId {
    /// The same for all records of one run.
    pub(crate) run: u64,
    /// Which writer of the run.
    pub(crate) producer: u32,
    pub(crate) partition: i32,
    /// Number of the record in its partition, from 0.
    pub(crate) number: u64,
}

/// Writes `id` and the CRC into `value`, which has at least [`STAMP_BYTES`].
pub(crate) fn stamp(value: &mut [u8], id: RecordId) {
    value[..4].copy_from_slice(&MAGIC);
    value[8..16].copy_from_slice(&id.run.to_be_bytes());
    value[16..20].copy_from_slice(&id.producer.to_be_bytes());
    value[20..24].copy_from_slice(&id.partition.to_be_bytes());
    value[24..32].copy_from_slice(&id.number.to_be_bytes());
    let crc = crc32c::crc32c(&value[8..]);
    value[4..8].copy_from_slice(&crc.to_be_bytes());
}

/// What [`stamp`] wrote; `None` when the value is not one of ours or was altered.
pub(crate) fn read_stamp(value: &[u8]) -> Option<RecordId> {
    let (magic, rest) = value.split_first_chunk::<4>()?;
    let (crc, body) = rest.split_first_chunk::<4>()?;
    if *magic != MAGIC || u32::from_be_bytes(*crc) != crc32c::crc32c(body) {
        return None;
    }
    let (run, rest) = body.split_first_chunk::<8>()?;
    let (producer, rest) = rest.split_first_chunk::<4>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    Some(RecordId {
        run: u64::from_be_bytes(*run),
        producer: u32::from_be_bytes(*producer),
        partition: i32::from_be_bytes(*partition),
        number: u64::from_be_bytes(*number),
    })
}

/// What was found in one partition, or in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Records of this run that were read, each time.
    pub(crate) read: u64,
    /// Read again after having been read.
    pub(crate) duplicates: u64,
    /// Read for the first time after one with a higher number.
    pub(crate) out_of_order: u64,
    /// Not what was written, or in another partition than written to.
    pub(crate) corrupt: u64,
    /// Whole, but of another run: somebody else writes to the topic, or the log gives what it should have forgotten.
    pub(crate) foreign: u64,
    /// Offsets that do not ascend by one from record to record.
    pub(crate) offset_gaps: u64,
    /// Acknowledged, but not read.
    pub(crate) lost: u64,
    /// Read, though their transactions were aborted.
    pub(crate) aborted: u64,
    /// Read, but not acknowledged: no fault.
    pub(crate) unacknowledged: u64,
}

impl Findings {
    /// Whether the log did what it must.
    pub(crate) fn is_clean(&self) -> bool {
        let log = self.duplicates + self.out_of_order + self.corrupt + self.foreign + self.offset_gaps;
        log + self.lost + self.aborted == 0
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.offset_gaps += other.offset_gaps;
        self.lost += other.lost;
        self.aborted += other.aborted;
        self.unacknowledged += other.unacknowledged;
    }
}

/// Reads one partition along.
#[derive(Debug)]
pub(crate) struct Checker {
    run: u64,
    producer: u32,
    partition: i32,
    /// Numbers below this may exist; others are corrupt.
    limit: u64,
    /// Bit n: number n was read.
    seen: Vec<u64>,
    seen_count: u64,
    highest: Option<u64>,
    next_offset: Option<i64>,
    /// Offsets to come that readers are not shown, ascending.
    hidden: VecDeque<Range<i64>>,
    findings: Findings,
}

impl Checker {
    /// For one partition of a run that writes at most `limit` records to it, by one producer.
    pub(crate) fn new(id: RecordId, limit: u64) -> Self {
        assert!(limit <= VERIFIED_RECORDS_MAX);
        Self {
            run: id.run,
            producer: id.producer,
            partition: id.partition,
            limit,
            seen: Vec::new(),
            seen_count: 0,
            highest: None,
            next_offset: None,
            hidden: VecDeque::new(),
            findings: Findings::default(),
        }
    }

    /// These offsets, behind all that were hidden before, are not shown: that they are missing is no gap.
    pub(crate) fn hide(&mut self, offsets: Range<i64>) {
        self.hidden.push_back(offsets);
    }

    /// Takes the next record of the log.
    pub(crate) fn read(&mut self, offset: i64, value: &[u8]) {
        while let Some(hidden) = self.hidden.front().filter(|hidden| hidden.start < offset) {
            if self.next_offset == Some(hidden.start) {
                self.next_offset = Some(hidden.end);
            }
            self.hidden.pop_front();
        }
        if self.next_offset.is_some_and(|expected| expected != offset) {
            self.findings.offset_gaps += 1;
        }
        self.next_offset = Some(offset.saturating_add(1));
        let Some(id) = read_stamp(value) else {
            self.findings.corrupt += 1;
            return;
        };
        if id.run != self.run {
            self.findings.foreign += 1;
            return;
        }
        if (id.producer, id.partition) != (self.producer, self.partition) || id.number >= self.limit {
            self.findings.corrupt += 1;
            return;
        }
        self.findings.read += 1;
        if self.has_seen(id.number) {
            self.findings.duplicates += 1;
            return;
        }
        self.mark(id.number);
        if self.highest.is_some_and(|highest| highest > id.number) {
            self.findings.out_of_order += 1;
        }
        self.highest = self.highest.max(Some(id.number));
    }

    /// The findings, now that nothing more comes. Numbers that were acknowledged, and those whose transactions were aborted:
    /// ascending, disjoint.
    pub(crate) fn finish(mut self, acknowledged: &[Range<u64>], aborted: &[Range<u64>]) -> Findings {
        let acknowledged_count: u64 = acknowledged.iter().map(|range| range.end - range.start).sum();
        let lost =
            acknowledged.iter().flat_map(Range::clone).filter(|number| !self.has_seen(*number)).count();
        self.findings.lost = lost as u64;
        let aborted = aborted.iter().flat_map(Range::clone).filter(|number| self.has_seen(*number)).count();
        self.findings.aborted = aborted as u64;
        let due = acknowledged_count - self.findings.lost + self.findings.aborted;
        self.findings.unacknowledged = self.seen_count - due;
        self.findings
    }

    fn has_seen(&self, number: u64) -> bool {
        let word = self.seen.get((number / 64) as usize).copied().unwrap_or(0);
        word & (1 << (number % 64)) != 0
    }

    fn mark(&mut self, number: u64) {
        let word = (number / 64) as usize;
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << (number % 64);
        self.seen_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> RecordId {
        RecordId { run: 77, producer: 1, partition: 3, number }
    }

    fn value(id: RecordId) -> Vec<u8> {
        let mut value = vec![b'x'; 50];
        stamp(&mut value, id);
        value
    }

    fn check(numbers: &[u64], acknowledged: &[Range<u64>]) -> Findings {
        let mut checker = Checker::new(id(0), 1000);
        for (offset, number) in numbers.iter().enumerate() {
            checker.read(offset as i64, &value(id(*number)));
        }
        checker.finish(acknowledged, &[])
    }

    #[test]
    fn a_log_that_gives_what_it_took_is_clean() {
        let findings = check(&[0, 1, 2, 3], std::slice::from_ref(&(0..4)));
        assert_eq!(findings, Findings { read: 4, ..Findings::default() });
        assert!(findings.is_clean());
    }

    #[test]
    fn an_acknowledged_record_that_is_not_there_is_lost() {
        let findings = check(&[0, 2], &[0..2, 2..4]);
        assert_eq!(findings.lost, 2, "1 and 3");
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_record_that_was_never_acknowledged_may_be_there_or_not() {
        let findings = check(&[0, 1, 2], std::slice::from_ref(&(0..2)));
        assert_eq!((findings.unacknowledged, findings.lost), (1, 0));
        assert!(findings.is_clean());
    }

    #[test]
    fn a_record_read_twice_is_a_duplicate_and_not_out_of_order() {
        let findings = check(&[0, 1, 2, 1, 2, 3], std::slice::from_ref(&(0..4)));
        assert_eq!((findings.duplicates, findings.out_of_order, findings.lost), (2, 0, 0));
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_record_that_comes_after_its_successor_is_out_of_order() {
        let findings = check(&[0, 2, 1, 3], std::slice::from_ref(&(0..4)));
        assert_eq!((findings.duplicates, findings.out_of_order, findings.lost), (0, 1, 0));
        assert!(!findings.is_clean());
    }

    #[test]
    fn any_altered_bit_is_corrupt() {
        let good = value(id(5));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_stamp(&bad), None, "bit {bit}");
        }
        assert_eq!(read_stamp(&good), Some(id(5)));
        assert_eq!(read_stamp(&good[..31]), None);
    }

    #[test]
    fn a_record_of_another_partition_or_number_is_corrupt_and_one_of_another_run_is_foreign() {
        let mut checker = Checker::new(id(0), 10);
        checker.read(0, &value(RecordId { partition: 4, ..id(0) }));
        checker.read(1, &value(RecordId { run: 78, ..id(0) }));
        checker.read(2, &value(id(10)));
        checker.read(3, b"");
        let findings = checker.finish(&[], &[]);
        assert_eq!((findings.corrupt, findings.foreign, findings.read), (3, 1, 0));
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_jump_in_the_offsets_is_found() {
        let mut checker = Checker::new(id(0), 10);
        checker.read(100, &value(id(0)));
        checker.read(102, &value(id(1)));
        assert_eq!(checker.finish(&[], &[]).offset_gaps, 1);
    }

    #[test]
    fn what_aborted_transactions_wrote_must_not_be_read_and_its_place_is_no_gap() {
        const ABORTED: [Range<u64>; 2] = [1..2, 2..3];
        let checker = |hidden: bool| {
            let mut checker = Checker::new(id(0), 100);
            checker.read(10, &value(id(0)));
            if hidden {
                checker.hide(11..13);
                checker.hide(13..14);
                checker.read(14, &value(id(3)));
            } else {
                (1..4).for_each(|number| checker.read(10 + number as i64, &value(id(number))));
            }
            checker.finish(&[0..1, 3..4], &ABORTED)
        };
        let good = checker(true);
        assert!(good.is_clean() && good.read == 2, "{good:?}");
        let bad = checker(false);
        assert_eq!((bad.aborted, bad.lost, bad.unacknowledged, bad.offset_gaps), (2, 0, 0, 0));
        assert!(!bad.is_clean());
    }

    #[test]
    fn a_gap_beside_hidden_offsets_is_still_one() {
        let mut checker = Checker::new(id(0), 100);
        checker.read(10, &value(id(0)));
        checker.hide(12..13);
        checker.read(13, &value(id(1)));
        assert_eq!(checker.finish(&[], &[]).offset_gaps, 1);
    }
}
