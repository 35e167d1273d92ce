//! One consumer group, as far as members that behave need it.

use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use wire::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use wire::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use wire::kafka::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use wire::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

const UNKNOWN_MEMBER: i16 = 25;
const REBALANCING: i16 = 27;
const ID_REQUIRED: i16 = 79;

/// How long a rebalance waits for members that do not join anew.
const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Default)]
pub(super) struct Group {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    generation: i32,
    next_id: u32,
    members: Vec<String>,
    /// Who has joined the generation to come, while one is being made.
    joining: Option<(Instant, Vec<String>)>,
    assignments: Option<Vec<SyncGroupRequestAssignment>>,
}

impl State {
    fn rebalance(&mut self) -> &mut Vec<String> {
        self.assignments = None;
        &mut self.joining.get_or_insert_with(|| (Instant::now(), Vec::new())).1
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Asks again and again until there is an answer.
    fn wait<T>(&self, mut answer: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            if let Some(answer) = answer(&mut self.lock()) {
                return answer;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn join(&self, request: &JoinGroupRequest) -> JoinGroupResponse {
        let id = request.member_id.to_string();
        if id.is_empty() {
            let mut state = self.lock();
            state.next_id += 1;
            let member_id = format!("member-{}", state.next_id).into();
            return JoinGroupResponse { error_code: ID_REQUIRED, member_id, ..Default::default() };
        }
        let target = {
            let mut state = self.lock();
            let joining = state.rebalance();
            if !joining.contains(&id) {
                joining.push(id.clone());
            }
            state.generation + 1
        };
        self.wait(|state| {
            if let Some((began, joining)) = &state.joining
                && state.generation + 1 == target
            {
                let all = state.members.iter().all(|member| joining.contains(member));
                if !all && began.elapsed() < PATIENCE {
                    return None;
                }
                state.members = state.joining.take().unwrap().1;
                state.generation = target;
            }
            let is_leader = state.members[0] == id;
            let member = |member: &String| JoinGroupResponseMember {
                member_id: member.clone().into(),
                ..JoinGroupResponseMember::default()
            };
            Some(JoinGroupResponse {
                generation_id: target,
                protocol_name: Some("range".into()),
                leader: state.members[0].clone().into(),
                member_id: id.clone().into(),
                members: if is_leader { state.members.iter().map(member).collect() } else { Vec::new() },
                ..JoinGroupResponse::default()
            })
        })
    }

    pub(super) fn sync(&self, request: &SyncGroupRequest) -> SyncGroupResponse {
        let refused = |error_code| SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
        self.wait(|state| {
            if state.joining.is_some() || state.generation != request.generation_id {
                return Some(refused(REBALANCING));
            }
            if !request.assignments.is_empty() {
                assert_eq!(request.assignments.len(), state.members.len(), "each member gets its part");
                state.assignments = Some(request.assignments.clone());
            }
            let own = state.assignments.as_ref()?.iter().find(|own| own.member_id == *request.member_id);
            Some(own.map_or_else(
                || refused(UNKNOWN_MEMBER),
                |own| SyncGroupResponse { assignment: own.assignment.clone(), ..Default::default() },
            ))
        })
    }

    pub(super) fn beat(&self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let state = self.lock();
        let error_code = if !state.members.iter().any(|member| request.member_id == member.as_str()) {
            UNKNOWN_MEMBER
        } else if state.joining.is_some() {
            REBALANCING
        } else {
            0
        };
        HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
    }

    pub(super) fn leave(&self, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let mut state = self.lock();
        for leaving in &request.members {
            state.members.retain(|member| leaving.member_id != member.as_str());
        }
        if !state.members.is_empty() {
            state.rebalance();
        }
        LeaveGroupResponse::default()
    }

    pub(super) fn coordinator(
        request: &FindCoordinatorRequest,
        address: std::net::SocketAddr,
    ) -> FindCoordinatorResponse {
        let coordinator = |key: &wire::kafka::Str| Coordinator {
            key: key.clone(),
            node_id: 1,
            host: address.ip().to_string().into(),
            port: i32::from(address.port()),
            ..Coordinator::default()
        };
        FindCoordinatorResponse {
            coordinators: request.coordinator_keys.iter().map(coordinator).collect(),
            ..FindCoordinatorResponse::default()
        }
    }
}
