//! What the records of `__consumer_offsets` hold: the positions and members of classic groups.
//!
//! A record's key begins with an int16 that tells the kind (0 and 1: a position, 2: a group; Kafka 4 adds kinds for the
//! newer group protocols); its value begins with an int16 version. A null value deletes what the key names.

use bytes::Bytes;

use super::message::Message;
use super::reader::{DecodeError, Reader};
use super::types::{Str, Uuid};
use super::writer::Writer;

messages! {
    flexible never;

    /// Names the position of a group in a partition.
    struct OffsetCommitKey {
        group: Str [0+],
        topic: Str [0+],
        partition: i32 [0+],
    }

    /// Names a group.
    struct GroupMetadataKey {
        group: Str [0+],
    }
}

messages! {
    flexible 4+;

    /// A position.
    struct OffsetCommitValue {
        offset: i64 [0+],
        leader_epoch: i32 [3+ ignorable] = -1,
        metadata: Str [0+],
        commit_timestamp: i64 [0+],
        /// -1: the broker's retention of offsets.
        expire_timestamp: i64 [1-1 ignorable] = -1,
        topic_id: Uuid [4+ tag 0 ignorable],
    }

    /// A generation of a classic group.
    struct GroupMetadataValue {
        protocol_type: Str [0+],
        generation: i32 [0+],
        protocol: Option<Str> [0+],
        leader: Option<Str> [0+],
        /// When the group entered its state, in ms; -1 when unknown.
        current_state_timestamp: i64 [2+ ignorable] = -1,
        members: Vec<MemberMetadata> [0+],
    }

    /// A member in that generation.
    struct MemberMetadata {
        member_id: Str [0+],
        group_instance_id: Option<Str> [3+ ignorable],
        client_id: Str [0+],
        client_host: Str [0+],
        rebalance_timeout: i32 [1+ ignorable] = -1,
        session_timeout: i32 [0+],
        subscription: Bytes [0+],
        assignment: Bytes [0+],
    }
}

/// The newest version of both values in Kafka 4.3.1.
pub const VALUE_VERSION_MAX: i16 = 4;

const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// A record's key.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// The value is an [`OffsetCommitValue`].
    OffsetCommit(OffsetCommitKey),
    /// The value is a [`GroupMetadataValue`].
    GroupMetadata(GroupMetadataKey),
    /// A kind that is not a classic group's; keep the record as it is.
    Other(i16),
}

impl Key {
    /// Reads a record's key.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        match r.i16()? {
            0 | OFFSET_COMMIT => OffsetCommitKey::decode(&mut r, 0).map(Self::OffsetCommit),
            GROUP_METADATA => GroupMetadataKey::decode(&mut r, 0).map(Self::GroupMetadata),
            kind => Ok(Self::Other(kind)),
        }
    }

    /// A record's key.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        match self {
            Self::OffsetCommit(key) => {
                w.put_i16(OFFSET_COMMIT);
                key.encode(&mut w, 0);
            }
            Self::GroupMetadata(key) => {
                w.put_i16(GROUP_METADATA);
                key.encode(&mut w, 0);
            }
            Self::Other(kind) => w.put_i16(*kind),
        }
        w.finish().into_contiguous()
    }
}

/// Reads a record's value, which begins with its version.
pub fn decode_value<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut r = Reader::new(bytes);
    match r.i16()? {
        version @ 0..=VALUE_VERSION_MAX => M::decode(&mut r, version),
        version => Err(DecodeError::Version(version)),
    }
}

/// A record's value in `version`, with the version before it.
pub fn encode_value(value: &impl Message, version: i16) -> Bytes {
    debug_assert!((0..=VALUE_VERSION_MAX).contains(&version));
    let mut w = Writer::new();
    w.put_i16(version);
    value.encode(&mut w, version);
    w.finish().into_contiguous()
}
