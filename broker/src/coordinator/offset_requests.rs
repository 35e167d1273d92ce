//! `OffsetCommit` and `OffsetFetch`.
//!
//! The caller knows the topics: it answers for partitions that do not exist and names topics that come by id (version 10),
//! filling in both name and id; the coordinator keeps both and copies both into the answer.

use wire::kafka::consumer_offsets::OffsetCommitValue;
use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use wire::kafka::{ErrorCode, Str};

use super::appends::{After, AppendResult, client_error};
use super::effects::{Caller, Now, Outputs, Reply};
use super::group::{ClassicGroup, GroupState};
use super::group_coordinator::GroupCoordinator;
use super::limits;
use super::offsets::GroupOffsets;
use super::records::{OffsetKey, Record};

/// The first version of `OffsetCommit` that says when there is no such group (KIP-848).
const COMMIT_NOT_FOUND_FROM: i16 = 9;
/// The first version of `OffsetFetch` with several groups (KIP-709).
const FETCH_GROUPS_FROM: i16 = 8;

impl<T> GroupCoordinator<T> {
    /// `OffsetCommit`; answered when the positions are durable, and not visible before.
    pub fn commit(
        &mut self,
        caller: &Caller,
        request: &OffsetCommitRequest,
        token: T,
        now: Now,
    ) -> Outputs<T> {
        self.fx.now = now;
        if let Err(error) = self.check_commit(caller, request) {
            self.fx.reply(token, Reply::OffsetCommit(commit_error(request, error)));
            return self.fx.take_outputs();
        }
        let group_id = request.group_id.detached();
        let group = self.groups.entry(group_id.clone());
        let group = group.or_insert_with(|| ClassicGroup::new(group_id.clone(), now.wall_ms));
        group.note_commit(&request.member_id, &mut self.fx);
        let (response, records) = self.accept_positions(&group_id, request);
        if records.is_empty() {
            self.fx.reply(token, Reply::OffsetCommit(response));
            self.drop_if_void(&group_id);
        } else {
            self.fx.append(records, After::OffsetCommit { token, response });
        }
        self.fx.take_outputs()
    }

    fn check_commit(&self, caller: &Caller, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        self.check_appends()?;
        match self.groups.get(&request.group_id) {
            Some(group) => group.check_commit(request),
            None if request.generation_id_or_member_epoch >= 0 => {
                let not_found = caller.api_version >= COMMIT_NOT_FOUND_FROM;
                Err(if not_found { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration })
            }
            // A consumer that assigns its own partitions, or an operator: a group that only keeps positions.
            None if self.groups.len() >= limits::GROUPS_MAX => Err(ErrorCode::CoordinatorNotAvailable),
            None => Ok(()),
        }
    }

