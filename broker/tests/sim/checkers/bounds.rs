//! Log start ≤ high watermark ≤ flushed ≤ end on every partition, seen from inside after any step; and what was once flushed
//! is there after every start.

use std::collections::BTreeMap;

use broker::shard::shard::Shard;

use super::Verdict;

/// What was seen of each log, by its id.
#[derive(Default)]
pub(crate) struct Bounds {
    flushed: BTreeMap<u64, i64>,
}

impl Bounds {
    pub(crate) fn look(&mut self, shard: &Shard) -> Verdict {
        for partition in shard.partitions() {
            let log = &partition.log;
            if log.is_gone() {
                continue;
            }
            let (start, end) = (log.start_offset().0, log.end_offset().0);
            let (flushed, shown) = (log.flushed_offset().0, partition.high_watermark());
            let all = format!("start {start}, high watermark {shown}, flushed {flushed}, end {end}");
            if !(0 <= start && start <= shown && shown <= flushed && flushed <= end) {
                return Err(format!("{}: {all}", log.name()));
            }
            let before = self.flushed.entry(log.id().0).or_default();
            if flushed < *before {
                return Err(format!("{}: {before} was flushed before; now {all}", log.name()));
            }
            *before = flushed;
        }
        Ok(())
    }
}
