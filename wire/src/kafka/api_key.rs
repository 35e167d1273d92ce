//! The API keys of Kafka 4.3.1, and from which version each is flexible (KIP-482).
//!
//! Keys 4 to 7 were removed in Kafka 4.0. That a key is named here says nothing about its being served.

use std::fmt;

macro_rules! api_keys {
    ($( $name:ident = $key:literal $(, flexible $from:literal +)?; )*) => {
        /// A request's API key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[allow(missing_docs)]
        pub enum ApiKey { $( $name = $key, )* }

        impl ApiKey {
            /// Every key, ascending.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The name in Kafka's schemas.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )* }
            }

            /// The first flexible version, if there is one.
            pub const fn flexible_from(self) -> Option<i16> {
                match self { $( Self::$name => api_keys!(@ $($from)?), )* }
            }
        }

        impl TryFrom<i16> for ApiKey {
            type Error = UnknownApiKey;

            fn try_from(key: i16) -> Result<Self, UnknownApiKey> {
                match key {
                    $( $key => Ok(Self::$name), )*
                    _ => Err(UnknownApiKey(key)),
                }
            }
        }
    };
    (@) => { None };
    (@ $from:literal) => { Some($from) };
}

api_keys! {
    Produce = 0, flexible 9+;
    Fetch = 1, flexible 12+;
    ListOffsets = 2, flexible 6+;
    Metadata = 3, flexible 9+;
    OffsetCommit = 8, flexible 8+;
    OffsetFetch = 9, flexible 6+;
    FindCoordinator = 10, flexible 3+;
    JoinGroup = 11, flexible 6+;
    Heartbeat = 12, flexible 4+;
    LeaveGroup = 13, flexible 4+;
    SyncGroup = 14, flexible 4+;
    DescribeGroups = 15, flexible 5+;
    ListGroups = 16, flexible 3+;
    SaslHandshake = 17;
    ApiVersions = 18, flexible 3+;
    CreateTopics = 19, flexible 5+;
    DeleteTopics = 20, flexible 4+;
    DeleteRecords = 21, flexible 2+;
    InitProducerId = 22, flexible 2+;
    OffsetForLeaderEpoch = 23, flexible 4+;
    AddPartitionsToTxn = 24, flexible 3+;
    AddOffsetsToTxn = 25, flexible 3+;
    EndTxn = 26, flexible 3+;
    WriteTxnMarkers = 27, flexible 0+;
    TxnOffsetCommit = 28, flexible 3+;
    DescribeAcls = 29, flexible 2+;
    CreateAcls = 30, flexible 2+;
    DeleteAcls = 31, flexible 2+;
    DescribeConfigs = 32, flexible 4+;
    AlterConfigs = 33, flexible 2+;
    AlterReplicaLogDirs = 34, flexible 2+;
    DescribeLogDirs = 35, flexible 2+;
    SaslAuthenticate = 36, flexible 2+;
    CreatePartitions = 37, flexible 2+;
    CreateDelegationToken = 38, flexible 2+;
    RenewDelegationToken = 39, flexible 2+;
    ExpireDelegationToken = 40, flexible 2+;
    DescribeDelegationToken = 41, flexible 2+;
    DeleteGroups = 42, flexible 2+;
    ElectLeaders = 43, flexible 2+;
    IncrementalAlterConfigs = 44, flexible 1+;
    AlterPartitionReassignments = 45, flexible 0+;
    ListPartitionReassignments = 46, flexible 0+;
    OffsetDelete = 47;
    DescribeClientQuotas = 48, flexible 1+;
    AlterClientQuotas = 49, flexible 1+;
    DescribeUserScramCredentials = 50, flexible 0+;
    AlterUserScramCredentials = 51, flexible 0+;
    Vote = 52, flexible 0+;
    BeginQuorumEpoch = 53, flexible 1+;
    EndQuorumEpoch = 54, flexible 1+;
    DescribeQuorum = 55, flexible 0+;
    AlterPartition = 56, flexible 0+;
    UpdateFeatures = 57, flexible 0+;
    Envelope = 58, flexible 0+;
    FetchSnapshot = 59, flexible 0+;
    DescribeCluster = 60, flexible 0+;
    DescribeProducers = 61, flexible 0+;
    BrokerRegistration = 62, flexible 0+;
    BrokerHeartbeat = 63, flexible 0+;
    UnregisterBroker = 64, flexible 0+;
    DescribeTransactions = 65, flexible 0+;
    ListTransactions = 66, flexible 0+;
    AllocateProducerIds = 67, flexible 0+;
    ConsumerGroupHeartbeat = 68, flexible 0+;
    ConsumerGroupDescribe = 69, flexible 0+;
    ControllerRegistration = 70, flexible 0+;
    GetTelemetrySubscriptions = 71, flexible 0+;
    PushTelemetry = 72, flexible 0+;
    AssignReplicasToDirs = 73, flexible 0+;
    ListConfigResources = 74, flexible 0+;
    DescribeTopicPartitions = 75, flexible 0+;
    ShareGroupHeartbeat = 76, flexible 0+;
    ShareGroupDescribe = 77, flexible 0+;
    ShareFetch = 78, flexible 0+;
    ShareAcknowledge = 79, flexible 0+;
    AddRaftVoter = 80, flexible 0+;
    RemoveRaftVoter = 81, flexible 0+;
    UpdateRaftVoter = 82, flexible 0+;
    InitializeShareGroupState = 83, flexible 0+;
    ReadShareGroupState = 84, flexible 0+;
    WriteShareGroupState = 85, flexible 0+;
    DeleteShareGroupState = 86, flexible 0+;
    ReadShareGroupStateSummary = 87, flexible 0+;
    StreamsGroupHeartbeat = 88, flexible 0+;
    StreamsGroupDescribe = 89, flexible 0+;
    DescribeShareGroupOffsets = 90, flexible 0+;
    AlterShareGroupOffsets = 91, flexible 0+;
    DeleteShareGroupOffsets = 92, flexible 0+;
}

/// A key that Kafka 4.3.1 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownApiKey(pub i16);

impl fmt::Display for UnknownApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown API key {}", self.0)
    }
}

impl std::error::Error for UnknownApiKey {}

impl ApiKey {
    /// The number.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// Whether `version` is flexible.
    pub fn is_flexible(self, version: i16) -> bool {
        self.flexible_from().is_some_and(|from| version >= from)
    }

    /// Version of the request header: 2 with tagged fields, else 1.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the response header: 1 with tagged fields, else 0. `ApiVersions` always answers with 0, because the client
    /// does not know yet what the broker speaks (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != Self::ApiVersions && self.is_flexible(version))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_number() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::try_from(key.key()), Ok(*key));
        }
        assert_eq!(ApiKey::ALL.len(), 89);
    }

    #[test]
    fn removed_and_future_keys_are_unknown() {
        for key in [-1, 4, 5, 6, 7, 93, i16::MAX, i16::MIN] {
            assert_eq!(ApiKey::try_from(key), Err(UnknownApiKey(key)));
        }
    }

    #[test]
    fn api_versions_answers_with_the_oldest_header() {
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
        assert_eq!(ApiKey::Metadata.response_header_version(8), 0);
        assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    }
}
