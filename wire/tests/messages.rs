//! What holds of every declared message, shown on small ones byte by byte.

use bytes::Bytes;
use wire::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse, SupportedFeatureKey};
use wire::kafka::describe_topic_partitions::{Cursor, DescribeTopicPartitionsRequest};
use wire::kafka::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use wire::kafka::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use wire::kafka::{DecodeError, Message, Reader, Records, Writer};

fn decode<M: Message>(bytes: impl Into<Bytes>, version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(bytes.into()), version)
}

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut w = Writer::new();
    message.encode(&mut w, version);
    w.finish().into_contiguous()
}

/// A produce request of version 9: one topic `t`, partition 1, records `RR`.
const PRODUCE: &[u8] = b"\0\xff\xff\0\0\x05\xdc\x02\x02t\x02\0\0\0\x01\x03RR\0\0\0";

#[test]
fn records_and_strings_are_slices_of_the_frame() {
    let frame = Bytes::from(PRODUCE.to_vec());
    let request: ProduceRequest = decode(frame.clone(), 9).unwrap();
    assert_eq!((request.acks, request.timeout_ms), (-1, 1500));
    let topic = &request.topic_data[0];
    let records = topic.partition_data[0].records.as_ref().unwrap();
    assert_eq!(records, "RR");
    let inside = frame.as_ptr_range();
    assert!(inside.contains(&records.as_ptr()));
    assert!(inside.contains(&topic.name.as_ptr()));
    assert_eq!(encode(&request, 9), PRODUCE);
}

#[test]
fn bytes_after_a_message_are_left_to_the_caller() {
    let frame = [PRODUCE, b"more"].concat();
    let mut r = Reader::new(frame.into());
    ProduceRequest::decode(&mut r, 9).unwrap();
    assert_eq!(r.left(), 4, "Kafka does not look at them");
}

#[test]
fn a_count_that_the_bytes_left_cannot_hold_is_refused_before_anything_is_allocated() {
    let count = |count: i32| count.to_be_bytes().to_vec();
    assert_eq!(decode::<MetadataRequest>(count(100_000_000), 1), Err(DecodeError::Truncated));
    assert_eq!(decode::<MetadataRequest>(count(i32::MAX), 1), Err(DecodeError::Truncated));
    assert_eq!(decode::<MetadataRequest>(&b"\xff\xff\xff\xff\x0f\0\0"[..], 9), Err(DecodeError::Truncated));
}

#[test]
fn a_long_message_is_read_with_pauses() {
    /// Counts how often others may run.
    struct Pauses(usize, usize);
    impl wire::kafka::message::Pace for Pauses {
        fn is_due(&mut self, work: usize) -> bool {
            self.0 += work;
            self.0 >= 16 << 10
        }

        async fn pause(&mut self) {
            *self = Pauses(0, self.1 + 1);
        }
    }
    let names = 100_000;
    let mut frame = i32::to_be_bytes(names).to_vec();
    frame.resize(4 + 2 * names as usize, 0);
    let mut pauses = Pauses(0, 0);
    let mut r = Reader::new(frame.clone().into());
    let read = {
        let mut reading = std::pin::pin!(MetadataRequest::decode_paced(&mut r, 1, &mut pauses));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(read) = reading.as_mut().poll(&mut context) else {
            panic!("nothing waits")
        };
        read
    };
    assert_eq!(read, decode(frame, 1));
    assert!(pauses.1 > 300, "{} pauses", pauses.1);
}

#[test]
fn a_message_of_too_many_elements_is_refused() {
    let names = 3 << 20;
    let mut frame = i32::to_be_bytes(names).to_vec();
    frame.resize(4 + 2 * names as usize, 0);
    assert_eq!(decode::<MetadataRequest>(frame, 1), Err(DecodeError::Heap));
}

#[test]
fn null_is_minus_one_and_only_where_the_version_has_a_null() {
    let minus = |length: i32| length.to_be_bytes().to_vec();
    assert_eq!(decode::<MetadataRequest>(minus(-1), 1).unwrap().topics, None);
    assert_eq!(decode::<MetadataRequest>(minus(-1), 0), Err(DecodeError::Null));
    assert_eq!(decode::<MetadataRequest>(minus(-2), 1), Err(DecodeError::Length));
    let null_name = b"\0\0\0\x01\xff\xff";
    assert_eq!(decode::<MetadataRequest>(&null_name[..], 1), Err(DecodeError::Null));
}

#[test]
fn strings_are_utf8_and_no_longer_than_an_int16_can_say() {
    assert_eq!(decode::<ApiVersionsRequest>(&b"\x03\xc3\x28\x01\0"[..], 3), Err(DecodeError::Utf8));
    let mut long = vec![0x81, 0x80, 0x02];
    long.resize(40_000, b'x');
    assert_eq!(decode::<ApiVersionsRequest>(long, 3), Err(DecodeError::StringLength));
}

