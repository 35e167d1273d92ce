//! Frames captured from a live Kafka 4.3.1 and from real clients (`golden/kafka-4.3.1`): each decodes to its last byte and
//! encodes to the same bytes again; the record batches in them are whole, and their records are read in every codec.

#![allow(clippy::unwrap_used)] // helpers of tests too

#[allow(dead_code)] // only the list of APIs
mod apis;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use wire::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use wire::kafka::compression::Codec;
use wire::kafka::fetch::FetchResponse;
use wire::kafka::header::{RequestHeader, ResponseHeader};
use wire::kafka::produce::ProduceRequest;
use wire::kafka::record::{ControlRecord, Records as BatchRecords};
use wire::kafka::record_batch::{Batches, TimestampType, single_batch};
use wire::kafka::record_validation::{Keys, Rules, validate};
use wire::kafka::record_walk::{Gaps, Step, walk};
use wire::kafka::{ApiKey, Message, Reader, Records, Request, Writer};

const LIMIT: usize = 1 << 20;
/// Versions that Kafka answers only by closing the connection.
const NOT_CAPTURED: [(&str, i16); 3] = [("produce", 0), ("produce", 1), ("produce", 2)];

/// One captured frame, without its length.
struct Frame {
    version: i16,
    is_request: bool,
    client: String,
    bytes: Bytes,
}

/// The frames of one API.
fn frames(api: &str) -> Vec<Frame> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/golden/kafka-4.3.1", &format!("{api}.txt")].iter().collect();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(frame).collect()
}

fn frame(line: &str) -> Frame {
    let words: Vec<&str> = line.split(' ').collect();
    let [version, direction, client, hex] = words[..] else { panic!("not a line of golden bytes: {line}") };
    Frame {
        version: version.strip_prefix('v').unwrap().parse().unwrap(),
        is_request: direction == "request",
        client: client.to_owned(),
        bytes: (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect(),
    }
}

/// Where in a frame the body begins, and the body.
fn body<M: Message>(key: ApiKey, frame: &Frame) -> (usize, M) {
    let mut r = Reader::new(frame.bytes.clone());
    if frame.is_request {
        let header = RequestHeader::decode(&mut r).unwrap();
        assert_eq!((header.api_key, header.api_version), (key as i16, frame.version));
    } else {
        ResponseHeader::decode(&mut r, key, frame.version).unwrap();
    }
    let start = frame.bytes.len() - r.left();
    let message = M::decode(&mut r, frame.version)
        .unwrap_or_else(|error| panic!("{key:?} v{} of {}: {error:?}", frame.version, frame.client));
    assert_eq!(r.left(), 0, "{key:?} v{} of {}: bytes are left", frame.version, frame.client);
    (start, message)
}

fn round_trip<M: Message>(key: ApiKey, frame: &Frame) {
    let (_, message) = body::<M>(key, frame);
    let mut w = Writer::new();
    if frame.is_request {
        RequestHeader::decode(&mut Reader::new(frame.bytes.clone())).unwrap().encode(&mut w);
    } else {
        ResponseHeader::decode(&mut Reader::new(frame.bytes.clone()), key, frame.version).unwrap().encode(
            &mut w,
            key,
            frame.version,
        );
    }
    message.encode(&mut w, frame.version);
    let again = w.finish().into_contiguous();
    assert!(
        again == frame.bytes,
        "{key:?} v{} {} of {}:\n captured {:02x?}\n  encoded {:02x?}",
        frame.version,
        if frame.is_request { "request" } else { "response" },
        frame.client,
        &frame.bytes[..],
        &again[..],
    );
}

#[test]
fn every_captured_frame_decodes_whole_and_encodes_to_the_same_bytes() {
    let mut count = 0;
    let mut missing = Vec::new();
    macro_rules! each {
        ($module:ident $request:ident $response:ident) => {{
            use wire::kafka::$module::{$request, $response};
            let api = stringify!($module);
            let mut seen = BTreeSet::new();
            for frame in frames(api) {
                if !$request::VERSIONS.contains(&frame.version) {
                    continue; // its own test, below
                }
                if frame.is_request {
                    round_trip::<$request>($request::API_KEY, &frame);
                } else {
                    round_trip::<$response>($request::API_KEY, &frame);
                    seen.insert(frame.version);
                }
                count += 1;
            }
            let absent = $request::VERSIONS.filter(|version| !seen.contains(version));
            missing
                .extend(absent.map(|version| (api, version)).filter(|absent| !NOT_CAPTURED.contains(absent)));
        }};
    }
    for_each_api!(each);
    assert!(missing.is_empty(), "no golden bytes of {missing:?}");
    assert!(count > 500, "{count} frames");
}

#[test]
fn a_version_of_api_versions_that_the_broker_lacks_is_answered_in_version_0() {
    let frames = frames("api_versions");
    let unknown: Vec<_> =
        frames.iter().filter(|frame| !ApiVersionsRequest::VERSIONS.contains(&frame.version)).collect();
    assert!(unknown.iter().any(|frame| frame.client == "franz-go"), "it tries version 5 first");
    for frame in unknown {
        if frame.is_request {
            let header = RequestHeader::decode(&mut Reader::new(frame.bytes.clone())).unwrap();
            assert_eq!((header.api_key, header.api_version), (18, frame.version));
            continue;
        }
        assert_eq!(frame.bytes.len(), 16);
        let in_version_0 =
            Frame { version: 0, is_request: false, client: frame.client.clone(), bytes: frame.bytes.clone() };
        round_trip::<ApiVersionsResponse>(ApiKey::ApiVersions, &in_version_0);
        let (_, response) = body::<ApiVersionsResponse>(ApiKey::ApiVersions, &in_version_0);
        assert_eq!(response.error_code, 35);
        let keys: Vec<_> =
            response.api_keys.iter().map(|key| (key.api_key, key.min_version, key.max_version)).collect();
        assert_eq!(keys, [(18, 0, 4)]);
    }
}

fn rules() -> Rules {
    Rules {
        now_ms: 0,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        keys: Keys::Optional,
        decompressed_bytes_max: LIMIT,
    }
}

#[test]
fn batches_of_every_client_and_codec_are_valid() {
    let mut seen: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for frame in frames("produce").iter().filter(|frame| frame.is_request) {
        let (_, request) = body::<ProduceRequest>(ApiKey::Produce, frame);
        for partition in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
            let batch = single_batch(partition.records.as_ref().unwrap()).unwrap();
            let accepted = validate(&batch, &rules()).unwrap();
            let records: Vec<_> = BatchRecords::new(&batch, LIMIT).unwrap().map(Result::unwrap).collect();
            assert_eq!(records.len(), accepted.record_count as usize);
            assert!(
                records
                    .iter()
                    .all(|record| record.value.as_ref().is_some_and(|value| value.starts_with(b"v")))
            );
            assert!(
                !accepted.must_restamp || frame.client == "probe",
                "{}: wrong max timestamp",
                frame.client
            );
            seen.entry(frame.client.clone()).or_default().insert(batch.header.codec().unwrap().name());
        }
    }
    let all: BTreeSet<_> = Codec::ALL.into_iter().map(Codec::name).collect();
    for client in ["java", "kcat", "librdkafka", "kafka-python", "franz-go"] {
        assert_eq!(seen[client], all, "{client}");
    }
    assert_eq!(seen["kafkajs"], all.iter().copied().filter(|codec| *codec != "zstd").collect());
}

