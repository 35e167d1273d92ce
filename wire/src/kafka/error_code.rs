//! Kafka's error codes: 135 of Kafka 4.3.1 and the three that 4.4 adds.
//!
//! Clients decide from the number alone whether to retry, refresh metadata or give up, so an answer must hold the code that
//! a real broker would send.

use std::fmt;

macro_rules! error_codes {
    ($( $code:literal $name:ident $($retriable:ident)? $text:literal; )*) => {
        /// An error code of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[allow(missing_docs)]
        pub enum ErrorCode {
            $(
                #[doc = $text]
                $name = $code,
            )*
        }

        impl ErrorCode {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The code with this number, if there is one.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// A short text for people.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }

            /// Whether clients send the same request again.
            pub const fn is_retriable(self) -> bool {
                match self { $( Self::$name => error_codes!(@ $($retriable)?), )* }
            }
        }
    };
    (@) => { false };
    (@ retriable) => { true };
}

error_codes! {
    -1 UnknownServerError "unexpected error in the server";
    0 None "no error";
    1 OffsetOutOfRange "the offset is outside the log";
    2 CorruptMessage retriable "the batch fails its checksum or is malformed";
    3 UnknownTopicOrPartition retriable "no such topic or partition here";
    4 InvalidFetchSize "the fetch size is invalid";
    5 LeaderNotAvailable retriable "the partition has no leader yet";
    6 NotLeaderOrFollower retriable "this broker is not the leader or a follower of the partition";
    7 RequestTimedOut retriable "the request timed out";
    8 BrokerNotAvailable "the broker is not available";
    9 ReplicaNotAvailable retriable "the replica is not available";
    10 MessageTooLarge "the batch is larger than the topic allows";
    11 StaleControllerEpoch "the controller has moved";
    12 OffsetMetadataTooLarge "the committed metadata is too long";
    13 NetworkException retriable "the connection was lost before the answer";
    14 CoordinatorLoadInProgress retriable "the coordinator is still loading";
    15 CoordinatorNotAvailable retriable "the coordinator is not available";
    16 NotCoordinator retriable "this broker is not the coordinator";
    17 InvalidTopicException "the topic's name is invalid or reserved";
    18 RecordListTooLarge "the batch is larger than a segment";
    19 NotEnoughReplicas retriable "fewer replicas are in sync than required";
    20 NotEnoughReplicasAfterAppend retriable "written, but to fewer replicas than required";
    21 InvalidRequiredAcks "acks must be -1, 0 or 1";
    22 IllegalGeneration "the generation is not the group's";
    23 InconsistentGroupProtocol "no protocol is common to all members";
    24 InvalidGroupId "the group id is invalid";
    25 UnknownMemberId "the member is not known to the group";
    26 InvalidSessionTimeout "the session timeout is outside the allowed range";
    27 RebalanceInProgress "the group is rebalancing; join again";
    28 InvalidCommitOffsetSize "the commit is too large";
    29 TopicAuthorizationFailed "not authorised for the topic";
    30 GroupAuthorizationFailed "not authorised for the group";
    31 ClusterAuthorizationFailed "not authorised for the cluster";
    32 InvalidTimestamp "the timestamp is outside the allowed range";
    33 UnsupportedSaslMechanism "the SASL mechanism is not enabled";
    34 IllegalSaslState "not valid in this state of authentication";
    35 UnsupportedVersion "this version of the API is not supported";
    36 TopicAlreadyExists "the topic exists";
    37 InvalidPartitions "the partition count is invalid";
    38 InvalidReplicationFactor "the replication factor is invalid";
    39 InvalidReplicaAssignment "the replica assignment is invalid";
    40 InvalidConfig "the configuration is invalid";
    41 NotController retriable "this broker is not the controller";
    42 InvalidRequest "the request is malformed or contradicts itself";
    43 UnsupportedForMessageFormat "the message format does not support the request";
    44 PolicyViolation "a policy forbids the request";
    45 OutOfOrderSequenceNumber "the producer's sequence has a gap";
    46 DuplicateSequenceNumber "the producer's sequence was seen before";
    47 InvalidProducerEpoch "the producer's epoch is old";
    48 InvalidTxnState "not valid in this state of the transaction";
    49 InvalidProducerIdMapping "the producer id does not belong to the transactional id";
    50 InvalidTransactionTimeout "the transaction timeout is above the allowed maximum";
    51 ConcurrentTransactions retriable "another operation on the transaction is under way";
    52 TransactionCoordinatorFenced "a newer transaction coordinator has taken over";
    53 TransactionalIdAuthorizationFailed "not authorised for the transactional id";
    54 SecurityDisabled "security is disabled";
    55 OperationNotAttempted "not attempted, because another part of the request failed";
    56 KafkaStorageError retriable "the disk failed";
    57 LogDirNotFound "no such log directory";
    58 SaslAuthenticationFailed "authentication failed";
    59 UnknownProducerId "nothing is known of the producer id";
    60 ReassignmentInProgress "a reassignment is under way";
    61 DelegationTokenAuthDisabled "delegation tokens are disabled";
    62 DelegationTokenNotFound "no such delegation token";
    63 DelegationTokenOwnerMismatch "the token belongs to someone else";
    64 DelegationTokenRequestNotAllowed "delegation tokens are not given over this connection";
    65 DelegationTokenAuthorizationFailed "not authorised for the delegation token";
    66 DelegationTokenExpired "the delegation token has expired";
    67 InvalidPrincipalType "the principal's type is not supported";
    68 NonEmptyGroup "the group has members";
    69 GroupIdNotFound "no such group";
    70 FetchSessionIdNotFound retriable "no such fetch session";
    71 InvalidFetchSessionEpoch retriable "the fetch session's epoch does not match";
    72 ListenerNotFound retriable "the leader does not have this listener";
    73 TopicDeletionDisabled "deleting topics is disabled";
    74 FencedLeaderEpoch retriable "the leader epoch of the request is old";
    75 UnknownLeaderEpoch retriable "the leader epoch of the request is newer than this broker's";
    76 UnsupportedCompressionType "the client does not support the compression of the topic";
    77 StaleBrokerEpoch "the broker's epoch has changed";
    78 OffsetNotAvailable retriable "the new leader does not know its high watermark yet";
    79 MemberIdRequired "join again with the member id given";
    80 PreferredLeaderNotAvailable retriable "the preferred leader is not available";
    81 GroupMaxSizeReached "the group is full";
    82 FencedInstanceId "another member took over the instance id";
    83 EligibleLeadersNotAvailable retriable "no eligible leader is available";
    84 ElectionNotNeeded retriable "the partition needs no election";
    85 NoReassignmentInProgress "no reassignment is under way";
    86 GroupSubscribedToTopic "the group is subscribed to the topic";
    87 InvalidRecord "a record was refused";
    88 UnstableOffsetCommit retriable "an open transaction holds offsets of the partition";
    89 ThrottlingQuotaExceeded retriable "the quota is used up";
    90 ProducerFenced "a newer producer has the same transactional id";
    91 ResourceNotFound "no such resource";
    92 DuplicateResource "the resource is named twice";
    93 UnacceptableCredential "the credential is not acceptable";
    94 InconsistentVoterSet "the sender or receiver is not a voter";
    95 InvalidUpdateVersion "the update's version is invalid";
    96 FeatureUpdateFailed "the feature update failed";
    97 PrincipalDeserializationFailure "the forwarded principal cannot be read";
    98 SnapshotNotFound "no such snapshot";
    99 PositionOutOfRange "the position is outside the snapshot";
    100 UnknownTopicId retriable "no topic has this id";
    101 DuplicateBrokerRegistration "another broker has this id";
    102 BrokerIdNotRegistered "the broker id is not registered";
    103 InconsistentTopicId retriable "the topic id differs from the log's";
    104 InconsistentClusterId "the cluster id differs from this cluster's";
    105 TransactionalIdNotFound "no such transactional id";
    106 FetchSessionTopicIdError retriable "the fetch session mixes topic ids";
    107 IneligibleReplica "a replica is not eligible to be in sync";
    108 NewLeaderElected "done, but there is a new leader";
    109 OffsetMovedToTieredStorage "the offset is in tiered storage";
    110 FencedMemberEpoch "the member's epoch is old; give up all partitions and join again";
    111 UnreleasedInstanceId "another member holds the instance id";
    112 UnsupportedAssignor "the assignor is not supported";
    113 StaleMemberEpoch "the member's epoch is behind; take the new one from a heartbeat";
    114 MismatchedEndpointType "sent to the wrong kind of endpoint";
    115 UnsupportedEndpointType "this kind of endpoint is not supported";
    116 UnknownControllerId "no controller has this id";
    117 UnknownSubscriptionId "the telemetry subscription is unknown or old";
    118 TelemetryTooLarge "the telemetry is too large";
    119 InvalidRegistration "the controller refuses the registration";
    120 TransactionAbortable "the transaction failed; abort it to go on";
    121 InvalidRecordState "the record is not in a state to be acknowledged";
    122 ShareSessionNotFound retriable "no such share session";
    123 InvalidShareSessionEpoch retriable "the share session's epoch does not match";
    124 FencedStateEpoch "the share group's state epoch is old";
    125 InvalidVoterKey "the voter's key does not match";
    126 DuplicateVoter "already a voter";
    127 VoterNotFound "not a voter";
    128 InvalidRegularExpression "the regular expression is not valid";
    129 RebootstrapRequired "the client's metadata is too old; bootstrap again";
    130 StreamsInvalidTopology "the topology is not valid";
    131 StreamsInvalidTopologyEpoch "the topology epoch is not valid";
    132 StreamsTopologyFenced "the topology epoch is old";
    133 ShareSessionLimitReached retriable "too many share sessions";
    134 GroupDeletionFailed "the group could not be deleted";
    135 StreamsTopologyDescriptionUpdateFailed "the topology's description could not be updated";
    136 ControllerIdNotRegistered "the controller id is not registered";
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is an error at all.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::None)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_138_codes_without_a_gap() {
        assert_eq!(ErrorCode::ALL.len(), 138);
        for (code, expected) in (-1..=136).zip(ErrorCode::ALL) {
            assert_eq!(ErrorCode::from_code(code), Some(*expected));
            assert_eq!(expected.code(), code);
        }
        assert_eq!(ErrorCode::from_code(-2), None);
        assert_eq!(ErrorCode::from_code(137), None);
    }

    #[test]
    fn what_clients_retry_is_marked() {
        assert_eq!(ErrorCode::ALL.iter().filter(|code| code.is_retriable()).count(), 32);
        assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
        assert!(!ErrorCode::OffsetOutOfRange.is_retriable());
        assert!(!ErrorCode::None.is_error());
    }
}