    fn accept_positions(
        &mut self,
        group: &Str,
        request: &OffsetCommitRequest,
    ) -> (OffsetCommitResponse, Vec<Record>) {
        let now_ms = self.fx.now.wall_ms;
        let retention_ms = request.retention_time_ms;
        let expire_timestamp = if retention_ms == -1 { -1 } else { now_ms.saturating_add(retention_ms) };
        let mut response = OffsetCommitResponse::default();
        let mut records = Vec::new();
        for topic in &request.topics {
            let name = topic.name.detached();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let key = OffsetKey {
                    group: group.clone(),
                    topic: name.clone(),
                    partition: partition.partition_index,
                };
                let outcome = self.check_position(&key, partition);
                if outcome.is_ok() {
                    self.offsets.begin(&key);
                    let value = OffsetCommitValue {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition
                            .committed_metadata
                            .as_ref()
                            .map(Str::detached)
                            .unwrap_or_default(),
                        commit_timestamp: now_ms,
                        expire_timestamp,
                        topic_id: topic.topic_id,
                    };
                    records.push(Record::Offset(key, Some(value)));
                }
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                });
            }
            let topic_id = topic.topic_id;
            response.topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id,
                partitions,
            });
        }
        (response, records)
    }

    fn check_position(
        &self,
        key: &OffsetKey,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<(), ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or("");
        let metadata_max = self.fx.policy.offset_metadata_max;
        if metadata.len() > metadata_max && metadata.encode_utf16().count() > metadata_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        let offsets = self.offsets.group(&key.group);
        let full = offsets.is_some_and(|offsets| offsets.count() >= limits::OFFSETS_PER_GROUP_MAX);
        if full && offsets.is_some_and(|offsets| !offsets.contains(&key.topic, key.partition)) {
            return Err(ErrorCode::InvalidCommitOffsetSize);
        }
        Ok(())
    }

    /// Positions are durable and visible, or could not be written.
    pub(super) fn offsets_written(
        &mut self,
        records: &[Record],
        token: T,
        mut response: OffsetCommitResponse,
        result: AppendResult,
    ) {
        for record in records {
            if let Record::Offset(key, _) = record {
                self.offsets.end(key);
            }
        }
        if let Some(group) = records.first().map(Record::group) {
            match result {
                // A reload would make the group for its positions; so the group is here too.
                Ok(()) if !self.groups.contains_key(group) => {
                    let made = ClassicGroup::new(group.clone(), self.fx.now.wall_ms);
                    self.groups.insert(group.clone(), made);
                }
                Ok(()) => {}
                Err(_) => self.drop_if_void(group),
            }
        }
        if let Err(error) = result {
            let code = client_error(error).code();
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                if partition.error_code == ErrorCode::None.code() {
                    partition.error_code = code;
                }
            }
        }
        self.fx.reply(token, Reply::OffsetCommit(response));
    }

    /// `OffsetFetch` for one group, from what is durable. Of a topic that was deleted and made again under the same name,
    /// positions with the old id are not given to who asks with the new one. There are no transactions yet, so every
    /// position is stable.
    pub fn fetch(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        let group = self.groups.get(&request.group_id).filter(|group| group.state() != GroupState::Dead);
        let offsets = group.and_then(|_| self.offsets.group(&request.group_id));
        let topics = match &request.topics {
            Some(topics) => topics.iter().map(|topic| positions_in(offsets, topic)).collect(),
            None => offsets.map(all_positions).unwrap_or_default(),
        };
        let group_id = request.group_id.clone();
        OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::None.code() }
    }
}

fn commit_error(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

fn positions_in(
    offsets: Option<&GroupOffsets>,
    topic: &OffsetFetchRequestTopics,
) -> OffsetFetchResponseTopics {
    let position = |partition: &i32| {
        let known = offsets.and_then(|offsets| offsets.get(&topic.name, *partition));
        let same_topic = |value: &&OffsetCommitValue| {
            value.topic_id.is_zero() || topic.topic_id.is_zero() || value.topic_id == topic.topic_id
        };
        position(*partition, known.filter(same_topic))
    };
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(position).collect(),
    }
}

fn all_positions(offsets: &GroupOffsets) -> Vec<OffsetFetchResponseTopics> {
    let topics = offsets.topics().map(|(topic, partitions)| {
        let mut response =
            OffsetFetchResponseTopics { name: topic.clone(), ..OffsetFetchResponseTopics::default() };
        for (partition, value) in partitions {
            response.topic_id = value.topic_id;
            response.partitions.push(position(partition, Some(value)));
        }
        response
    });
    topics.filter(|topic| !topic.partitions.is_empty()).collect()
}

fn position(partition_index: i32, value: Option<&OffsetCommitValue>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: value.map_or(-1, |value| value.offset),
        committed_leader_epoch: value.map_or(-1, |value| value.leader_epoch),
        metadata: Some(value.map(|value| value.metadata.clone()).unwrap_or_default()),
        error_code: ErrorCode::None.code(),
    }
}

/// The groups a request of any version asks for.
pub fn fetch_groups(api_version: i16, request: OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if api_version >= FETCH_GROUPS_FROM {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    vec![OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() }]
}

/// The answer in any version from the answers of its groups, in their order.
pub fn fetch_response(api_version: i16, groups: Vec<OffsetFetchResponseGroup>) -> OffsetFetchResponse {
    if api_version >= FETCH_GROUPS_FROM {
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let Some(group) = groups.into_iter().next() else { return OffsetFetchResponse::default() };
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}
