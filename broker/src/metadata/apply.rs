//! Applies a group of records to an image, which gives the next image and what changed.
//!
//! Topics that the group touches are gathered in a small map first and put into the persistent maps once each, so
//! that a topic of a thousand partitions is not copied a thousand times.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use storage::types::{LeaderEpoch, LogId};
use wire::kafka::{Str, Uuid};

use crate::metadata::client_quotas::Quota;
use crate::metadata::ids::{NodeId, ShardId};
use crate::metadata::image::{Inconsistent, MetadataImage, Node, Partition, Topic, TopicChange};
use crate::metadata::records::Record;
use crate::metadata::topic_config::{Overrides, TopicConfig};
use crate::metadata::topic_name;

/// The most shards of one node, as the setting `cores` allows.
const SHARDS_MAX: u32 = 1024;

/// The next image, and how it differs from the one before.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The next image.
    pub image: MetadataImage,
    /// What happened to topics, in order.
    pub changes: Vec<TopicChange>,
}

impl MetadataImage {
    /// Applies one group of records.
    ///
    /// # Errors
    /// Records that do not fit this image. The image itself stays as it is.
    pub fn apply(&self, group: &[Record]) -> Result<Applied, Inconsistent> {
        let mut next = Building {
            image: self.clone(),
            touched: HashMap::new(),
            new_names: HashSet::new(),
            order: Vec::new(),
            changes: Vec::new(),
        };
        next.image.version += 1;
        let mut defaults_changed = false;
        for record in group {
            defaults_changed |= matches!(record, Record::BrokerConfig { .. });
            next.record(record)?;
        }
        next.put_all()?;
        if defaults_changed {
            next.resolve_all()?;
        }
        Ok(Applied { image: next.image, changes: next.changes })
    }
}

/// Which way a shard's load goes.
enum Load {
    More,
    Less,
}

impl MetadataImage {
    fn count_load(&mut self, leader: NodeId, shard: ShardId, load: &Load) -> Result<(), Inconsistent> {
        if shard.0 >= SHARDS_MAX {
            return Err(wrong(&format!("shard {shard} is beyond the {SHARDS_MAX} that a node may have")));
        }
        if leader == self.local.node {
            if self.shard_loads.len() <= shard.index() {
                self.shard_loads.resize(shard.index() + 1, 0);
            }
            let count = &mut self.shard_loads[shard.index()];
            *count = match load {
                Load::More => *count + 1,
                Load::Less => count.saturating_sub(1),
            };
        }
        Ok(())
    }
}

struct Building {
    image: MetadataImage,
    /// Topics as they become in this group.
    touched: HashMap<Uuid, Topic>,
    /// Names of topics that are new in this group.
    new_names: HashSet<Str>,
    /// The touched topics in the order of their first record.
    order: Vec<Uuid>,
    changes: Vec<TopicChange>,
}

impl Building {
    fn record(&mut self, record: &Record) -> Result<(), Inconsistent> {
        match record {
            Record::Cluster { id } => self.image.cluster_id = Str::from(id.clone()),
            Record::Node { node, rack, endpoints } => {
                let shards = self.image.nodes.get(&NodeId(*node)).map_or(0, |known| known.shards);
                let rack = rack.clone().map(Str::from);
                let node = Node { id: NodeId(*node), rack, endpoints: endpoints.clone(), shards };
                self.image.nodes.insert(node.id, node);
            }
            Record::Shards { node, count } => {
                let node = self.image.nodes.get_mut(&NodeId(*node));
                node.ok_or_else(|| wrong("shards of a node that is not known"))?.shards = *count;
            }
            Record::NextLogId { next } => self.image.next_log = self.image.next_log.max(LogId(*next)),
            Record::Topic { topic, name } => self.topic(Uuid(*topic), name)?,
            Record::Partition { topic, index, log, shard, replicas, leader_epoch } => {
                let leader = NodeId(*replicas.first().ok_or_else(|| wrong("a partition without replicas"))?);
                let partition = Partition {
                    index: *index,
                    log: LogId(*log),
                    shard: ShardId(*shard),
                    leader,
                    leader_epoch: LeaderEpoch(*leader_epoch),
                    replicas: replicas.iter().map(|node| NodeId(*node)).collect(),
                };
                self.partition(Uuid(*topic), partition)?;
            }
            Record::Place { topic, index, shard } => self.place(Uuid(*topic), *index, ShardId(*shard))?,
            Record::RemoveTopic { topic } => self.remove(Uuid(*topic))?,
            Record::TopicConfig { topic, name, value } => {
                let topic = self.touch(Uuid(*topic))?;
                set(Arc::make_mut(&mut topic.overrides), name, value.as_deref());
            }
            Record::BrokerConfig { node, name, value } => {
                let overrides = match node {
                    Some(node) => self.image.node_overrides.entry(NodeId(*node)).or_default(),
                    None => &mut self.image.cluster_overrides,
                };
                set(Arc::make_mut(overrides), name, value.as_deref());
            }
            Record::ProducerIds { next } => {
                self.image.next_producer_id = self.image.next_producer_id.max(*next);
            }
            Record::ClientQuota { client_id, name, value_bits } => {
                let quota = Quota::of_name(name).ok_or_else(|| wrong("a quota that is not known"))?;
                let quotas = Arc::make_mut(&mut self.image.client_quotas);
                quotas.set(client_id.as_deref(), quota, value_bits.map(f64::from_bits));
            }
        }
        Ok(())
    }