#[test]
fn batches_in_fetch_responses_are_valid() {
    let mut batches = 0;
    let mut markers = BTreeSet::new();
    let mut aborted = 0;
    for frame in frames("fetch").iter().filter(|frame| !frame.is_request) {
        let (_, response) = body::<FetchResponse>(ApiKey::Fetch, frame);
        for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
            aborted += partition.aborted_transactions.as_ref().map_or(0, Vec::len);
            let Records::Bytes(parts) = &partition.records else { continue };
            for batch in parts.iter().flat_map(|part| Batches::new(part.clone())) {
                let batch = batch.unwrap();
                batch.header.verify_crc(&batch.bytes).unwrap();
                assert_eq!(batch.header.partition_leader_epoch, 0);
                let mut count = 0;
                walk(&batch.bytes, &batch.header, LIMIT, Gaps::Allowed, |_| {
                    count += 1;
                    Step::Next
                })
                .unwrap();
                assert_eq!(count, batch.header.record_count);
                batches += 1;
                if batch.header.attributes.is_control() {
                    assert!(batch.header.attributes.is_transactional());
                    let record = BatchRecords::new(&batch, LIMIT).unwrap().next().unwrap().unwrap();
                    markers
                        .insert(format!("{:?}", ControlRecord::parse(record.key.as_ref().unwrap()).unwrap()));
                }
            }
        }
    }
    assert!(batches > 40, "{batches} batches");
    assert_eq!(markers, BTreeSet::from(["Abort".to_owned(), "Commit".to_owned()]));
    assert!(aborted > 0, "an aborted transaction is told to those who read committed records");
}
