//! Record batches against the codec of the `kafka-protocol` crate, both ways, and the rules of validation.

#![allow(clippy::unwrap_used)] // helpers of tests too

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::record::{Record, Records};
use wire::kafka::record_batch::*;
use wire::kafka::record_validation::*;
use wire::kafka::record_walk::*;

const LIMIT: usize = 16 << 20;

fn value(index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at / 3 + index * 7) % 251) as u8).collect()
}

/// A batch of `count` records of many shapes; sizes around those of blocks and pieces are among them.
fn batch(codec: Codec, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(codec).producer(Producer { id: 7, epoch: 3, base_sequence: 5 });
    for index in 0..count {
        let len = [0, 1, 100, 1000, 16_384, 33_000, 70_000][index % 7];
        let bytes = value(index, len);
        let headers: &[(&str, Option<&[u8]>)] =
            if index % 3 == 0 { &[("a", Some(b"b")), ("c", None)] } else { &[] };
        builder.push(&NewRecord {
            timestamp: 1_700_000_000_000 + (index as i64 * 37) % 500,
            key: (index % 2 == 0).then_some(b"key"),
            value: (index % 5 != 4).then_some(&bytes),
            headers,
        });
    }
    builder.build().unwrap()
}

fn rules() -> Rules {
    Rules {
        now_ms: 1_700_000_000_000,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        keys: Keys::Optional,
        decompressed_bytes_max: LIMIT,
    }
}

fn accepted(bytes: &Bytes, rules: &Rules) -> Result<Accepted, Refusal> {
    validate(&single_batch(bytes)?, rules)
}

#[test]
fn another_codec_reads_what_we_build() {
    for codec in Codec::ALL {
        let ours = batch(codec, 40);
        let theirs = oracle::RecordBatchDecoder::decode(&mut ours.clone()).unwrap().records;
        let mine: Vec<Record> =
            Records::new(&single_batch(&ours).unwrap(), LIMIT).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(theirs.len(), 40);
        assert_eq!(mine.len(), 40);
        for (theirs, mine) in theirs.iter().zip(&mine) {
            assert_eq!((theirs.offset, theirs.timestamp), (mine.offset, mine.timestamp));
            assert_eq!((&theirs.key, &theirs.value), (&mine.key, &mine.value));
            assert_eq!((theirs.producer_id, theirs.producer_epoch), (7, 3));
            let headers: Vec<_> = mine.headers.iter().map(|header| (header.key, header.value)).collect();
            let expected: Vec<_> =
                theirs.headers.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone())).collect();
            assert_eq!(headers, expected);
        }
    }
}

#[test]
fn we_read_what_another_codec_builds() {
    for (codec, theirs) in [
        (Codec::None, oracle::Compression::None),
        (Codec::Gzip, oracle::Compression::Gzip),
        (Codec::Snappy, oracle::Compression::Snappy),
        (Codec::Lz4, oracle::Compression::Lz4),
        (Codec::Zstd, oracle::Compression::Zstd),
    ] {
        let records: Vec<_> = (0..50)
            .map(|index| oracle::Record {
                transactional: false,
                control: false,
                partition_leader_epoch: 0,
                producer_id: -1,
                producer_epoch: -1,
                timestamp_type: oracle::TimestampType::Creation,
                offset: index,
                sequence: index as i32,
                timestamp: 1_700_000_000_000 + index,
                key: (index % 2 == 1).then(|| Bytes::from_static(b"k")),
                value: (index % 7 != 0).then(|| Bytes::from(value(index as usize, 5000))),
                delete_horizon: false,
                headers: IndexMap::from([(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"v")))]),
            })
            .collect();
        let mut bytes = BytesMut::new();
        let options = oracle::RecordEncodeOptions { version: 2, compression: theirs };
        oracle::RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        let bytes = bytes.freeze();

        let batch = single_batch(&bytes).unwrap();
        assert_eq!(batch.header.codec(), Ok(codec));
        batch.header.verify_crc(&bytes).unwrap();
        let seen = accepted(&bytes, &rules()).unwrap();
        assert_eq!((seen.record_count, seen.max_timestamp), (50, 1_700_000_000_049), "{codec}");
        let mine: Vec<Record> = Records::new(&batch, LIMIT).unwrap().collect::<Result<_, _>>().unwrap();
        for (theirs, mine) in records.iter().zip(&mine) {
            assert_eq!((theirs.offset, theirs.timestamp), (mine.offset, mine.timestamp));
            assert_eq!((&theirs.key, &theirs.value), (&mine.key, &mine.value));
            assert_eq!(mine.headers.len(), 1);
        }
    }
}

