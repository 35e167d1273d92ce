//! The topics a consumer subscribes to, read from the metadata it joins with.
//!
//! Only the part that every version of the consumer protocol begins with: an int16 version, then the topics' names.

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::kafka::{DecodeError, Reader, Str};

use crate::coordinator::limits;

/// The protocol type of consumers; the metadata of other types is not looked at.
pub(crate) const CONSUMER: &str = "consumer";

/// The topics in one member's metadata.
pub(crate) fn topics(metadata: Bytes) -> Result<BTreeSet<Str>, DecodeError> {
    let mut reader = Reader::new(metadata);
    reader.i16()?;
    let count = reader.i32()?;
    let mut topics = BTreeSet::new();
    for _ in 0..usize::try_from(count).unwrap_or(0).min(limits::SUBSCRIBED_TOPICS_MAX) {
        let len = usize::try_from(reader.i16()?).map_err(|_| DecodeError::Null)?;
        topics.insert(Str::try_from(reader.slice(len)?)?.detached());
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_whatever_follows_them() {
        let metadata = Bytes::from_static(b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\0\0\0\x00trailing");
        assert_eq!(topics(metadata).unwrap(), ["a".into(), "bc".into()].into());
    }

    #[test]
    fn metadata_of_another_kind_is_an_error() {
        assert!(topics(Bytes::from_static(b"")).is_err());
        assert!(topics(Bytes::from_static(b"\0\0\0\0\0\x09\0\x01a")).is_err());
    }
}