    fn topic(&mut self, id: Uuid, name: &str) -> Result<(), Inconsistent> {
        let name_taken = self.image.by_name.contains_key(name) || self.new_names.contains(name);
        if name_taken || self.image.by_id.contains_key(&id) || self.touched.contains_key(&id) {
            return Err(wrong(&format!("the topic {name} is there already")));
        }
        topic_name::check(name).map_err(Inconsistent)?;
        let topic = Topic {
            id,
            name: Str::from(name.to_owned()),
            internal: topic_name::is_internal(name),
            partitions: Vec::new(),
            overrides: Arc::default(),
            config: Arc::clone(&self.image.default_config),
        };
        self.new_names.insert(topic.name.clone());
        self.touched.insert(id, topic);
        self.order.push(id);
        Ok(())
    }

    fn partition(&mut self, id: Uuid, partition: Partition) -> Result<(), Inconsistent> {
        let (log, index) = (partition.log, partition.index);
        if log.0 == 0 || log.0 == u64::MAX || self.image.live_logs.contains_key(&log) {
            return Err(wrong(&format!("log {log} is not free for a new partition")));
        }
        let topic = self.touch(id)?;
        if usize::try_from(index).ok() != Some(topic.partitions.len()) {
            return Err(wrong(&format!(
                "partition {index} of {} does not follow the last one",
                topic.name.as_str()
            )));
        }
        let (leader, shard) = (partition.leader, partition.shard);
        topic.partitions.push(partition);
        self.image.count_load(leader, shard, &Load::More)?;
        self.image.live_logs.insert_mut(log, (id, index));
        self.image.next_log = self.image.next_log.max(LogId(log.0 + 1));
        self.image.partition_count += 1;
        Ok(())
    }

    fn place(&mut self, id: Uuid, index: i32, shard: ShardId) -> Result<(), Inconsistent> {
        let topic = self.touch(id)?;
        let partition = usize::try_from(index).ok().and_then(|index| topic.partitions.get_mut(index));
        let partition = partition.ok_or_else(|| wrong("a place of a partition that is not known"))?;
        let (leader, before) = (partition.leader, std::mem::replace(&mut partition.shard, shard));
        self.image.count_load(leader, before, &Load::Less)?;
        self.image.count_load(leader, shard, &Load::More)
    }

    /// The topic as it becomes in this group.
    fn touch(&mut self, id: Uuid) -> Result<&mut Topic, Inconsistent> {
        if !self.touched.contains_key(&id) {
            let known =
                self.image.by_id.get(&id).ok_or_else(|| wrong("a record of a topic that is not known"))?;
            self.touched.insert(id, known.as_ref().clone());
            self.order.push(id);
        }
        self.touched.get_mut(&id).ok_or_else(|| wrong("a record of a topic that is not known"))
    }

