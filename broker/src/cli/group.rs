//! `corelane consume --group`: a member of a classic consumer group.
//!
//! Offsets are committed after what lies before them is printed: when this process dies in between, the next member
//! prints it again, so nothing is missed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::heartbeat::HeartbeatRequest;
use wire::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use wire::kafka::leave_group::{LeaveGroupRequest, MemberIdentity};
use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::kafka::{ErrorCode, Str};

use super::assignment;
use super::cluster::Cluster;
use super::connection::Connection;
use super::consume::{Fetcher, From, LATEST, Printer, offsets};
use super::error::CliError;

const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 30_000;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
const COORDINATOR_WAIT: Duration = Duration::from_secs(30);
const COORDINATOR_PAUSE: Duration = Duration::from_millis(200);
/// A member that finds no place in its group after so many tries gives up.
const JOINS_MAX: usize = 20;
const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
/// The last version of `OffsetCommit` and `OffsetFetch` that names topics.
const VERSION_WITH_NAMES: i16 = 9;

/// Consumes as a member of a group until there were enough records, or the end if `exit`.
pub(super) fn run(
    mut cluster: Cluster,
    group: &str,
    from: From,
    printer: Printer,
    exit: bool,
) -> Result<(), CliError> {
    let name = printer.topic().to_owned();
    let topic = cluster.topic(&name, super::cluster::Missing::Refuse)?;
    let coordinator = find_coordinator(&mut cluster, group)?;
    let mut member =
        Member { group: Str::from(group), topic: name, coordinator, id: Str::default(), generation: -1 };
    let mut fetcher = Fetcher { cluster, topic, positions: BTreeMap::new(), printer };
    let outcome = member.consume(&mut fetcher, from, exit);
    // A member that does not say goodbye holds its partitions until its session ends.
    let left = member.leave();
    outcome.and(left)
}

fn find_coordinator(cluster: &mut Cluster, group: &str) -> Result<Connection, CliError> {
    let deadline = Instant::now() + COORDINATOR_WAIT;
    loop {
        let version = cluster.bootstrap().version::<FindCoordinatorRequest>(i16::MAX)?;
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec![Str::from(group)];
        } else {
            request.key = Str::from(group);
        }
        let response = cluster.bootstrap().call(&request)?;
        let (code, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, found.host.clone(), found.port),
            None => (response.error_code, response.host.clone(), response.port),
        };
        if code == 0 {
            return Connection::open(&format!("{}:{port}", &*host));
        }
        let retriable = ErrorCode::from_code(code).is_some_and(ErrorCode::is_retriable);
        if !retriable || Instant::now() >= deadline {
            CliError::check(|| format!("the coordinator of group {group}"), code, None)?;
        }
        std::thread::sleep(COORDINATOR_PAUSE);
    }
}

/// Whether the member keeps its place in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Kept,
    /// The group divides its work anew.
    Rebalance,
}

struct Member {
    group: Str,
    topic: String,
    coordinator: Connection,
    id: Str,
    generation: i32,
}

impl Member {
    fn consume(&mut self, fetcher: &mut Fetcher, from: From, exit: bool) -> Result<(), CliError> {
        loop {
            let assigned = self.join(fetcher)?;
            fetcher.positions = self.positions(fetcher, &assigned, from)?;
            let ends = if exit { Some(offsets(&mut fetcher.cluster, &fetcher.topic, LATEST)?) } else { None };
            let mut committed = fetcher.positions.clone();
            let mut beat = Instant::now();
            loop {
                if fetcher.positions.is_empty() {
                    std::thread::sleep(COORDINATOR_PAUSE);
                } else {
                    fetcher.round()?;
                }
                if committed != fetcher.positions {
                    self.commit(&fetcher.positions)?;
                    committed.clone_from(&fetcher.positions);
                }
                if fetcher.printer.is_done() || ends.as_ref().is_some_and(|ends| fetcher.reached(ends)) {
                    return Ok(());
                }
                if beat.elapsed() >= HEARTBEAT_EVERY {
                    beat = Instant::now();
                    if self.heartbeat()? == Place::Rebalance {
                        break;
                    }
                }
            }
        }
    }

