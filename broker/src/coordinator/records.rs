//! The records of `__consumer_offsets` as the coordinator keeps them, in Kafka's own formats.
//!
//! [`Record::encode`] writes what Kafka 4.3.1 writes; [`Record::decode`] reads every version Kafka ever wrote. A record of
//! another kind (the newer group protocols) is not ours: it decodes to `None` and is left where it is.
//! [`batches`] packs records into record batches for the log, [`decode_batch`] unpacks one.

use bytes::Bytes;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::Codec;
use wire::kafka::consumer_offsets::{
    GroupMetadataKey, GroupMetadataValue, Key, OffsetCommitKey, OffsetCommitValue, decode_value, encode_value,
};
use wire::kafka::record::Records;
use wire::kafka::record_batch::{Batch, BatchError};
use wire::kafka::{DecodeError, Str};

use super::limits;

/// Versions of the values that Kafka 4.3.1 writes.
const GROUP_METADATA_VERSION: i16 = 3;
const OFFSET_COMMIT_VERSION: i16 = 4;
/// The only version with an expiry of its own, for clients that still send a retention (`OffsetCommit` v2 to v4).
const OFFSET_COMMIT_VERSION_WITH_EXPIRY: i16 = 1;

/// Names one partition's position of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// The group.
    pub group: Str,
    /// The topic's name.
    pub topic: Str,
    /// The partition's index.
    pub partition: i32,
}

/// A record of a classic group or of a position. No value deletes what the key names.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A generation of a group.
    Group(Str, Option<GroupMetadataValue>),
    /// A position.
    Offset(OffsetKey, Option<OffsetCommitValue>),
}

/// Why a batch of `__consumer_offsets` cannot be read.
#[derive(Debug)]
pub enum RecordError {
    /// The batch or a record in it is malformed.
    Batch(BatchError),
    /// A key or value is malformed.
    Decode(DecodeError),
    /// A record without a key.
    NoKey,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Batch(cause) => write!(f, "a batch of __consumer_offsets: {cause}"),
            Self::Decode(cause) => write!(f, "a record of __consumer_offsets: {cause}"),
            Self::NoKey => f.write_str("a record of __consumer_offsets has no key"),
        }
    }
}

impl std::error::Error for RecordError {}

impl Record {
    /// The group it is about.
    pub fn group(&self) -> &Str {
        match self {
            Self::Group(group, _) => group,
            Self::Offset(key, _) => &key.group,
        }
    }

    /// The record's key and value.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        match self {
            Self::Group(group, value) => (
                Key::GroupMetadata(GroupMetadataKey { group: group.clone() }).encode(),
                value.as_ref().map(|value| encode_value(value, GROUP_METADATA_VERSION)),
            ),
            Self::Offset(key, value) => {
                let OffsetKey { group, topic, partition } = key.clone();
                (
                    Key::OffsetCommit(OffsetCommitKey { group, topic, partition }).encode(),
                    value.as_ref().map(|value| encode_value(value, offset_version(value))),
                )
            }
        }
    }

    /// Reads a record; `None` when it is of a kind that is not a classic group's. What is returned holds no part of the
    /// buffer it came from.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<Self>, DecodeError> {
        Ok(match Key::decode(key)? {
            Key::GroupMetadata(key) => {
                let value = value.map(decode_value::<GroupMetadataValue>).transpose()?;
                Some(Self::Group(key.group.detached(), value.map(detached_group)))
            }
            Key::OffsetCommit(key) => {
                let value = value.map(decode_value::<OffsetCommitValue>).transpose()?.map(|mut value| {
                    value.metadata = value.metadata.detached();
                    value
                });
                let key = OffsetKey {
                    group: key.group.detached(),
                    topic: key.topic.detached(),
                    partition: key.partition,
                };
                Some(Self::Offset(key, value))
            }
            Key::Other(_) => None,
        })
    }
}