    fn remove(&mut self, id: Uuid) -> Result<(), Inconsistent> {
        // What was decided about it earlier in this group comes first, so that shards see one story.
        self.put_all()?;
        let topic = self.image.by_id.get(&id).cloned();
        let topic = topic.ok_or_else(|| wrong("the removal of a topic that is not known"))?;
        self.image.by_id.remove_mut(&id);
        self.image.by_name.remove_mut(topic.name.as_str());
        self.image.ordered.remove_mut(topic.name.as_str());
        self.image.unified.remove_mut(&topic_name::unified(&topic.name));
        for partition in &topic.partitions {
            self.image.live_logs.remove_mut(&partition.log);
            self.image.count_load(partition.leader, partition.shard, &Load::Less)?;
        }
        self.image.partition_count -= topic.partitions.len();
        self.changes.push(TopicChange::Removed(topic));
        Ok(())
    }

    fn put_all(&mut self) -> Result<(), Inconsistent> {
        self.new_names.clear();
        for id in std::mem::take(&mut self.order) {
            if let Some(mut topic) = self.touched.remove(&id) {
                topic.config = self.resolve(&topic.overrides)?;
                self.put(topic);
            }
        }
        Ok(())
    }

    fn put(&mut self, topic: Topic) {
        let after = Arc::new(topic);
        let before = self.image.by_id.get(&after.id).cloned();
        self.image.by_id.insert_mut(after.id, Arc::clone(&after));
        self.image.by_name.insert_mut(after.name.clone(), Arc::clone(&after));
        self.image.ordered.insert_mut(after.name.clone(), Arc::clone(&after));
        if topic_name::may_collide(&after.name) {
            self.image.unified.insert_mut(topic_name::unified(&after.name), after.name.clone());
        }
        self.changes.push(match before {
            Some(before) => TopicChange::Changed { before, after },
            None => TopicChange::Created(after),
        });
    }

    /// Topics without settings of their own share one resolved configuration.
    fn resolve(&self, overrides: &Overrides) -> Result<Arc<TopicConfig>, Inconsistent> {
        if overrides.is_empty() {
            return Ok(Arc::clone(&self.image.default_config));
        }
        let resolved = self.image.with_layers(overrides, |layers| layers.resolve());
        resolved.map(Arc::new).map_err(|invalid| Inconsistent(invalid.to_string()))
    }

    /// A default changed: every topic whose settings that touches becomes new.
    fn resolve_all(&mut self) -> Result<(), Inconsistent> {
        let fresh = self.image.with_layers(&Overrides::new(), |layers| layers.resolve());
        self.image.default_config = Arc::new(fresh.map_err(|invalid| Inconsistent(invalid.to_string()))?);
        let all: Vec<_> = self.image.ordered.values().cloned().collect();
        for topic in all {
            let config = self.resolve(&topic.overrides)?;
            if config != topic.config {
                self.put(Topic { config, ..topic.as_ref().clone() });
            }
        }
        Ok(())
    }
}

fn set(overrides: &mut Overrides, name: &str, value: Option<&str>) {
    match value {
        Some(value) => drop(overrides.insert(name.to_owned(), value.to_owned())),
        None => drop(overrides.remove(name)),
    }
}