    /// Takes a place in the group; the partitions that come with it.
    fn join(&mut self, fetcher: &Fetcher) -> Result<Vec<i32>, CliError> {
        for _ in 0..JOINS_MAX {
            let response = self.coordinator.call(&self.join_request())?;
            match ErrorCode::from_code(response.error_code) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::MemberIdRequired) => {
                    self.id = response.member_id.detached();
                    continue;
                }
                Some(ErrorCode::UnknownMemberId) => {
                    self.id = Str::default();
                    continue;
                }
                Some(code) if code.is_retriable() || code == ErrorCode::RebalanceInProgress => {
                    std::thread::sleep(COORDINATOR_PAUSE);
                    continue;
                }
                _ => {
                    let what = || format!("joining group {}", &*self.group);
                    CliError::check(what, response.error_code, None)?;
                }
            }
            self.id = response.member_id.detached();
            self.generation = response.generation_id;
            if let Some(assigned) = self.sync(&response, fetcher)? {
                return Ok(assigned);
            }
        }
        Err(CliError::Protocol(format!("group {} finds no rest", &*self.group)))
    }

    fn join_request(&self) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol {
            name: Str::from(ASSIGNOR),
            metadata: assignment::subscription(&self.topic),
        };
        JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: self.id.clone(),
            protocol_type: Str::from(PROTOCOL_TYPE),
            protocols: vec![protocol],
            ..Default::default()
        }
    }

    /// Gives or gets the assignment; `None` when the group is already dividing its work anew.
    fn sync(&mut self, joined: &JoinGroupResponse, fetcher: &Fetcher) -> Result<Option<Vec<i32>>, CliError> {
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id {
            let mut members = Vec::new();
            for member in &joined.members {
                if assignment::topics(member.metadata.clone())?.contains(&self.topic) {
                    members.push(member.member_id.to_string());
                }
            }
            for (member, partitions) in assignment::range(fetcher.topic.partitions.len() as i32, members) {
                assignments.push(SyncGroupRequestAssignment {
                    member_id: Str::from(member),
                    assignment: assignment::assignment(&self.topic, &partitions),
                });
            }
        }
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            protocol_type: Some(Str::from(PROTOCOL_TYPE)),
            protocol_name: Some(Str::from(ASSIGNOR)),
            assignments,
            ..Default::default()
        };
        let response = self.coordinator.call(&request)?;
        match self.place(response.error_code)? {
            Place::Kept => Ok(Some(assignment::partitions(response.assignment, &self.topic)?)),
            Place::Rebalance => Ok(None),
        }
    }

    /// Where the group is; where it has not been yet, where the command line says.
    fn positions(
        &mut self,
        fetcher: &mut Fetcher,
        assigned: &[i32],
        from: From,
    ) -> Result<BTreeMap<i32, i64>, CliError> {
        let mut positions = from.positions(&mut fetcher.cluster, &fetcher.topic, assigned)?;
        let name = Str::from(self.topic.as_str());
        let mut request = OffsetFetchRequest::default();
        if self.coordinator.version::<OffsetFetchRequest>(VERSION_WITH_NAMES)? >= 8 {
            let topic =
                OffsetFetchRequestTopics { name, partition_indexes: assigned.to_vec(), ..Default::default() };
            let group = OffsetFetchRequestGroup {
                group_id: self.group.clone(),
                topics: Some(vec![topic]),
                ..Default::default()
            };
            request.groups = vec![group];
        } else {
            request.group_id = self.group.clone();
            request.topics =
                Some(vec![OffsetFetchRequestTopic { name, partition_indexes: assigned.to_vec() }]);
        }
        let response = self.coordinator.call_at_most(&request, VERSION_WITH_NAMES)?;
        let what = || format!("the offsets of group {}", &*self.group);
        let new = response.groups.iter().flat_map(|group| &group.topics);
        let new = new
            .flat_map(|topic| &topic.partitions)
            .map(|p| (p.partition_index, p.committed_offset, p.error_code));
        let old = response.topics.iter().flat_map(|topic| &topic.partitions);
        let old = old.map(|p| (p.partition_index, p.committed_offset, p.error_code));
        let top = response.groups.first().map_or(response.error_code, |group| group.error_code);
        CliError::check(what, top, None)?;
        for (partition, offset, code) in new.chain(old) {
            CliError::check(what, code, None)?;
            if offset >= 0 {
                positions.insert(partition, offset);
            }
        }
        Ok(positions)
    }

    fn commit(&mut self, positions: &BTreeMap<i32, i64>) -> Result<(), CliError> {
        let partition = |(partition, offset): (&i32, &i64)| OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            committed_metadata: Some(Str::default()),
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: Str::from(self.topic.as_str()),
            partitions: positions.iter().map(partition).collect(),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let response = self.coordinator.call_at_most(&request, VERSION_WITH_NAMES)?;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            // During a rebalance the next owner prints these records again; the heartbeat tells us to join.
            self.place(partition.error_code)?;
        }
        Ok(())
    }

    fn heartbeat(&mut self) -> Result<Place, CliError> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..Default::default()
        };
        let response = self.coordinator.call(&request)?;
        self.place(response.error_code)
    }

    fn place(&mut self, code: i16) -> Result<Place, CliError> {
        match ErrorCode::from_code(code) {
            Some(ErrorCode::None) => Ok(Place::Kept),
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => Ok(Place::Rebalance),
            Some(ErrorCode::UnknownMemberId) => {
                self.id = Str::default();
                Ok(Place::Rebalance)
            }
            _ => {
                CliError::check(|| format!("group {}", &*self.group), code, None)?;
                Ok(Place::Kept)
            }
        }
    }

    fn leave(&mut self) -> Result<(), CliError> {
        if self.id.is_empty() {
            return Ok(());
        }
        let mut request = LeaveGroupRequest { group_id: self.group.clone(), ..Default::default() };
        if self.coordinator.version::<LeaveGroupRequest>(i16::MAX)? >= 3 {
            request.members = vec![MemberIdentity { member_id: self.id.clone(), ..Default::default() }];
        } else {
            request.member_id = self.id.clone();
        }
        self.coordinator.call(&request).map(|_| ())
    }
}
