//! The hot messages, ours and the `kafka-protocol` crate's, side by side: `cargo bench -p wire --bench messages`.
//!
//! Best of several rounds, in nanoseconds per message; rounds of the two codecs alternate, so that a busy machine hurts
//! both. Nothing is asserted.

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use wire::kafka::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use wire::kafka::metadata::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::kafka::{Message, Reader, Records, Writer};

const ROUNDS: usize = 20;
const PARTITIONS: i32 = 6;
const RECORDS_BYTES: usize = 100_000;
const TOPICS: i32 = 500;
const PARTITIONS_PER_TOPIC: i32 = 10;

/// Nanoseconds per call of each, best of the rounds.
fn race(name: &str, calls: u32, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    let time = |run: &mut dyn FnMut()| {
        let began = Instant::now();
        for _ in 0..calls {
            run();
        }
        began.elapsed().as_nanos() / u128::from(calls)
    };
    let (mut our_best, mut their_best) = (u128::MAX, u128::MAX);
    for _ in 0..ROUNDS {
        our_best = our_best.min(time(&mut ours));
        their_best = their_best.min(time(&mut theirs));
    }
    println!("{name:<44} ours {our_best:>9} ns   kafka-protocol {their_best:>9} ns");
}

fn encoded(message: &impl Message, version: i16) -> Bytes {
    let mut w = Writer::new();
    message.encode(&mut w, version);
    w.finish().into_contiguous()
}

fn produce(version: i16) {
    let records = Bytes::from(vec![7; RECORDS_BYTES]);
    let partition = |index| PartitionProduceData { index, records: Some(records.clone()) };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: if version < 13 { "orders".into() } else { "".into() },
            partition_data: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encoded(&request, version);
    race(
        &format!("decode Produce v{version}, 6 partitions x 100 kB"),
        20_000,
        || drop(black_box(ProduceRequest::decode(&mut Reader::new(frame.clone()), version))),
        || drop(black_box(theirs::ProduceRequest::decode(&mut frame.clone(), version))),
    );
}

fn fetch(version: i16) {
    let records = Bytes::from(vec![7; RECORDS_BYTES]);
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: if version < 13 { "orders".into() } else { "".into() },
            partitions: (0..PARTITIONS)
                .map(|partition_index| PartitionData {
                    partition_index,
                    records: Records::Bytes(vec![records.clone()]),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let Ok(same) = theirs::FetchResponse::decode(&mut encoded(&response, version), version) else {
        return;
    };
    let mut buffer = BytesMut::with_capacity(1 << 20);
    race(
        &format!("encode Fetch v{version}, 6 partitions x 100 kB"),
        5_000,
        || {
            let mut w = Writer::with_capacity(512);
            response.encode(&mut w, version);
            black_box(w.finish());
        },
        || {
            buffer.clear();
            drop(black_box(same.encode(&mut buffer, version)));
        },
    );
}

fn metadata(version: i16) {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        replica_nodes: vec![1, 2, 3],
        isr_nodes: vec![1, 2, 3],
        ..Default::default()
    };
    let topic = |number| MetadataResponseTopic {
        name: Some(format!("topic-{number}").into()),
        partitions: (0..PARTITIONS_PER_TOPIC).map(partition).collect(),
        ..Default::default()
    };
    let response = MetadataResponse { topics: (0..TOPICS).map(topic).collect(), ..Default::default() };
    let frame = encoded(&response, version);
    let Ok(same) = theirs::MetadataResponse::decode(&mut frame.clone(), version) else { return };
    let mut buffer = BytesMut::with_capacity(1 << 20);
    race(
        &format!("encode Metadata v{version}, 500 topics x 10"),
        100,
        || {
            let mut w = Writer::with_capacity(1 << 18);
            response.encode(&mut w, version);
            black_box(w.finish());
        },
        || {
            buffer.clear();
            drop(black_box(same.encode(&mut buffer, version)));
        },
    );
    race(
        &format!("decode Metadata v{version}, 500 topics x 10"),
        100,
        || drop(black_box(MetadataResponse::decode(&mut Reader::new(frame.clone()), version))),
        || drop(black_box(theirs::MetadataResponse::decode(&mut frame.clone(), version))),
    );
}

fn main() {
    for version in [3, 9, 13] {
        produce(version);
    }
    for version in [11, 12, 16] {
        fetch(version);
    }
    for version in [1, 9, 12] {
        metadata(version);
    }
}