#[test]
fn a_varint_ends_within_32_bits() {
    for varint in [&b"\x80\x80\x80\x80\x80\0"[..], b"\xff\xff\xff\xff\x1f", b"\xff\xff\xff\xff\xff"] {
        assert_eq!(Reader::new(varint.into()).uvarint(), Err(DecodeError::Varint));
    }
    assert_eq!(Reader::new(b"\xff\xff\xff\xff\x0f"[..].into()).uvarint(), Ok(u32::MAX));
    assert_eq!(Reader::new(b"\xff\xff"[..].into()).uvarint(), Err(DecodeError::Truncated));
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let request: ApiVersionsRequest = decode(&b"\x02a\x02b\x02\x00\x03xyz\xff\x01\x00"[..], 3).unwrap();
    assert_eq!(request.client_software_version, "b");
    assert_eq!(
        decode::<ApiVersionsRequest>(&b"\x02a\x02b\x01\x00\x03xy"[..], 3),
        Err(DecodeError::Truncated)
    );
    assert_eq!(
        decode::<ApiVersionsRequest>(&b"\x02a\x02b\xff\xff\xff\xff\x0f"[..], 3),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn a_known_tagged_field_fills_its_size_exactly() {
    let response = |tag: &[u8]| {
        let body = [&b"\0\0\x01\0\0\0\0\x01\x01"[..], tag].concat();
        decode::<ApiVersionsResponse>(body, 3)
    };
    assert_eq!(response(b"\x08\0\0\0\0\0\0\0\x05").unwrap().finalized_features_epoch, 5);
    assert_eq!(response(b"\x09\0\0\0\0\0\0\0\x05\0"), Err(DecodeError::TagLength));
    assert_eq!(response(b"\x07\0\0\0\0\0\0\0\x05"), Err(DecodeError::Truncated));
}

#[test]
fn tagged_fields_are_written_only_when_they_differ_from_their_defaults() {
    let mut response = ApiVersionsResponse::default();
    assert_eq!(response.finalized_features_epoch, -1);
    assert_eq!(encode(&response, 3), &b"\0\0\x01\0\0\0\0\0"[..]);
    response.finalized_features_epoch = 5;
    assert_eq!(encode(&response, 3), &b"\0\0\x01\0\0\0\0\x01\x01\x08\0\0\0\0\0\0\0\x05"[..]);
}

#[test]
fn a_tagged_field_longer_than_127_bytes_keeps_its_bytes() {
    let feature = |at: i16| SupportedFeatureKey {
        name: format!("a feature with a long name, number {at}").into(),
        min_version: 0,
        max_version: at,
    };
    let response = ApiVersionsResponse {
        supported_features: (0..1000).map(feature).collect(),
        finalized_features_epoch: 7,
        ..Default::default()
    };
    assert_eq!(decode(encode(&response, 4), 4), Ok(response));
}

#[test]
fn fields_that_a_version_lacks_have_their_defaults() {
    let fetch: FetchRequest =
        decode(&b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0"[..], 4).unwrap();
    assert_eq!((fetch.max_bytes, fetch.session_id, fetch.session_epoch), (9, 0, -1));
    let defaults = FetchRequest::default();
    assert_eq!((defaults.replica_id, defaults.max_bytes), (-1, i32::MAX));
    assert_eq!(MetadataResponse::default().cluster_authorized_operations, i32::MIN);
    assert!(MetadataRequest::default().allow_auto_topic_creation);
}

#[test]
fn ignorable_fields_are_left_out_of_versions_that_lack_them() {
    let partition = PartitionProduceResponse { log_start_offset: 3, ..Default::default() };
    let response = |partition| ProduceResponse {
        responses: vec![TopicProduceResponse {
            name: "t".into(),
            partition_responses: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(encode(&response(partition), 3), encode(&response(PartitionProduceResponse::default()), 3));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is not in version 7")]
fn a_value_that_a_version_cannot_carry_is_a_bug() {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    encode(&request, 7);
}

#[test]
fn a_nullable_structure_has_a_mark_before_it() {
    let none = DescribeTopicPartitionsRequest::default();
    assert_eq!(encode(&none, 0), &b"\x01\0\0\x07\xd0\xff\0"[..]);
    let cursor = Cursor { topic_name: "t".into(), partition_index: 2 };
    let some = DescribeTopicPartitionsRequest { cursor: Some(cursor), ..none.clone() };
    assert_eq!(encode(&some, 0), &b"\x01\0\0\x07\xd0\x01\x02t\0\0\0\x02\0\0"[..]);
    assert_eq!(decode(encode(&some, 0), 0), Ok(some));
    assert_eq!(decode(encode(&none, 0), 0), Ok(none));
}

#[test]
fn batches_to_be_produced_are_not_copied_into_the_request() {
    let batch = Bytes::from(vec![7; 5000]);
    let small = Bytes::from(vec![8; 50]);
    let data = |index, records: &Bytes| PartitionProduceData { index, records: Some(records.clone()) };
    let request = ProduceRequest {
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![data(0, &batch), data(1, &small), data(2, &batch)],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in [7, 9] {
        let mut w = Writer::new();
        request.encode(&mut w, version);
        let encoded = w.finish();
        assert!(encoded.head.len() < 200);
        let parts: Vec<Bytes> = encoded.clone().parts().into_iter().flatten().collect();
        assert_eq!((parts[1].as_ptr(), parts[3].as_ptr()), (batch.as_ptr(), batch.as_ptr()));
        assert_eq!(encoded.into_contiguous(), parts.concat());
        assert_eq!(decode(parts.concat(), version), Ok(request.clone()));
    }
}

#[test]
fn fetched_records_are_not_copied_into_the_response() {
    let records = Bytes::from(vec![7; 1000]);
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![PartitionData {
                records: Records::Bytes(vec![records.slice(..400), records.slice(400..)]),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut w = Writer::new();
    response.encode(&mut w, 12);
    let encoded = w.finish();
    assert!(encoded.head.len() < 100);
    let parts: Vec<Bytes> = encoded.parts().into_iter().flatten().collect();
    assert_eq!(parts[1].as_ptr(), records.as_ptr());
    let decoded: FetchResponse = decode(parts.concat(), 12).unwrap();
    assert_eq!(decoded.responses[0].partitions[0].records, Records::Bytes(vec![records]));
}