#[test]
fn base_offset_and_epoch_are_set_outside_the_crc() {
    let mut bytes = batch(Codec::Lz4, 3).to_vec();
    set_base_offset(&mut bytes, 1 << 40);
    set_leader_epoch(&mut bytes, 9);
    let header = BatchHeader::parse(&bytes).unwrap();
    header.verify_crc(&bytes).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1 << 40, 9));
    assert_eq!((header.last_offset(), header.next_offset()), ((1 << 40) + 2, (1 << 40) + 3));
    assert_eq!(header.last_sequence(), 7);
}

#[test]
fn append_time_is_every_records_time() {
    for codec in Codec::ALL {
        let mut bytes = batch(codec, 8).to_vec();
        set_append_time(&mut bytes, 42);
        let header = BatchHeader::parse(&bytes).unwrap();
        header.verify_crc(&bytes).unwrap();
        assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        let mut seen = 0;
        walk(&bytes, &header, LIMIT, Gaps::Refused, |record| {
            assert_eq!(record.timestamp, 42);
            seen += 1;
            Step::Next
        })
        .unwrap();
        assert_eq!(seen, 8);
        // Back again: as it was.
        set_timestamps(&mut bytes, TimestampType::CreateTime, 1_700_000_000_000 + 259);
        assert_eq!(bytes, batch(codec, 8));
    }
}

#[test]
fn batches_end_at_one_that_is_cut() {
    let one = batch(Codec::None, 3);
    let two = batch(Codec::Zstd, 2);
    let mut all = BytesMut::new();
    all.extend_from_slice(&one);
    all.extend_from_slice(&two);
    let whole = all.len();
    all.extend_from_slice(&one[..one.len() - 1]);
    let all = all.freeze();
    let mut batches = Batches::new(all.clone());
    assert_eq!(batches.next().unwrap().unwrap().bytes, one);
    let second = batches.next().unwrap().unwrap();
    assert_eq!(second.bytes, two);
    assert_eq!(second.bytes.as_ptr(), all[one.len()..].as_ptr(), "a slice, not a copy");
    assert!(batches.next().is_none());
    assert_eq!(batches.rest(), &all.slice(whole..));
    assert!(matches!(single_batch(&all), Err(BatchError::SeveralBatches)));
    assert!(matches!(single_batch(&one.slice(..60)), Err(BatchError::Short { .. })));
    assert!(matches!(single_batch(&one.slice(..70)), Err(BatchError::Truncated { .. })));
}

#[test]
fn a_time_is_found_inside_a_batch() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        for timestamp in [100, 300, 200, 300, 250] {
            builder.push(&NewRecord { timestamp, value: Some(&value(1, 30_000)), ..NewRecord::default() });
        }
        let mut bytes = builder.build().unwrap().to_vec();
        set_base_offset(&mut bytes, 50);
        let header = BatchHeader::parse(&bytes).unwrap();
        let find = |at| {
            find_timestamp(&bytes, &header, at, LIMIT).unwrap().map(|found| (found.offset, found.timestamp))
        };
        assert_eq!(find(0), Some((50, 100)));
        assert_eq!(find(101), Some((51, 300)));
        assert_eq!(find(300), Some((51, 300)));
        assert_eq!(find(301), None);
        let largest = find_max_timestamp(&bytes, &header, LIMIT).unwrap().unwrap();
        assert_eq!((largest.offset, largest.timestamp), (51, 300));
    }
}

