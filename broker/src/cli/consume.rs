//! `corelane consume`: the records of a topic, printed.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::kafka::metadata::MetadataResponseTopic;
use wire::kafka::record::Records;
use wire::kafka::record_batch::Batches;
use wire::kafka::{self, ErrorCode, Str};

use super::cluster::{Cluster, Missing};
use super::error::CliError;
use super::format::Format;
use super::group;
use crate::args::ConsumeArgs;

/// The offset of the first record, as `ListOffsets` asks for it.
pub(super) const EARLIEST: i64 = -2;
/// The offset that the next record will get.
pub(super) const LATEST: i64 = -1;

const FETCH_WAIT: Duration = Duration::from_millis(500);
const FETCH_BYTES: i32 = 8 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
/// Records of one batch, decompressed.
const BATCH_BYTES_MAX: usize = 256 << 20;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The last version that names topics; later ones have ids.
const VERSION_WITH_NAMES: i16 = 12;

/// Runs the command.
pub(super) fn run(args: &ConsumeArgs) -> Result<(), CliError> {
    let format = Format::parse(&args.format)?;
    let from = From::parse(&args.from)?;
    let mut cluster = Cluster::connect(&args.server.server)?;
    let topic = cluster.topic(&args.topic, Missing::Refuse)?;
    let printer = Printer { format, topic: args.topic.clone(), left: args.count };
    if let Some(group) = &args.group {
        return group::run(cluster, group, from, printer, args.exit);
    }
    let mut partitions: Vec<_> = topic.partitions.iter().map(|each| each.partition_index).collect();
    if let Some(only) = args.partition {
        if !partitions.contains(&only) {
            let last = partitions.len() - 1;
            return Err(CliError::Usage(format!(
                "--partition {only}: {} has partitions 0 to {last}",
                args.topic
            )));
        }
        partitions = vec![only];
    }
    let positions = from.positions(&mut cluster, &topic, &partitions)?;
    let ends = if args.exit { Some(offsets(&mut cluster, &topic, LATEST)?) } else { None };
    let mut fetcher = Fetcher { cluster, topic, positions, printer };
    while !fetcher.printer.is_done() && !ends.as_ref().is_some_and(|ends| fetcher.reached(ends)) {
        fetcher.round()?;
    }
    Ok(())
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// At the first record.
    Beginning,
    /// After the last.
    End,
    /// At this offset of each partition.
    Offset(i64),
    /// So many before the end of each partition.
    Last(i64),
}

impl From {
    /// Reads `--from`.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        match (text, text.parse::<i64>()) {
            ("beginning", _) => Ok(Self::Beginning),
            ("end", _) => Ok(Self::End),
            (_, Ok(offset)) if offset < 0 => Ok(Self::Last(offset.saturating_neg())),
            (_, Ok(offset)) => Ok(Self::Offset(offset)),
            _ => Err(CliError::Usage(format!(
                "--from {text}: beginning, end, an offset, or -N for the last N"
            ))),
        }
    }

    /// The offsets to begin at, by partition.
    pub(super) fn positions(
        self,
        cluster: &mut Cluster,
        topic: &MetadataResponseTopic,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, CliError> {
        let earliest: BTreeMap<_, _> = offsets(cluster, topic, EARLIEST)?.into_iter().collect();
        let latest: BTreeMap<_, _> = offsets(cluster, topic, LATEST)?.into_iter().collect();
        let position = |partition: &i32| {
            let first = earliest.get(partition).copied().unwrap_or(0);
            let end = latest.get(partition).copied().unwrap_or(first);
            let at = match self {
                Self::Beginning => first,
                Self::End => end,
                Self::Offset(offset) => offset,
                Self::Last(count) => end.saturating_sub(count),
            };
            (*partition, at.clamp(first, end.max(first)))
        };
        Ok(partitions.iter().map(position).collect())
    }
}

/// One offset of each partition of a topic: [`EARLIEST`], [`LATEST`], or the first at a time in ms.
pub(super) fn offsets(
    cluster: &mut Cluster,
    topic: &MetadataResponseTopic,
    timestamp: i64,
) -> Result<Vec<(i32, i64)>, CliError> {
    let mut found = Vec::new();
    for (leader, partitions) in by_leader(topic, topic.partitions.iter().map(|each| each.partition_index)) {
        let partition =
            |index| ListOffsetsPartition { partition_index: index, timestamp, ..Default::default() };
        let asked = ListOffsetsTopic {
            name: topic.name.clone().unwrap_or_default(),
            partitions: partitions.into_iter().map(partition).collect(),
        };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![asked], ..Default::default() };
        let response = cluster.node(leader)?.call(&request)?;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let what = || format!("the offsets of partition {}", partition.partition_index);
            CliError::check(what, partition.error_code, None)?;
            found.push((partition.partition_index, partition.offset));
        }
    }
    Ok(found)
}

/// Partitions by the broker that leads them.
fn by_leader(
    topic: &MetadataResponseTopic,
    partitions: impl Iterator<Item = i32>,
) -> BTreeMap<i32, Vec<i32>> {
    let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let known = topic.partitions.iter().find(|each| each.partition_index == partition);
        leaders.entry(known.map_or(-1, |each| each.leader_id)).or_default().push(partition);
    }
    leaders
}

