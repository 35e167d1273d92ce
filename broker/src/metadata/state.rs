//! An image as the fewest records that build it: what a snapshot holds.

use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::Record;

impl MetadataImage {
    /// Records that build this state from nothing, the version apart.
    pub fn state(&self) -> Vec<Record> {
        let mut records = vec![Record::Cluster { id: self.cluster_id.as_str().to_owned() }];
        for node in self.nodes.values() {
            let rack = node.rack.as_ref().map(|rack| rack.as_str().to_owned());
            records.push(Record::Node { node: node.id.0, rack, endpoints: node.endpoints.clone() });
            records.push(Record::Shards { node: node.id.0, count: node.shards });
        }
        let clusterwide = self.cluster_overrides.iter().map(|each| (None, each));
        let of_nodes =
            self.node_overrides.iter().flat_map(|(node, all)| all.iter().map(|each| (Some(node.0), each)));
        records.extend(clusterwide.chain(of_nodes).map(|(node, (name, value))| Record::BrokerConfig {
            node,
            name: name.clone(),
            value: Some(value.clone()),
        }));
        for (client_id, quotas) in self.client_quotas.entities() {
            records.extend(quotas.iter().map(|(quota, value)| Record::ClientQuota {
                client_id: client_id.map(str::to_owned),
                name: quota.name().to_owned(),
                value_bits: Some(value.to_bits()),
            }));
        }
        self.topics().for_each(|topic| topic_records(topic, &mut records));
        records.push(Record::NextLogId { next: self.next_log.0 });
        records.push(Record::ProducerIds { next: self.next_producer_id });
        records
    }
}

fn topic_records(topic: &Topic, records: &mut Vec<Record>) {
    let id = topic.id.0;
    records.push(Record::Topic { topic: id, name: topic.name.as_str().to_owned() });
    records.extend(topic.partitions.iter().map(|partition| Record::Partition {
        topic: id,
        index: partition.index,
        log: partition.log.0,
        shard: partition.shard.0,
        replicas: partition.replicas.iter().map(|node| node.0).collect(),
        leader_epoch: partition.leader_epoch.0,
    }));
    records.extend(topic.overrides.iter().map(|(name, value)| Record::TopicConfig {
        topic: id,
        name: name.clone(),
        value: Some(value.clone()),
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Settings;
    use crate::metadata::ids::NodeId;
    use crate::metadata::image::Local;
    use crate::metadata::records::tests::samples;

    #[test]
    fn the_state_builds_the_same_image() {
        let local = Local { node: NodeId(1), settings: Arc::new(Settings::default()) };
        let empty = MetadataImage::empty(local).unwrap();
        let mut samples = samples();
        samples.truncate(samples.len() - 1);
        samples.push(Record::BrokerConfig {
            node: Some(1),
            name: "log.segment.bytes".to_owned(),
            value: Some("1048576".to_owned()),
        });
        samples.extend([None, Some("a".to_owned())].map(|client_id| Record::ClientQuota {
            client_id,
            name: "producer_byte_rate".to_owned(),
            value_bits: Some(1e6_f64.to_bits()),
        }));
        let image = empty.apply(&samples).unwrap().image;
        let built = empty.apply(&image.state()).unwrap().image;
        assert_eq!(built.state(), image.state());
        assert_eq!(built.client_quotas(), image.client_quotas());
        assert_eq!(built.client_quotas().entities().len(), 2);
        assert_eq!(built.topic("orders"), image.topic("orders"));
        assert_eq!((built.shard_loads(), image.shard_loads()), (&[1][..], &[1, 0][..]));
        assert_eq!(built.topic("orders").unwrap().config.segment_bytes, 1_048_576);
    }
}
