//! Bytes come back as they were sent. A record's content follows from its stamp, so that only stamps are remembered and a
//! record that was never sent, or to another partition, is told from one that was.

use reactor::sim::Random;
use wire::kafka::Uuid;

use crate::history::Partition;

const STAMP_BYTES: usize = 28;

/// Which record of which writer; numbers count from 0 for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stamp {
    pub(crate) writer: u32,
    pub(crate) number: u32,
}

/// The value of a record: where it belongs, its stamp, then bytes that follow from both; mostly small, now and then large.
pub(crate) fn value(topic: Uuid, partition: i32, stamp: Stamp) -> Vec<u8> {
    let random = Random::new(u64::from(stamp.writer) << 32 | u64::from(stamp.number), "value of a record");
    let length = match random.below(40) {
        0 => random.range(10_000..30_000),
        1..10 => random.range(1_000..6_000),
        _ => random.below(300),
    };
    let mut value = Vec::with_capacity(STAMP_BYTES + length as usize);
    value.extend(topic.0);
    value.extend(partition.to_be_bytes());
    value.extend(stamp.writer.to_be_bytes());
    value.extend(stamp.number.to_be_bytes());
    for _ in 0..length.div_ceil(8) {
        value.extend(random.next().to_be_bytes());
    }
    value
}

/// The stamp of a record that was read from a partition.
pub(crate) fn check(topic: Uuid, index: i32, partition: &Partition, read: &[u8]) -> Result<Stamp, String> {
    let place =
        read.get(..STAMP_BYTES).ok_or_else(|| format!("{} bytes are no record of ours", read.len()))?;
    let number = |at: usize| u32::from_be_bytes(place[at..at + 4].try_into().expect("four bytes"));
    let stamp = Stamp { writer: number(20), number: number(24) };
    if place[..16] != topic.0 || number(16) != index as u32 {
        return Err(format!("{stamp:?} was sent to another partition"));
    }
    let sent = partition.writers.get(&stamp.writer).map_or(0, |writer| writer.sent);
    if stamp.number >= sent {
        return Err(format!("{stamp:?} was never sent, only {sent} were"));
    }
    if read != value(topic, index, stamp) {
        return Err(format!("{stamp:?} has other bytes than were sent"));
    }
    Ok(stamp)
}