/// Prints records until there were enough.
#[derive(Debug)]
pub(super) struct Printer {
    format: Format,
    topic: String,
    /// How many more; `None` for all there are.
    left: Option<u64>,
}

impl Printer {
    /// The topic whose records are printed.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether enough records were printed.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Prints the records of a partition from an offset on; the offset after the last one that was taken.
    fn print(&mut self, partition: i32, from: i64, bytes: Bytes) -> Result<i64, CliError> {
        let mut out = std::io::stdout().lock();
        let broken = |error: wire::kafka::record_batch::BatchError| {
            CliError::Protocol(format!("a batch of partition {partition}: {error}"))
        };
        let mut next = from;
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(broken)?;
            batch.header.verify_crc(&batch.bytes).map_err(broken)?;
            let control = batch.header.attributes.is_control();
            for record in Records::new(&batch, BATCH_BYTES_MAX).map_err(broken)? {
                let record = record.map_err(broken)?;
                if control || record.offset < next {
                    continue;
                }
                if self.is_done() {
                    out.flush()?;
                    return Ok(next);
                }
                self.format.print(&mut out, &self.topic, partition, &record)?;
                self.left = self.left.map(|left| left - 1);
                next = record.offset.saturating_add(1);
            }
            if !self.is_done() {
                next = next.max(batch.header.next_offset());
            }
        }
        out.flush()?;
        Ok(next)
    }
}

/// Fetches and prints; keeps the position of each partition.
#[derive(Debug)]
pub(super) struct Fetcher {
    /// The cluster.
    pub(super) cluster: Cluster,
    /// The topic.
    pub(super) topic: MetadataResponseTopic,
    /// The next offset of each partition that is read.
    pub(super) positions: BTreeMap<i32, i64>,
    /// Where records go.
    pub(super) printer: Printer,
}

impl Fetcher {
    /// Whether every partition that is read has come to these ends.
    pub(super) fn reached(&self, ends: &[(i32, i64)]) -> bool {
        let end =
            |partition: &i32| ends.iter().find(|(each, _)| each == partition).map_or(0, |(_, end)| *end);
        self.positions.iter().all(|(partition, position)| *position >= end(partition))
    }

    /// Asks every leader once for what there is, waiting a little, and prints it.
    pub(super) fn round(&mut self) -> Result<(), CliError> {
        let leaders = by_leader(&self.topic, self.positions.keys().copied());
        let wait = FETCH_WAIT / leaders.len().max(1) as u32;
        for (leader, partitions) in leaders {
            let request = self.request(&partitions, wait);
            let response = self.cluster.node(leader)?.call_at_most(&request, VERSION_WITH_NAMES)?;
            CliError::check(|| "fetching".to_owned(), response.error_code, None)?;
            for partition in response.responses.into_iter().flat_map(|topic| topic.partitions) {
                self.take(partition)?;
            }
        }
        Ok(())
    }

    fn request(&self, partitions: &[i32], wait: Duration) -> FetchRequest {
        let partition = |index: &i32| FetchPartition {
            partition: *index,
            fetch_offset: self.positions.get(index).copied().unwrap_or(0),
            partition_max_bytes: PARTITION_BYTES,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: Str::from(self.printer.topic.as_str()),
            partitions: partitions.iter().map(partition).collect(),
            ..Default::default()
        };
        FetchRequest {
            max_wait_ms: wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics: vec![topic],
            ..Default::default()
        }
    }

    fn take(&mut self, data: PartitionData) -> Result<(), CliError> {
        let index = data.partition_index;
        let Some(position) = self.positions.get(&index).copied() else { return Ok(()) };
        match ErrorCode::from_code(data.error_code) {
            Some(ErrorCode::None) => {
                let kafka::Records::Bytes(parts) = data.records else { return Ok(()) };
                let bytes = match <[Bytes; 1]>::try_from(parts) {
                    Ok([bytes]) => bytes,
                    Err(parts) => Bytes::from(parts.concat()),
                };
                let next = self.printer.print(index, position, bytes)?;
                self.positions.insert(index, next);
            }
            Some(ErrorCode::OffsetOutOfRange) => {
                // Retention removed what comes next, or the topic was truncated.
                let fresh = From::Offset(position).positions(&mut self.cluster, &self.topic, &[index])?;
                self.positions.extend(fresh);
            }
            Some(code) if code.is_retriable() => {
                std::thread::sleep(RETRY_PAUSE);
                self.topic = self.cluster.topic(&self.printer.topic, Missing::Refuse)?;
            }
            _ => CliError::check(|| format!("partition {index}"), data.error_code, None)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_words_offsets_and_distances_from_the_end() {
        assert_eq!(From::parse("beginning").unwrap(), From::Beginning);
        assert_eq!(From::parse("end").unwrap(), From::End);
        assert_eq!(From::parse("7").unwrap(), From::Offset(7));
        assert_eq!(From::parse("-7").unwrap(), From::Last(7));
        assert!(From::parse("middle").is_err());
    }
}
