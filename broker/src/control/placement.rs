//! Which shard a partition lives on: even over a topic first, then over the shard's whole load; stored, so stable.

use crate::metadata::ids::ShardId;
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::Record;

/// Shards for `count` more partitions of a topic that has those of `topic` already.
pub fn place(image: &MetadataImage, topic: Option<&Topic>, count: usize) -> Vec<ShardId> {
    let shards = image.shards().max(1) as usize;
    let mut total = image.shard_loads().to_vec();
    total.resize(shards, 0);
    let mut own = vec![0_u32; shards];
    for partition in topic.iter().flat_map(|topic| &topic.partitions) {
        if let Some(load) = own.get_mut(partition.shard.index()) {
            *load += 1;
        }
    }
    (0..count)
        .map(|_| {
            let best = (0..shards).min_by_key(|&shard| (own[shard], total[shard], shard)).unwrap_or(0);
            own[best] += 1;
            total[best] += 1;
            ShardId(best as u32)
        })
        .collect()
}

/// The records that spread this node's partitions over another number of shards, moving as few as it takes.
///
/// A partition stays where it is when its shard exists and has no more than its even part.
pub fn replace(image: &MetadataImage, shards: u32) -> Vec<Record> {
    let local = image.local_node();
    let count =
        image.topics().flat_map(|topic| &topic.partitions).filter(|each| each.leader == local).count();
    let even = count.div_ceil(shards.max(1) as usize);
    let mut loads = vec![0_usize; shards.max(1) as usize];
    let mut homeless = Vec::new();
    for topic in image.topics() {
        for partition in topic.partitions.iter().filter(|each| each.leader == local) {
            match loads.get_mut(partition.shard.index()) {
                Some(load) if *load < even => *load += 1,
                _ => homeless.push((topic.id.0, partition.index)),
            }
        }
    }
    let mut records = vec![Record::Shards { node: local.0, count: shards }];
    for (topic, index) in homeless {
        let shard = (0..loads.len()).min_by_key(|&shard| (loads[shard], shard)).unwrap_or(0);
        loads[shard] += 1;
        records.push(Record::Place { topic, index, shard: shard as u32 });
    }
    records
}
