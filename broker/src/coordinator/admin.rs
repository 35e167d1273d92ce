//! What operators ask: `DescribeGroups`, `ListGroups`, `DeleteGroups`.

use wire::kafka::delete_groups::DeletableGroupResult;
use wire::kafka::describe_groups::DescribedGroup;
use wire::kafka::list_groups::{ListGroupsRequest, ListedGroup};
use wire::kafka::{ErrorCode, Str};

use super::appends::{After, AppendResult};
use super::effects::{Now, Outputs, Reply};
use super::group::GroupState;
use super::group_coordinator::GroupCoordinator;
use super::records::Record;

/// The first version of `DescribeGroups` that says when there is no such group (KIP-1043).
const DESCRIBE_NOT_FOUND_FROM: i16 = 6;
const CLASSIC: &str = "classic";

impl<T> GroupCoordinator<T> {
    /// One group as `DescribeGroups` shows it. Authorised operations are the caller's to fill in.
    pub fn describe(&self, api_version: i16, group_id: &Str) -> DescribedGroup {
        match self.groups.get(group_id) {
            Some(group) if group.state() != GroupState::Dead => group.describe(),
            _ => {
                let absent = DescribedGroup {
                    group_id: group_id.clone(),
                    group_state: GroupState::Dead.name().into(),
                    ..DescribedGroup::default()
                };
                if api_version < DESCRIBE_NOT_FOUND_FROM {
                    return absent;
                }
                DescribedGroup {
                    error_code: ErrorCode::GroupIdNotFound.code(),
                    error_message: Some(format!("Group {group_id} not found.").into()),
                    ..absent
                }
            }
        }
    }

    /// The groups here that the request's filters let through; letter case does not matter.
    pub fn list(&self, request: &ListGroupsRequest) -> Vec<ListedGroup> {
        let allows = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        if !allows(&request.types_filter, CLASSIC) {
            return Vec::new();
        }
        let groups = self.groups.values().filter(|group| group.state() != GroupState::Dead);
        groups
            .filter(|group| allows(&request.states_filter, group.state().name()))
            .map(|group| ListedGroup {
                group_id: group.id().clone(),
                protocol_type: group.protocol_type().cloned().unwrap_or_default(),
                group_state: group.state().name().into(),
                group_type: CLASSIC.into(),
            })
            .collect()
    }

    /// `DeleteGroups`, for the groups that are kept here; answered when the deletion is durable.
    pub fn delete_groups(&mut self, names: &[Str], token: T, now: Now) -> Outputs<T> {
        self.fx.now = now;
        let mut results: Vec<DeletableGroupResult> = Vec::with_capacity(names.len());
        let mut deleted = Vec::new();
        let mut records = Vec::new();
        for name in names {
            let outcome = self.check_deletable(name);
            if outcome.is_ok() {
                self.bury(name, &mut records);
                deleted.push(name.detached());
            }
            let error_code = outcome.err().unwrap_or(ErrorCode::None).code();
            results.push(DeletableGroupResult { group_id: name.clone(), error_code });
        }
        if records.is_empty() {
            self.fx.reply(token, Reply::DeleteGroups(results));
        } else {
            self.fx.append(records, After::DeleteGroups { token, results, groups: deleted });
        }
        self.fx.take_outputs()
    }

    fn check_deletable(&self, name: &str) -> Result<(), ErrorCode> {
        self.check_appends()?;
        match self.groups.get(name).map(super::group::ClassicGroup::state) {
            Some(GroupState::Empty) => Ok(()),
            None | Some(GroupState::Dead) => Err(ErrorCode::GroupIdNotFound),
            Some(_) => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// The group is dead from now on; `records` get its tombstones.
    pub(super) fn bury(&mut self, name: &Str, records: &mut Vec<Record>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        group.enter(GroupState::Dead, self.fx.now.wall_ms);
        let id = group.id().clone();
        if let Some(offsets) = self.offsets.group(name) {
            records.extend(offsets.tombstones(&id));
        }
        records.push(Record::Group(id, None));
    }

    /// The tombstones of dead groups are durable, or could not be written: then the groups live on.
    pub(super) fn groups_deleted(&mut self, groups: &[Str], result: AppendResult) {
        for id in groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            if result.is_ok() {
                group.discard(&mut self.fx);
                self.groups.remove(id);
            } else {
                group.enter(GroupState::Empty, self.fx.now.wall_ms);
            }
        }
    }
}

/// The results of a deletion that could not be written.
pub(super) fn failed(mut results: Vec<DeletableGroupResult>, error: ErrorCode) -> Vec<DeletableGroupResult> {
    for result in results.iter_mut().filter(|result| result.error_code == ErrorCode::None.code()) {
        result.error_code = error.code();
    }
    results
}