fn wrong(reason: &str) -> Inconsistent {
    Inconsistent(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::metadata::image::{Local, LogStatus};

    fn empty() -> MetadataImage {
        let local = Local { node: NodeId(1), settings: Arc::new(Settings::default()) };
        MetadataImage::empty(local).unwrap()
    }

    fn topic(number: u8, name: &str, partitions: i32, log: u64) -> Vec<Record> {
        let topic = [number; 16];
        let mut group = vec![Record::Topic { topic, name: name.to_owned() }];
        group.extend((0..partitions).map(|index| Record::Partition {
            topic,
            index,
            log: log + index as u64,
            shard: 0,
            replicas: vec![1],
            leader_epoch: 0,
        }));
        group
    }

    #[test]
    fn a_topic_is_found_by_name_by_id_by_log_and_in_order() {
        let image = empty().apply(&topic(1, "b.x", 2, 1)).unwrap().image;
        let applied = image.apply(&topic(2, "a", 1, 3)).unwrap();
        let image = applied.image;
        assert!(matches!(&applied.changes[..], [TopicChange::Created(topic)] if &*topic.name == "a"));
        assert_eq!(image.topic("b.x").unwrap().partitions.len(), 2);
        assert_eq!(&*image.topic_by_id(&Uuid([2; 16])).unwrap().name, "a");
        assert_eq!(image.partition_of(LogId(2)).unwrap().1.index, 1);
        let names: Vec<_> = image.topics().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["a", "b.x"]);
        assert_eq!(image.topics_from("aa").count(), 1);
        assert_eq!(image.colliding("b_x").map(Str::as_str), Some("b.x"));
        assert_eq!(image.colliding("b.x"), None);
        assert_eq!((image.version(), image.topic_count(), image.partition_count()), (2, 2, 3));
    }

    #[test]
    fn a_deleted_topics_logs_are_known_to_be_deleted() {
        let before = empty().apply(&topic(1, "a", 2, 1)).unwrap().image;
        let applied = before.apply(&[Record::RemoveTopic { topic: [1; 16] }]).unwrap();
        assert!(matches!(&applied.changes[..], [TopicChange::Removed(_)]));
        let after = applied.image;
        assert_eq!(after.log_status(LogId(2)), LogStatus::Deleted);
        assert_eq!(after.log_status(LogId(3)), LogStatus::NeverGiven);
        assert_eq!(before.log_status(LogId(2)), LogStatus::Live);
        assert_eq!((after.topic_count(), after.partition_count()), (0, 0));
        assert!(before.topic("a").is_some(), "an image never changes");
        after.apply(&topic(2, "a", 1, 3)).unwrap();
    }

    #[test]
    fn a_topics_settings_follow_its_own_and_the_brokers_changes() {
        let set = |name: &str, value: Option<&str>| Record::TopicConfig {
            topic: [1; 16],
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        let broker = |node, value: &str| Record::BrokerConfig {
            node,
            name: "log.retention.ms".to_owned(),
            value: Some(value.to_owned()),
        };
        let mut group = topic(1, "a", 1, 1);
        group.push(set("segment.bytes", Some("2097152")));
        let image = empty().apply(&group).unwrap().image.apply(&topic(2, "b", 1, 2)).unwrap().image;
        assert_eq!(image.topic("a").unwrap().config.segment_bytes, 2_097_152);
        assert!(Arc::ptr_eq(&image.topic("b").unwrap().config, image.default_config()));
        let applied = image.apply(&[broker(None, "5"), broker(Some(2), "6")]).unwrap();
        assert_eq!(applied.changes.len(), 2);
        assert_eq!(applied.image.topic("a").unwrap().config.retention_ms, 5);
        assert_eq!(applied.image.topic("b").unwrap().config.retention_ms, 5);
        let applied = applied.image.apply(&[set("retention.ms", Some("9")), broker(Some(1), "7")]).unwrap();
        assert_eq!(applied.image.topic("a").unwrap().config.retention_ms, 9);
        assert_eq!(applied.image.topic("b").unwrap().config.retention_ms, 7);
        let applied = applied.image.apply(&[set("retention.ms", None), set("segment.bytes", None)]).unwrap();
        assert_eq!(applied.image.topic("a").unwrap().config.retention_ms, 7);
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let image = empty().apply(&topic(1, "a", 1, 1)).unwrap().image;
        let bad = [
            topic(1, "b", 1, 2),
            topic(2, "a", 1, 2),
            topic(2, "b", 1, 1),
            topic(2, "b/", 1, 2),
            topic(3, "c", 1, 0),
            vec![Record::RemoveTopic { topic: [9; 16] }],
            vec![Record::Place { topic: [1; 16], index: 1, shard: 0 }],
            vec![Record::TopicConfig { topic: [9; 16], name: "x".into(), value: None }],
            vec![Record::Shards { node: 9, count: 1 }],
            vec![Record::TopicConfig {
                topic: [1; 16],
                name: "retention.ms".into(),
                value: Some("x".into()),
            }],
        ];
        for group in bad {
            assert!(image.apply(&group).is_err(), "{group:?}");
        }
    }

    #[test]
    fn one_topic_among_many_costs_one_topic() {
        let mut image = empty();
        let started = std::time::Instant::now();
        for number in 0..20_000_u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let group = [
                Record::Topic { topic: id, name: format!("topic-{number}") },
                Record::Partition {
                    topic: id,
                    index: 0,
                    log: number + 1,
                    shard: 0,
                    replicas: vec![1],
                    leader_epoch: 0,
                },
            ];
            image = image.apply(&group).unwrap().image;
        }
        // Copying maps of 20,000 for each of 20,000 topics would take minutes.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        assert_eq!(image.topic_count(), 20_000);
    }
}