fn offset_version(value: &OffsetCommitValue) -> i16 {
    if value.expire_timestamp == -1 { OFFSET_COMMIT_VERSION } else { OFFSET_COMMIT_VERSION_WITH_EXPIRY }
}

fn detached_group(mut value: GroupMetadataValue) -> GroupMetadataValue {
    value.protocol_type = value.protocol_type.detached();
    value.protocol = value.protocol.map(|text| text.detached());
    value.leader = value.leader.map(|text| text.detached());
    for member in &mut value.members {
        member.member_id = member.member_id.detached();
        member.group_instance_id = member.group_instance_id.as_ref().map(Str::detached);
        member.client_id = member.client_id.detached();
        member.client_host = member.client_host.detached();
        member.subscription = Bytes::copy_from_slice(&member.subscription);
        member.assignment = Bytes::copy_from_slice(&member.assignment);
    }
    value
}

/// The records in as few batches as [`limits::BATCH_BYTES_MAX`] allows, in order, without compression; base offset 0.
pub fn batches(records: &[Record], wall_ms: i64) -> Result<Vec<Bytes>, BatchError> {
    let mut done = Vec::new();
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        let (key, value) = record.encode();
        let size = key.len() + value.as_ref().map_or(0, Bytes::len);
        if builder.record_count() > 0 && builder.size() + size > limits::BATCH_BYTES_MAX {
            done.push(std::mem::replace(&mut builder, BatchBuilder::new(Codec::None)).build()?);
        }
        builder.push(&NewRecord {
            timestamp: wall_ms,
            key: Some(&key),
            value: value.as_deref(),
            headers: &[],
        });
    }
    if builder.record_count() > 0 {
        done.push(builder.build()?);
    }
    Ok(done)
}

