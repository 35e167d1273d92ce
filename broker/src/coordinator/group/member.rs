//! A member of a classic group: what it speaks, what it was assigned, and its request that waits for an answer.

use bytes::Bytes;
use wire::kafka::consumer_offsets::MemberMetadata;
use wire::kafka::describe_groups::DescribedGroupMember;
use wire::kafka::join_group::JoinGroupRequestProtocol;
use wire::kafka::{ErrorCode, Str};

/// Why a member's request is refused. Few of the codes apply.
pub(crate) type Refusal = ErrorCode;

/// A protocol and what the member says in it. For consumers: an assignor and a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: Str,
    pub(crate) metadata: Bytes,
}

/// A `JoinGroup` that waits for the rebalance to end.
#[derive(Debug)]
pub(crate) struct ParkedJoin<T> {
    pub(crate) token: T,
    pub(crate) api_version: i16,
}

/// What a member says of itself when it joins; an update replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In the order of preference.
    pub(crate) protocols: Vec<Protocol>,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member<T> {
    pub(crate) id: Str,
    /// Set for a static member (KIP-345).
    pub(crate) instance_id: Option<Str>,
    pub(crate) client_id: Str,
    pub(crate) client_host: Str,
    pub(crate) terms: Terms,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<ParkedJoin<T>>,
    pub(crate) awaiting_sync: Option<T>,
    /// It has joined and knows its id only once it is answered, so it cannot send heartbeats yet.
    pub(crate) is_new: bool,
}

impl<T> Member<T> {
    /// A member as the log knows it.
    pub(crate) fn from_metadata(member: &MemberMetadata, protocol: Option<&Str>) -> Self {
        let rebalance_timeout_ms =
            if member.rebalance_timeout == -1 { member.session_timeout } else { member.rebalance_timeout };
        let protocols =
            protocol.map(|name| Protocol { name: name.clone(), metadata: member.subscription.clone() });
        Self {
            id: member.member_id.clone(),
            instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            terms: Terms {
                rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout,
                protocols: protocols.into_iter().collect(),
            },
            assignment: member.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// What the member says in `protocol`; empty when it does not speak it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let spoken = self.terms.protocols.iter().find(|spoken| spoken.name == *protocol);
        spoken.map_or_else(Bytes::new, |spoken| spoken.metadata.clone())
    }

    /// Whether the end of its session does not matter now: it waits for us, not we for it.
    pub(crate) fn satisfies_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Bytes that the member keeps in memory, handles not counted.
    pub(crate) fn bytes(&self) -> usize {
        let instance_len = self.instance_id.as_ref().map_or(0, |id| id.len());
        self.id.len()
            + instance_len
            + self.client_id.len()
            + self.client_host.len()
            + self.terms.bytes()
            + self.assignment.len()
    }

    /// The member as `DescribeGroups` shows it, without its metadata.
    pub(crate) fn describe(&self) -> DescribedGroupMember {
        DescribedGroupMember {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            member_metadata: Bytes::new(),
            member_assignment: self.assignment.clone(),
        }
    }
}

impl Terms {
    /// Bytes of names and metadata.
    pub(crate) fn bytes(&self) -> usize {
        self.protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
    }
}

/// The protocols of a request in memory of their own; of a name that comes twice only the first counts.
pub(crate) fn protocols_of(request: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
    let mut protocols: Vec<Protocol> = Vec::with_capacity(request.len());
    for protocol in request {
        if !protocols.iter().any(|known| known.name == protocol.name) {
            let metadata = Bytes::copy_from_slice(&protocol.metadata);
            protocols.push(Protocol { name: protocol.name.detached(), metadata });
        }
    }
    protocols
}