/// A good batch whose header was changed, with the CRC made right again.
fn changed(codec: Codec, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut bytes = batch(codec, 4).to_vec();
    let mut header = BatchHeader::parse(&bytes).unwrap();
    change(&mut header);
    bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn what_a_broker_refuses_is_told_apart() {
    for codec in Codec::ALL {
        let check = |change: fn(&mut BatchHeader)| accepted(&changed(codec, change), &rules()).unwrap_err();
        assert_eq!(check(|h| h.base_offset = 1), Refusal::Batch(BatchRule::BaseOffset(1)));
        assert_eq!(check(|h| h.record_count = 0), Refusal::Batch(BatchRule::Empty));
        assert!(matches!(check(|h| h.record_count = 5), Refusal::Batch(BatchRule::OffsetRange { .. })));
        assert!(matches!(check(|h| h.last_offset_delta = -1), Refusal::Batch(BatchRule::OffsetRange { .. })));
        assert_eq!(check(|h| h.attributes = h.attributes.control()), Refusal::Batch(BatchRule::Control));
        assert_eq!(check(|h| h.base_sequence = -1), Refusal::Batch(BatchRule::Sequence(-1)));
        assert_eq!(
            check(|h| (h.record_count, h.last_offset_delta) = (3, 2)),
            Refusal::Malformed(BatchError::TrailingBytes)
        );
        assert_eq!(
            check(|h| (h.record_count, h.last_offset_delta) = (5, 4)),
            Refusal::Malformed(BatchError::Record { index: 4, fault: RecordFault::Cut })
        );
        assert_eq!(check(|h| h.attributes.0 |= 7), Refusal::Malformed(BatchError::Codec(7)));
    }
    let bad = batch(Codec::None, 2);
    let mut bad = bad.to_vec();
    bad[80] ^= 1;
    assert!(matches!(accepted(&Bytes::from(bad), &rules()), Err(Refusal::Malformed(BatchError::Crc { .. }))));
}

#[test]
fn records_that_break_a_rule_are_named() {
    for codec in Codec::ALL {
        let bytes = batch(codec, 6);
        let compacted = Rules { keys: Keys::Required, ..rules() };
        let Err(Refusal::Records(refused)) = accepted(&bytes, &compacted) else { panic!("keys are missing") };
        assert_eq!(refused.iter().map(|r| r.index).collect::<Vec<_>>(), [1, 3, 5]);

        let early = Rules { timestamp_after_max_ms: 100, ..rules() };
        let Err(Refusal::Records(refused)) = accepted(&bytes, &early) else { panic!("timestamps are early") };
        assert_eq!(refused.iter().map(|r| r.index).collect::<Vec<_>>(), [3, 4, 5]);
        let late = Rules { now_ms: 1_700_000_000_500, timestamp_before_max_ms: 400, ..rules() };
        let Err(Refusal::Records(refused)) = accepted(&bytes, &late) else { panic!("timestamps are late") };
        assert_eq!(refused.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 2]);

        let append =
            Rules { timestamp_type: TimestampType::LogAppendTime, timestamp_after_max_ms: 0, ..rules() };
        let seen = accepted(&bytes, &append).unwrap();
        assert_eq!((seen.max_timestamp, seen.must_restamp), (1_700_000_000_000, true));
        let plain = accepted(&bytes, &rules()).unwrap();
        assert_eq!((plain.max_timestamp, plain.must_restamp), (1_700_000_000_185, false));
    }
}

#[test]
fn decompression_stops_at_its_limit() {
    for codec in Codec::ALL.into_iter().skip(1) {
        let mut builder = BatchBuilder::new(codec);
        builder.push(&NewRecord { value: Some(&vec![0; 4 << 20]), ..NewRecord::default() });
        let bytes = builder.build().unwrap();
        let small = Rules { decompressed_bytes_max: 1 << 20, ..rules() };
        assert_eq!(
            accepted(&bytes, &small),
            Err(Refusal::Malformed(BatchError::TooLarge { limit: 1 << 20 }))
        );
        accepted(&bytes, &rules()).unwrap();
    }
}

#[test]
fn a_walk_that_rests_sees_what_one_without_rests_sees() {
    for codec in Codec::ALL {
        let bytes = batch(codec, 40);
        let header = BatchHeader::parse(&bytes).unwrap();
        let mut whole = Vec::new();
        let mut see = |record: &RecordShape| {
            whole.push(*record);
            Step::Next
        };
        let record_bytes = walk(&bytes, &header, LIMIT, Gaps::Refused, &mut see).unwrap();
        for step in [1, 1000, 20_000] {
            let (mut seen, mut rests) = (Vec::new(), 0);
            let mut walk = Walk::new(&bytes, &header, LIMIT, Gaps::Refused).unwrap();
            let mut see = |record: &RecordShape| {
                seen.push(*record);
                Step::Next
            };
            let walked = loop {
                match walk.go_on(step, &mut see).unwrap() {
                    Some(bytes) => break bytes,
                    None => rests += 1,
                }
            };
            assert_eq!((&seen, walked), (&whole, record_bytes), "{codec} by {step}");
            // No rest is much further from the one before than was asked for: a piece or a block at most.
            assert!(rests >= record_bytes / (step + (64 << 10)), "{codec} by {step}: {rests} rests");
        }
    }
}

#[test]
fn a_walk_rests_inside_a_record_that_is_much_larger_than_its_batch() {
    let mut bomb = BatchBuilder::new(Codec::Zstd);
    bomb.push(&NewRecord { value: Some(&vec![0; LIMIT / 2]), ..Default::default() });
    let bytes = bomb.build().unwrap();
    assert!(bytes.len() < 10_000);
    let batch = single_batch(&bytes).unwrap();
    let mut validation = Validation::new(&batch, &rules()).unwrap();
    let mut rests = 0;
    while validation.go_on(32 << 10).unwrap().is_none() {
        rests += 1;
    }
    assert!(rests >= LIMIT / 2 / (64 << 10), "{rests} rests");
}