/// The records of a batch that are a classic group's, in order. Control batches have none.
pub fn decode_batch(batch: &Batch) -> Result<Vec<Record>, RecordError> {
    let mut records = Vec::new();
    if batch.header.attributes.is_control() {
        return Ok(records);
    }
    for record in Records::new(batch, limits::BATCH_OUTPUT_BYTES_MAX).map_err(RecordError::Batch)? {
        let record = record.map_err(RecordError::Batch)?;
        let key = record.key.ok_or(RecordError::NoKey)?;
        records.extend(Record::decode(key, record.value).map_err(RecordError::Decode)?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use wire::kafka::Uuid;
    use wire::kafka::consumer_offsets::MemberMetadata;
    use wire::kafka::record_batch::single_batch;

    use super::*;

    fn samples() -> Vec<Record> {
        let key = |partition| OffsetKey { group: "g".into(), topic: "t".into(), partition };
        let value = OffsetCommitValue {
            offset: 7,
            leader_epoch: 2,
            metadata: "note".into(),
            commit_timestamp: 99,
            expire_timestamp: -1,
            topic_id: Uuid([3; 16]),
        };
        let member = MemberMetadata {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: 60_000,
            session_timeout: 10_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"assign"),
        };
        let group = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            current_state_timestamp: 1234,
            members: vec![member],
        };
        vec![
            Record::Offset(key(0), Some(value)),
            Record::Offset(key(1), None),
            Record::Group("g".into(), Some(group)),
            Record::Group("h".into(), None),
        ]
    }

    #[test]
    fn what_is_packed_into_batches_is_unpacked_again() {
        let packed = batches(&samples(), 50).unwrap();
        assert_eq!(packed.len(), 1);
        assert_eq!(decode_batch(&single_batch(&packed[0]).unwrap()).unwrap(), samples());
        assert!(batches(&[], 50).unwrap().is_empty());
    }

    #[test]
    fn many_records_are_spread_over_several_batches() {
        let records: Vec<_> = (0..30_000)
            .map(|partition| {
                let key = OffsetKey { group: "group".into(), topic: "a-topic".into(), partition };
                Record::Offset(key, Some(OffsetCommitValue { offset: 1, ..OffsetCommitValue::default() }))
            })
            .collect();
        let packed = batches(&records, 50).unwrap();
        assert!(packed.len() > 1);
        assert!(packed.iter().all(|batch| batch.len() <= limits::BATCH_BYTES_MAX + 200));
        let unpacked: Vec<_> =
            packed.iter().flat_map(|batch| decode_batch(&single_batch(batch).unwrap()).unwrap()).collect();
        assert_eq!(unpacked, records);
    }

    #[test]
    fn an_offset_with_an_expiry_of_its_own_keeps_it() {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: 0 };
        let value = OffsetCommitValue { offset: 7, expire_timestamp: 500, ..OffsetCommitValue::default() };
        let (key, value) = Record::Offset(key, Some(value)).encode();
        assert_eq!(value.as_deref().map(|value| &value[..2]), Some(&[0, 1][..]));
        let Some(Record::Offset(_, Some(read))) = Record::decode(key, value).unwrap() else { panic!() };
        assert_eq!((read.offset, read.expire_timestamp), (7, 500));
    }

    #[test]
    fn a_record_of_another_kind_is_passed_over_and_a_broken_one_is_an_error() {
        assert_eq!(Record::decode(Bytes::from_static(&[0, 3, 0, 1, b'g']), None).unwrap(), None);
        assert!(Record::decode(Bytes::from_static(&[0, 2, 0, 9, b'g']), None).is_err());
        assert!(
            Record::decode(Bytes::from_static(&[0, 2, 0, 1, b'g']), Some(Bytes::from_static(&[0, 9])))
                .is_err()
        );
    }

    /// Captured from a `__consumer_offsets` of Kafka 4.3.1.
    #[test]
    fn records_are_written_as_kafka_writes_them() {
        let topic_id = *b"\xf1\xde\xe1\x1bC{C\xe8\xb8\xedo\x10\x91\x88\xdf^";
        let position = OffsetCommitValue {
            offset: 5,
            leader_epoch: -1,
            commit_timestamp: 0x01a1_fe7e_1b1a,
            topic_id: Uuid(topic_id),
            ..OffsetCommitValue::default()
        };
        let expiring = OffsetCommitValue {
            offset: 6,
            commit_timestamp: 0x01a1_fe7e_1b2a,
            expire_timestamp: 0x01a1_fe8d_5d6a,
            ..position.clone()
        };
        let empty = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 2,
            current_state_timestamp: 0x01a1_fe7e_1b36,
            ..GroupMetadataValue::default()
        };
        let group = Str::from("h1795271039");
        let key = OffsetKey { group: group.clone(), topic: "probe-t".into(), partition: 0 };
        let offset_key = &b"\x00\x01\x00\x0bh1795271039\x00\x07probe-t\x00\x00\x00\x00"[..];
        let captured: [(Record, &[u8], &[u8]); 3] = [
            (
                Record::Offset(key.clone(), Some(position)),
                offset_key,
                b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\x01\x00\x00\x01\xa1\xfe~\x1b\x1a\x01\x00\x10\
                  \xf1\xde\xe1\x1bC{C\xe8\xb8\xedo\x10\x91\x88\xdf^",
            ),
            (
                Record::Offset(key, Some(expiring)),
                offset_key,
                b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x01\xa1\xfe~\x1b*\
                  \x00\x00\x01\xa1\xfe\x8d]j",
            ),
            (
                Record::Group(group, Some(empty)),
                b"\x00\x02\x00\x0bh1795271039",
                b"\x00\x03\x00\x08consumer\x00\x00\x00\x02\xff\xff\xff\xff\x00\x00\x01\xa1\xfe~\x1b6\
                  \x00\x00\x00\x00",
            ),
        ];
        for (record, key, value) in captured {
            let (ours, our_value) = record.encode();
            assert_eq!((&ours[..], our_value.as_deref()), (key, Some(value)), "{record:?}");
        }
    }
}
