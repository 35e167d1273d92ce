//! Record batches that are broken, lie, or are much larger than they look.

use std::sync::LazyLock;

use bytes::Bytes;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord};
use wire::kafka::compression::{Codec, compress};
use wire::kafka::header::ResponseHeader;
use wire::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use wire::kafka::record_batch::{BatchHeader, HEADER_LEN, set_crc};
use wire::kafka::sample::Dice;
use wire::kafka::{ApiKey, ErrorCode, Message as _, Reader, Str};

use super::attacker::{Attacker, Wait};
use super::support::records::now_ms;

const VERSION: i16 = 9;
const PARTITIONS: usize = 4;

/// A batch of one record that does not compress. It is of today: what is read again and again must not be taken by retention.
pub fn plain(bytes: usize, dice: &mut Dice) -> Bytes {
    let value: Vec<u8> = (0..=bytes / 8).flat_map(|_| dice.roll().to_be_bytes()).collect();
    let mut batch = BatchBuilder::new(Codec::None);
    let timestamp = now_ms();
    batch.push(&NewRecord { timestamp, value: Some(&value[..bytes]), ..Default::default() });
    batch.build().unwrap()
}

pub fn produce(topic: &Str, index: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index, records: Some(batch) };
    let topic = TopicProduceData { name: topic.clone(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

/// Sends a batch; what its partition is answered.
fn send(attacker: &mut Attacker, batch: Vec<u8>) -> i16 {
    let index = attacker.dice.below(PARTITIONS) as i32;
    let request = Attacker::request(VERSION, &produce(&attacker.topic(), index, batch.into()));
    let answer = attacker.throw(&request, Wait::Must);
    assert!(!answer.is_empty(), "a produce request whose schema is right is answered");
    let mut reader = Reader::new(Bytes::from(answer).slice(4..));
    ResponseHeader::decode(&mut reader, ApiKey::Produce, VERSION).unwrap();
    let answer = ProduceResponse::decode(&mut reader, VERSION).unwrap();
    answer.responses[0].partition_responses[0].error_code
}

fn small(dice: &mut Dice, codec: Codec) -> Vec<u8> {
    let mut batch = BatchBuilder::new(codec);
    for _ in 0..=dice.below(5) {
        let value = vec![b'v'; dice.below(500)];
        batch.push(&NewRecord {
            timestamp: 1,
            key: Some(b"key"),
            value: Some(&value),
            headers: &[("h", Some(b"1"))],
        });
    }
    batch.build().unwrap().to_vec()
}

/// Checksums that do not fit, magics, lengths and counts that are not so. As Kafka answers: never taken.
pub fn broken(attacker: &mut Attacker) {
    while attacker.goes_on() {
        let codec = Codec::ALL[attacker.dice.below(Codec::ALL.len())];
        let mut batch = small(&mut attacker.dice, codec);
        let dice = &mut attacker.dice;
        let what = dice.below(6);
        match what {
            0 => {
                let at = 21 + dice.below(batch.len() - 21);
                batch[at] ^= 1 << dice.below(8);
            }
            1 => batch[16] = dice.roll() as u8 | 4,
            2 => batch[8..12].copy_from_slice(&(dice.roll() as i32).to_be_bytes()),
            3 => batch[57..61].copy_from_slice(&(6 + dice.below(1 << 30) as i32).to_be_bytes()),
            4 => batch[23..27].copy_from_slice(&(-1 - dice.below(1 << 30) as i32).to_be_bytes()),
            _ => batch.truncate(dice.below(batch.len())),
        }
        if [3, 4].contains(&what) {
            set_crc(&mut batch);
        }
        let code = send(attacker, batch);
        assert_ne!(code, 0, "damage {what} was taken");
        if what == 0 {
            assert_eq!(code, ErrorCode::CorruptMessage as i16, "a checksum that does not fit");
        }
    }
}

/// Batches whose records lie about their sizes and counts, with a checksum that fits.
pub fn lying(attacker: &mut Attacker) {
    const LIES: [&[u8]; 6] = [
        &[0xfe, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
        &[0x01],
        &[0xff, 0x7f],
    ];
    while attacker.goes_on() {
        let codec = Codec::ALL[attacker.dice.below(Codec::ALL.len())];
        let plain = small(&mut attacker.dice, Codec::None);
        let mut records = plain[HEADER_LEN..].to_vec();
        let lie = LIES[attacker.dice.below(LIES.len())];
        let at = attacker.dice.below(records.len());
        records.splice(at..(at + lie.len()).min(records.len()), lie.iter().copied());
        send(attacker, sealed(&plain, codec, &records));
    }
}

/// The batch with other records, compressed, and a checksum that fits.
fn sealed(like: &[u8], codec: Codec, records: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    compress(codec, None, records, &mut compressed).unwrap();
    with_compressed(like, codec, &compressed)
}

fn with_compressed(like: &[u8], codec: Codec, compressed: &[u8]) -> Vec<u8> {
    let mut header = BatchHeader::parse(like).unwrap();
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(compressed);
    header.size = bytes.len();
    header.attributes = header.attributes.with_codec(codec);
    bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    set_crc(&mut bytes);
    bytes
}

/// A batch with one record of so many zeros.
fn zeros(codec: Codec, bytes: usize) -> Vec<u8> {
    let mut batch = BatchBuilder::new(codec);
    batch.push(&NewRecord { timestamp: 1, value: Some(&vec![0; bytes]), ..Default::default() });
    batch.build().unwrap().to_vec()
}

/// The same in a single raw block of snappy, as librdkafka writes it, of nothing but copies.
fn zeros_in_one_block(bytes: usize) -> Vec<u8> {
    const LITERAL: usize = 32;
    const COPY: usize = 64;
    let plain = zeros(Codec::None, bytes);
    let records = &plain[HEADER_LEN..];
    let copies = (records.len() - LITERAL) / COPY;
    let mut block = Vec::new();
    let mut left = records.len();
    while left >= 0x80 {
        block.push(left as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
    let literal = |block: &mut Vec<u8>, bytes: &[u8]| {
        block.push((bytes.len() as u8 - 1) << 2);
        block.extend_from_slice(bytes);
    };
    literal(&mut block, &records[..LITERAL]);
    // 64 bytes from one byte back.
    block.extend([(COPY as u8 - 1) << 2 | 2, 1, 0].repeat(copies));
    for rest in records[LITERAL + copies * COPY..].chunks(60) {
        literal(&mut block, rest);
    }
    with_compressed(&plain, Codec::Snappy, &block)
}

/// A batch with as many of the smallest records as make so many bytes.
fn crumbs(codec: Codec, bytes: usize) -> Vec<u8> {
    let mut batch = BatchBuilder::new(codec);
    for _ in 0..bytes / 9 {
        batch.push(&NewRecord { timestamp: 1, ..Default::default() });
    }
    batch.build().unwrap().to_vec()
}

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// More than a batch may decompress to. Made once: making them takes longer than checking them.
pub fn bombs(attacker: &mut Attacker) {
    static BOMBS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        // What a mebibyte of each codec can become, within what a topic takes by default.
        CODECS.map(|codec| zeros(codec, if codec == Codec::Snappy { 16 << 20 } else { 160 << 20 })).into()
    });
    while attacker.goes_on() {
        let which = attacker.dice.below(BOMBS.len());
        let code = send(attacker, BOMBS[which].clone());
        assert!(code != 0 || CODECS[which] == Codec::Snappy, "{} was taken", CODECS[which]);
    }
}

/// As much as a batch may decompress to, or nearly: in one record, and in as many as possible.
pub fn bombs_inside_limit(attacker: &mut Attacker) {
    static LARGE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let one = CODECS.map(|codec| zeros(codec, if codec == Codec::Snappy { 16 << 20 } else { 100 << 20 }));
        let many = CODECS.map(|codec| crumbs(codec, 4 << 20));
        [&one[..], &many[..], &[zeros_in_one_block(20 << 20)][..]].concat()
    });
    while attacker.goes_on() {
        let which = attacker.dice.below(LARGE.len());
        let code = send(attacker, LARGE[which].clone());
        let answers = [0, ErrorCode::MessageTooLarge as i16];
        assert!(answers.contains(&code), "answered with {code}");
    }
}
