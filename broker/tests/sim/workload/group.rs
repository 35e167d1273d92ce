//! A consumer group without members that commits positions, reads them back, and never sees them go back.

use reactor::sim::Random;
use wire::kafka::Str;
use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use wire::kafka::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};

use super::{pause, pick_partition};
use crate::checkers::groups;
use crate::client::{Client, Lost};
use crate::history::Shared;

const VERSION: i16 = 10;

pub(crate) async fn run(shared: Shared, index: u64) {
    let group = format!("group-{index}");
    let random = shared.random(&group);
    let mut client = Client::new(shared.address, &group);
    while shared.is_busy() {
        pause(&random, 5_000).await;
        // Makes the topic of positions.
        let ask =
            FindCoordinatorRequest { coordinator_keys: vec![Str::from(group.clone())], ..Default::default() };
        if client.ask(4, &ask).await.is_ok_and(|found| found.coordinators[0].error_code == 0) {
            break;
        }
    }
    while shared.is_busy() {
        pause(&random, 8_000).await;
        let Some(at) = pick_partition(&shared, &random) else { continue };
        let done = if random.one_in(3) {
            read(&shared, &mut client, &group, at).await
        } else {
            commit(&shared, &random, &mut client, &group, at).await.map(|()| true)
        };
        if done.is_err() {
            pause(&random, 20_000).await;
        }
    }
}

async fn commit(
    shared: &Shared,
    random: &Random,
    client: &mut Client,
    group: &str,
    at: (usize, i32),
) -> Result<(), Lost> {
    let (topic_id, committed_offset) = {
        let mut history = shared.history_mut();
        let position = history.positions.entry((group.to_owned(), at.0, at.1)).or_default();
        position.sent += random.range(1..50) as i64;
        let sent = position.sent;
        (history.topics[at.0].id, sent)
    };
    let partition =
        OffsetCommitRequestPartition { partition_index: at.1, committed_offset, ..Default::default() };
    let topic = OffsetCommitRequestTopic { topic_id, partitions: vec![partition], ..Default::default() };
    let ask = OffsetCommitRequest {
        group_id: Str::from(group.to_owned()),
        topics: vec![topic],
        ..Default::default()
    };
    let answer = client.ask(VERSION, &ask).await?;
    if answer.topics[0].partitions[0].error_code == 0 {
        let mut history = shared.history_mut();
        history.counts.add("positions", 1);
        if let Some(position) = history.positions.get_mut(&(group.to_owned(), at.0, at.1)) {
            position.acked = committed_offset;
        }
    }
    Ok(())
}

/// Reads a group's position and judges it. Nothing is judged when the broker cannot tell for now, or the topic is gone.
pub(super) async fn read(
    shared: &Shared,
    client: &mut Client,
    group: &str,
    at: (usize, i32),
) -> Result<bool, Lost> {
    let topic = OffsetFetchRequestTopics {
        topic_id: shared.history().topics[at.0].id,
        partition_indexes: vec![at.1],
        ..Default::default()
    };
    let asked = OffsetFetchRequestGroup {
        group_id: Str::from(group.to_owned()),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let ask = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    let answer = client.ask(VERSION, &ask).await?;
    let found = &answer.groups[0];
    if found.error_code != 0 || found.topics.is_empty() || found.topics[0].partitions[0].error_code != 0 {
        return Ok(false);
    }
    let mut history = shared.history_mut();
    if !history.is_live(at.0) {
        return Ok(false);
    }
    let position = history.positions.get(&(group.to_owned(), at.0, at.1)).copied().unwrap_or_default();
    let verdict = groups::read(position, found.topics[0].partitions[0].committed_offset);
    let place = history.place(at.0, at.1);
    history.judge(verdict.map_err(|why| format!("{group} in {place}: {why}")));
    Ok(true)
}
