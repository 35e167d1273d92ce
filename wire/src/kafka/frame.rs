//! Frames: a length of four bytes, then a header, then a message.

use std::fmt;

use super::api_key::ApiKey;
use super::header::{RequestHeader, ResponseHeader};
use super::message::{Message, Pace, Request};
use super::types::Str;
use super::writer::{Encoded, Writer};

/// Bytes of the length before a frame.
pub const LENGTH_BYTES: usize = 4;

/// Room made for a frame whose size is not known beforehand.
const FRAME_CAPACITY: usize = 512;

/// A length that no frame may have; the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Zero or negative.
    NotPositive(i32),
    /// Above the cap (`socket.request.max.bytes`).
    TooLong {
        /// The announced length in bytes.
        len: usize,
        /// The cap in bytes.
        cap: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPositive(len) => write!(f, "frame length {len} is not positive"),
            Self::TooLong { len, cap } => write!(f, "frame of {len} bytes is above the cap of {cap}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The length of the frame that follows its `prefix`, at most `cap` bytes.
pub fn body_len(prefix: [u8; LENGTH_BYTES], cap: usize) -> Result<usize, FrameError> {
    let announced = i32::from_be_bytes(prefix);
    match usize::try_from(announced) {
        Err(_) | Ok(0) => Err(FrameError::NotPositive(announced)),
        Ok(len) if len > cap => Err(FrameError::TooLong { len, cap }),
        Ok(len) => Ok(len),
    }
}

/// A whole frame, length first, around what `write` puts.
fn frame(write: impl FnOnce(&mut Writer)) -> Encoded {
    let mut w = begin();
    write(&mut w);
    end(w)
}

fn begin() -> Writer {
    let mut w = Writer::with_capacity(FRAME_CAPACITY);
    w.put_i32(0);
    w
}

fn end(mut w: Writer) -> Encoded {
    let len = w.len() - LENGTH_BYTES;
    debug_assert!(i32::try_from(len).is_ok(), "a frame that no peer can read");
    w.set_i32(0, len as i32);
    w.finish()
}

/// The frame of a response to a request of `key` in `version`.
pub fn response(key: ApiKey, version: i16, correlation_id: i32, body: &impl Message) -> Encoded {
    frame(|w| {
        ResponseHeader { correlation_id }.encode(w, key, version);
        body.encode(w, version);
    })
}

/// [`response`] with pauses between the elements of long arrays.
pub async fn response_paced(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &impl Message,
    pace: &mut impl Pace,
) -> Encoded {
    let mut w = begin();
    ResponseHeader { correlation_id }.encode(&mut w, key, version);
    body.encode_paced(&mut w, version, pace).await;
    end(w)
}

/// The frame of a request in `version`.
pub fn request<R: Request>(version: i16, correlation_id: i32, client_id: Option<&Str>, body: &R) -> Encoded {
    frame(|w| {
        RequestHeader {
            api_key: R::API_KEY.key(),
            api_version: version,
            correlation_id,
            client_id: client_id.cloned(),
        }
        .encode(w);
        body.encode(w, version);
    })
}

#[cfg(test)]
mod tests {
    use super::super::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
    use super::super::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
    use super::super::writer::Records;
    use super::*;

    #[test]
    fn lengths_that_are_not_positive_or_above_the_cap_are_errors() {
        assert_eq!(body_len([0, 0, 0, 0], 10), Err(FrameError::NotPositive(0)));
        assert_eq!(body_len([0xff; 4], 10), Err(FrameError::NotPositive(-1)));
        assert_eq!(body_len([0x80, 0, 0, 0], usize::MAX), Err(FrameError::NotPositive(i32::MIN)));
        assert_eq!(body_len([0, 0, 0, 11], 10), Err(FrameError::TooLong { len: 11, cap: 10 }));
        assert_eq!(body_len([0, 0, 0, 10], 10), Ok(10));
    }

    #[test]
    fn an_unsupported_api_versions_request_gets_the_bytes_that_a_real_broker_sends() {
        let refusal = ApiVersionsResponse {
            error_code: 35,
            api_keys: vec![super::super::api_versions::ApiVersion {
                api_key: 18,
                min_version: 0,
                max_version: 4,
            }],
            ..Default::default()
        };
        let frame = response(ApiKey::ApiVersions, 0, 7, &refusal).into_contiguous();
        assert_eq!(&frame[..], b"\0\0\0\x10\0\0\0\x07\0\x23\0\0\0\x01\0\x12\0\0\0\x04");
    }

    #[test]
    fn a_request_is_its_length_its_header_and_its_body() {
        let body =
            ApiVersionsRequest { client_software_name: "x".into(), client_software_version: "1".into() };
        let frame = request(3, 1, Some(&"c".into()), &body).into_contiguous();
        assert_eq!(&frame[..], b"\0\0\0\x11\0\x12\0\x03\0\0\0\x01\0\x01c\0\x02x\x021\0");
    }

    #[test]
    fn records_are_woven_in_where_they_belong() {
        let partition =
            |partition_index, records| PartitionData { partition_index, records, ..Default::default() };
        let body = FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic: "t".into(),
                partitions: vec![
                    partition(0, Records::Bytes(vec!["ab".into(), "cd".into()])),
                    partition(1, Records::External { len: 5, id: 9 }),
                    partition(2, Records::Bytes(Vec::new())),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        let encoded = response(ApiKey::Fetch, 12, 1, &body);
        assert_eq!(encoded.inserts.len(), 2);
        let announced = i32::from_be_bytes(encoded.head[..4].try_into().unwrap());
        assert_eq!(announced as usize, encoded.len() - 4);
        let parts = encoded.parts();
        assert_eq!(parts[1].as_deref().unwrap(), b"ab");
        assert_eq!(parts[2].as_deref().unwrap(), b"cd");
        assert_eq!(parts[4], Err((5, 9)));
        assert_eq!(parts[0].as_ref().unwrap().last(), Some(&5), "the compact length comes just before");
    }
}
