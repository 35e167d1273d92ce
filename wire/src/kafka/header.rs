//! Request and response headers.
//!
//! The request header's version follows from the API key and version in its own first four bytes. Its client id keeps the
//! old string form even where the header has tagged fields, so that a broker can read it for any version of a key it knows.

use super::api_key::ApiKey;
use super::message::{Field, Form, Nullable};
use super::reader::{DecodeError, Reader};
use super::types::Str;
use super::writer::Writer;

/// What precedes every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API key, as sent.
    pub api_key: i16,
    /// The API's version, as sent: possibly one that nobody speaks.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The client's name for itself; not an identity.
    pub client_id: Option<Str>,
}

/// Strings of headers never have the compact form.
const HEADER_FORM: Form = Form { version: 0, flexible: false };

impl RequestHeader {
    /// Reads a header; the reader is left at the body.
    ///
    /// A key that is unknown is an error, because nothing tells where its body begins: Kafka closes the connection.
    /// An unknown version of a known key is not: the broker answers `UNSUPPORTED_VERSION`.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let api_key = r.i16()?;
        let api_version = r.i16()?;
        let correlation_id = r.i32()?;
        let key = ApiKey::try_from(api_key).map_err(|_| DecodeError::Header)?;
        let client_id = Str::read_nullable(r, HEADER_FORM)?;
        if key.request_header_version(api_version) >= 2 {
            r.skip_tags()?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Writes the header in the version that its key and version ask for (version 1 for an unknown key).
    pub fn encode(&self, w: &mut Writer) {
        w.put_i16(self.api_key);
        w.put_i16(self.api_version);
        w.put_i32(self.correlation_id);
        self.client_id.write(w, HEADER_FORM);
        if ApiKey::try_from(self.api_key).is_ok_and(|key| key.is_flexible(self.api_version)) {
            w.put_uvarint(0);
        }
    }
}

/// What precedes every response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeader {
    /// That of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of a response to `key` in `version`; the reader is left at the body.
    pub fn decode(r: &mut Reader, key: ApiKey, version: i16) -> Result<Self, DecodeError> {
        let correlation_id = r.i32()?;
        if key.response_header_version(version) >= 1 {
            r.skip_tags()?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes the header of a response to `key` in `version`.
    pub fn encode(self, w: &mut Writer, key: ApiKey, version: i16) {
        w.put_i32(self.correlation_id);
        if key.response_header_version(version) >= 1 {
            w.put_uvarint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn decode(bytes: &'static [u8]) -> Result<(RequestHeader, usize), DecodeError> {
        let mut r = Reader::new(Bytes::from_static(bytes));
        RequestHeader::decode(&mut r).map(|header| (header, r.left()))
    }

    #[test]
    fn a_flexible_header_keeps_the_old_client_id_and_ends_after_its_tags() {
        let (header, left) = decode(b"\0\x12\0\x03\0\0\0\x07\0\x02ab\x01\x05\x01zBODY").unwrap();
        assert_eq!(header.client_id.as_deref(), Some("ab"));
        assert_eq!((header.api_key, header.api_version, header.correlation_id), (18, 3, 7));
        assert_eq!(left, 4);
    }

    #[test]
    fn an_inflexible_header_has_no_tags_and_may_have_a_null_client_id() {
        let (header, left) = decode(b"\0\x12\0\x02\0\0\0\x07\xff\xff\x01").unwrap();
        assert_eq!(header.client_id, None);
        assert_eq!(left, 1);
    }

    #[test]
    fn a_version_that_nobody_speaks_is_still_read() {
        let (header, left) = decode(b"\0\x12\x7f\xff\0\0\0\x07\xff\xff\0").unwrap();
        assert_eq!((header.api_version, left), (i16::MAX, 0));
    }

    #[test]
    fn unknown_keys_short_headers_and_bad_lengths_are_errors() {
        assert_eq!(decode(b"\x03\xe7\0\0\0\0\0\x07\xff\xff"), Err(DecodeError::Header));
        assert_eq!(decode(b"\0\x12\0"), Err(DecodeError::Truncated));
        assert_eq!(decode(b""), Err(DecodeError::Truncated));
        assert_eq!(decode(b"\0\x12\0\x03\0\0\0\x07\xff\xfe\0"), Err(DecodeError::Length));
        assert_eq!(decode(b"\0\x12\0\x03\0\0\0\x07\0\x09ab"), Err(DecodeError::Truncated));
    }

    #[test]
    fn headers_survive_a_round_trip() {
        for (api_key, api_version) in [(0, 8), (0, 9), (18, 0), (18, 4)] {
            let header =
                RequestHeader { api_key, api_version, correlation_id: -5, client_id: Some("me".into()) };
            let mut w = Writer::new();
            header.encode(&mut w);
            let mut r = Reader::new(w.finish().head);
            assert_eq!(RequestHeader::decode(&mut r), Ok(header));
            assert_eq!(r.left(), 0);
        }
    }
}
