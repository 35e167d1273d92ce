//! Bytes that Kafka 4.3.1's own message classes wrote, for the versions that the codec in `oracle.rs` lacks, and for the
//! records of `__consumer_offsets`. Each must decode to the fields given to Kafka and encode to the same bytes.

use std::fmt::Debug;

use bytes::Bytes;
use wire::kafka::consumer_offsets::{
    GroupMetadataKey, GroupMetadataValue, Key, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
    decode_value, encode_value,
};
use wire::kafka::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use wire::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use wire::kafka::{DecodeError, Message, Reader, Uuid, Writer};

const TOPIC_ID: Uuid = Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

fn unhex(hex: &str) -> Bytes {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_else(|| panic!("{hex}")) as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[track_caller]
fn same<M: Message + PartialEq + Debug>(message: &M, version: i16, hex: &str) {
    let mut w = Writer::new();
    message.encode(&mut w, version);
    assert_eq!(w.finish().into_contiguous(), unhex(hex), "{message:?}");
    let mut r = Reader::new(unhex(hex));
    assert_eq!(M::decode(&mut r, version).as_ref(), Ok(message));
    assert_eq!(r.left(), 0);
}

#[test]
fn offset_commit_10_names_topics_by_id() {
    let partition = OffsetCommitRequestPartition {
        partition_index: 3,
        committed_offset: 42,
        committed_leader_epoch: 5,
        committed_metadata: Some("x".into()),
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 7,
        member_id: "m".into(),
        group_instance_id: Some("i".into()),
        topics: vec![OffsetCommitRequestTopic {
            topic_id: TOPIC_ID,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let hex =
        "026700000007026d0269020102030405060708090a0b0c0d0e0f100200000003000000000000002a000000050278000000";
    same(&request, 10, hex);
    let response = OffsetCommitResponse {
        throttle_time_ms: 9,
        topics: vec![OffsetCommitResponseTopic {
            topic_id: TOPIC_ID,
            partitions: vec![OffsetCommitResponsePartition { partition_index: 3, error_code: 100 }],
            ..Default::default()
        }],
    };
    same(&response, 10, "00000009020102030405060708090a0b0c0d0e0f1002000000030064000000");
}

#[test]
fn offset_fetch_10_names_topics_by_id() {
    let group = OffsetFetchRequestGroup {
        group_id: "g".into(),
        member_id: Some("m".into()),
        member_epoch: 7,
        topics: Some(vec![OffsetFetchRequestTopics {
            topic_id: TOPIC_ID,
            partition_indexes: vec![1, 2],
            ..Default::default()
        }]),
    };
    let whole_group = OffsetFetchRequestGroup { group_id: "h".into(), ..Default::default() };
    let request =
        OffsetFetchRequest { groups: vec![group, whole_group], require_stable: true, ..Default::default() };
    let hex =
        "030267026d00000007020102030405060708090a0b0c0d0e0f100300000001000000020000026800ffffffff00000100";
    same(&request, 10, hex);
    let position =
        OffsetFetchResponsePartitions { partition_index: 1, committed_offset: -1, ..Default::default() };
    let response = OffsetFetchResponse {
        throttle_time_ms: 9,
        groups: vec![OffsetFetchResponseGroup {
            group_id: "g".into(),
            topics: vec![OffsetFetchResponseTopics {
                topic_id: TOPIC_ID,
                partitions: vec![position],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let hex = "00000009020267020102030405060708090a0b0c0d0e0f100200000001ffffffffffffffffffffffff000000000000000000";
    same(&response, 10, hex);
}

#[test]
fn list_offsets_11_has_a_timeout() {
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: 1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                partition_index: 3,
                current_leader_epoch: 5,
                timestamp: -6,
            }],
        }],
        timeout_ms: 1500,
    };
    same(&request, 11, "ffffffff01020274020000000300000005fffffffffffffffa0000000005dc00");
    let partition = ListOffsetsPartitionResponse {
        partition_index: 3,
        error_code: 0,
        timestamp: 1000,
        offset: 42,
        leader_epoch: 5,
    };
    let response = ListOffsetsResponse {
        throttle_time_ms: 9,
        topics: vec![ListOffsetsTopicResponse { name: "t".into(), partitions: vec![partition] }],
    };
    let hex = "000000090202740200000003000000000000000003e8000000000000002a00000005000000";
    same(&response, 11, hex);
}

#[test]
fn describe_log_dirs_5_tells_cordoned_directories() {
    same(&DescribeLogDirsRequest::default(), 5, "0000");
    let partition = DescribeLogDirsPartition {
        partition_index: 3,
        partition_size: 77,
        offset_lag: 1,
        is_future_key: false,
    };
    let response = DescribeLogDirsResponse {
        throttle_time_ms: 9,
        error_code: 0,
        results: vec![DescribeLogDirsResult {
            log_dir: "/d".into(),
            topics: vec![DescribeLogDirsTopic { name: "t".into(), partitions: vec![partition] }],
            total_bytes: 100,
            usable_bytes: 50,
            is_cordoned: true,
            ..Default::default()
        }],
    };
    let hex = "000000090000020000032f640202740200000003000000000000004d0000000000000001000000000000000000006400000000\
               00000032010000";
    same(&response, 5, hex);
}

#[test]
fn positions_in_consumer_offsets_are_read_in_every_version() {
    let newest = OffsetCommitValue {
        offset: 42,
        leader_epoch: 5,
        metadata: "x".into(),
        commit_timestamp: 1000,
        expire_timestamp: -1,
        topic_id: TOPIC_ID,
    };
    let with_epoch = OffsetCommitValue { topic_id: Uuid::ZERO, ..newest.clone() };
    let oldest = OffsetCommitValue { leader_epoch: -1, ..with_epoch.clone() };
    let expiring = OffsetCommitValue { expire_timestamp: 2000, ..oldest.clone() };
    same(&oldest, 0, "000000000000002a00017800000000000003e8");
    same(&expiring, 1, "000000000000002a00017800000000000003e800000000000007d0");
    same(&oldest, 2, "000000000000002a00017800000000000003e8");
    same(&with_epoch, 3, "000000000000002a0000000500017800000000000003e8");
    let hex = "000000000000002a00000005027800000000000003e80100100102030405060708090a0b0c0d0e0f10";
    same(&newest, 4, hex);
}

#[test]
fn groups_in_consumer_offsets_are_read_in_every_version() {
    let newest = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 7,
        protocol: Some("range".into()),
        leader: None,
        current_state_timestamp: 1000,
        members: vec![MemberMetadata {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: 300,
            session_timeout: 45,
            subscription: Bytes::from_static(&[1, 2]),
            assignment: Bytes::from_static(&[3]),
        }],
    };
    let hex = "09636f6e73756d6572000000070672616e67650000000000000003e802026d02690263032f680000012c0000002d030102\
               02030000";
    same(&newest, 4, hex);
    let hex = "0008636f6e73756d657200000007000572616e6765ffff00000000000003e80000000100016d00016900016300022f6800\
               00012c0000002d0000000201020000000103";
    same(&newest, 3, hex);
    let mut older = newest;
    older.members[0].group_instance_id = None;
    let hex = "0008636f6e73756d657200000007000572616e6765ffff00000000000003e80000000100016d00016300022f680000012c\
               0000002d0000000201020000000103";
    same(&older, 2, hex);
    older.current_state_timestamp = -1;
    let hex = "0008636f6e73756d657200000007000572616e6765ffff0000000100016d00016300022f680000012c0000002d00000002\
               01020000000103";
    same(&older, 1, hex);
    older.members[0].rebalance_timeout = -1;
    let hex = "0008636f6e73756d657200000007000572616e6765ffff0000000100016d00016300022f680000002d0000000201020000\
               000103";
    same(&older, 0, hex);
}

#[test]
fn keys_in_consumer_offsets_begin_with_their_kind() {
    let position = Key::OffsetCommit(OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 });
    let group = Key::GroupMetadata(GroupMetadataKey { group: "g".into() });
    assert_eq!(position.encode(), unhex("000100016700017400000003"));
    assert_eq!(group.encode(), unhex("0002000167"));
    for key in [position.clone(), group] {
        assert_eq!(Key::decode(key.encode()), Ok(key));
    }
    assert_eq!(Key::decode(unhex("000000016700017400000003")), Ok(position), "the kind before Kafka 0.9");
    assert_eq!(Key::decode(unhex("0005000167")), Ok(Key::Other(5)));
    assert_eq!(Key::decode(unhex("00")), Err(DecodeError::Truncated));
}

#[test]
fn values_in_consumer_offsets_begin_with_their_version() {
    let value = OffsetCommitValue { offset: 42, ..Default::default() };
    for version in 0..=4 {
        assert_eq!(decode_value(encode_value(&value, version)).as_ref(), Ok(&value));
    }
    assert_eq!(decode_value::<OffsetCommitValue>(unhex("0005")), Err(DecodeError::Version(5)));
    assert_eq!(decode_value::<OffsetCommitValue>(unhex("ffff")), Err(DecodeError::Version(-1)));
}
