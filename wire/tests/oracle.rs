//! Every message in every version against a codec that others wrote (the `kafka-protocol` crate, Kafka 4.1's schemas).
//!
//! A random message of ours is encoded, decoded by the other codec, encoded by it, and must be the same bytes; what ours then
//! decodes must be the same message. Versions that the other codec lacks are in `golden_versions.rs`.

mod apis;

use std::fmt::Debug;
use std::ops::RangeInclusive;

use apis::Repeat;
use bytes::BytesMut;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use wire::kafka::message::Field;
use wire::kafka::sample::{Dice, Sample};
use wire::kafka::{Message, Reader, Writer};

const SAMPLES: u64 = 60;

/// Compares the two codecs; the versions both have.
fn compare<O, T>(name: &str, versions: RangeInclusive<i16>, repeat: &mut Repeat) -> usize
where
    O: Message + Field + Sample + PartialEq + Debug,
    T: TheirMessage + Encodable + Decodable + Debug,
{
    let (from, to) = (*versions.start().max(&T::VERSIONS.min), *versions.end().min(&T::VERSIONS.max));
    for version in from..=to {
        for sample in 0..SAMPLES {
            repeat.doing = format!("comparing {name} version {version}, sample {sample}");
            let mut dice = Dice::new(repeat.seed ^ sample.wrapping_mul(0x1_0001) ^ ((version as u64) << 48));
            let ours = O::sample(&mut dice, O::form(version));
            let mut w = Writer::new();
            ours.encode(&mut w, version);
            let bytes = w.finish().into_contiguous();

            let mut left = bytes.clone();
            let decoded = T::decode(&mut left, version).unwrap_or_else(|error| panic!("{error} in {ours:?}"));
            assert!(left.is_empty(), "{} bytes left of {ours:?}", left.len());
            let mut again = BytesMut::new();
            decoded.encode(&mut again, version).unwrap_or_else(|error| panic!("{error} in {decoded:?}"));
            assert_eq!(bytes, again, "{ours:?}\n{decoded:?}");

            let mut r = Reader::new(again.freeze());
            assert_eq!(O::decode(&mut r, version).as_ref(), Ok(&ours));
            assert_eq!(r.left(), 0);
        }
    }
    (from..=to).count()
}

#[test]
fn every_message_in_every_version_agrees_with_another_codec_in_both_directions() {
    let mut repeat = Repeat { seed: apis::seed(), test: "oracle", doing: String::new() };
    let mut compared = 0;
    macro_rules! each {
        ($module:ident $request:ident $response:ident) => {
            let versions = apis::versions::<wire::kafka::$module::$request>();
            compared += compare::<wire::kafka::$module::$request, theirs::$request>(
                stringify!($request),
                versions.clone(),
                &mut repeat,
            );
            compared += compare::<wire::kafka::$module::$response, theirs::$response>(
                stringify!($response),
                versions,
                &mut repeat,
            );
        };
    }
    for_each_api!(each);
    assert!(compared > 300, "only {compared} versions compared");
}

#[test]
fn every_request_agrees_with_another_codec_on_where_flexible_versions_begin() {
    macro_rules! each {
        ($module:ident $request:ident $response:ident) => {
            for version in apis::versions::<wire::kafka::$module::$request>() {
                use wire::kafka::Request;
                let key = wire::kafka::$module::$request::API_KEY;
                let flexible = wire::kafka::$module::$request::flexible(version);
                assert_eq!(
                    flexible,
                    wire::kafka::$module::$request::form(version).flexible,
                    "{key} {version}"
                );
                assert_eq!(
                    flexible,
                    wire::kafka::$module::$response::form(version).flexible,
                    "{key} {version}"
                );
                let their_key = theirs::ApiKey::try_from(key.key()).unwrap();
                assert_eq!(their_key.request_header_version(version), key.request_header_version(version));
                assert_eq!(their_key.response_header_version(version), key.response_header_version(version));
            }
        };
    }
    for_each_api!(each);
}
