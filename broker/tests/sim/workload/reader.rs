//! Reads everything there is when nobody writes any more, and judges it.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::kafka::Uuid;
use wire::kafka::fetch::{FetchPartition, FetchRequest, FetchTopic};
use wire::kafka::metadata::MetadataRequest;

use super::consumer::{EARLIEST, FETCH_VERSION, LATEST, list_offset, take_records};
use super::group;
use crate::checkers::bytes::Stamp;
use crate::checkers::{Content, acknowledged, duplicates, starts, topics, visible};
use crate::client::{Client, Lost};
use crate::history::Shared;

/// Tries of one request before a broker that runs undisturbed is called broken.
const TRIES: u32 = 200;

/// The content of every partition of every topic that is there, by topic and partition.
pub(crate) type Contents = BTreeMap<(usize, i32), Content>;

/// Reads and judges everything.
pub(crate) async fn read_all(shared: &Shared) -> Contents {
    let mut client = Client::new(shared.address, "reader");
    let mut contents = Contents::new();
    let all: Vec<(usize, i32)> = {
        let history = shared.history();
        let partitions = |(index, topic): (usize, &crate::history::Topic)| {
            (0..topic.partitions.len() as i32).map(move |partition| (index, partition)).collect::<Vec<_>>()
        };
        history.live().flat_map(partitions).collect()
    };
    check_topics(shared, &mut client).await;
    for at in all {
        let Some(content) = read(shared, &mut client, at).await else { return contents };
        judge(shared, at, &content);
        contents.insert(at, content);
    }
    let positions: Vec<_> = shared.history().positions.keys().cloned().collect();
    for (name, topic, partition) in positions {
        let mut tries = 0;
        while shared.history().is_live(topic)
            && !matches!(group::read(shared, &mut client, &name, (topic, partition)).await, Ok(true))
        {
            if gives_up(shared, &mut tries, "a group's position").await {
                return contents;
            }
        }
    }
    contents
}

fn judge(shared: &Shared, at: (usize, i32), content: &Content) {
    let mut history = shared.history_mut();
    let place = history.place(at.0, at.1);
    let topic = &history.topics[at.0];
    let partition = &topic.partitions[at.1 as usize];
    let verdict = starts::kept(topic, partition, content)
        .and_then(|()| acknowledged::still_there(partition, content))
        .and_then(|()| visible::still_there(partition, content))
        .and_then(|()| duplicates::none(partition, content));
    history.judge(verdict.map_err(|why| format!("{place}: {why}")));
}

async fn gives_up(shared: &Shared, tries: &mut u32, what: &str) -> bool {
    reactor::sleep(Duration::from_millis(20)).await;
    *tries += 1;
    if *tries > TRIES {
        shared.history_mut().judge(Err(format!("{what} cannot be read, though nothing disturbs the broker")));
    }
    shared.history().broken.is_some()
}

async fn check_topics(shared: &Shared, client: &mut Client) {
    let mut tries = 0;
    loop {
        let ask = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
        if let Ok(answer) = client.ask(12, &ask).await {
            let listed = answer.topics.iter().filter(|topic| !topic.is_internal);
            let listed = listed.map(|topic| (topic.topic_id, topic.partitions.len())).collect();
            let mut history = shared.history_mut();
            let verdict = topics::listed(&history.topics, &listed);
            history.judge(verdict);
            return;
        }
        if gives_up(shared, &mut tries, "the list of topics").await {
            return;
        }
    }
}

/// One partition from its start to its end; `None` when a rule was broken meanwhile.
async fn read(shared: &Shared, client: &mut Client, at: (usize, i32)) -> Option<Content> {
    let mut tries = 0;
    let (start, end) = loop {
        let start = list_offset(shared, client, at, EARLIEST).await;
        let end = list_offset(shared, client, at, LATEST).await;
        if let (Ok(Some(start)), Ok(Some(end))) = (start, end) {
            break (start, end);
        }
        if gives_up(shared, &mut tries, &format!("the bounds of {}", shared.history().place(at.0, at.1)))
            .await
        {
            return None;
        }
    };
    let mut content = Content { start, end, ..Content::default() };
    let mut next = start;
    while next < end {
        let records = fetch(shared, client, at, next).await.unwrap_or_default();
        if let Some((last, _)) = records.last() {
            next = last + 1;
            content.records.extend(records);
        } else {
            let what = format!("{} from {next} to {end}", shared.history().place(at.0, at.1));
            if gives_up(shared, &mut tries, &what).await {
                return None;
            }
        }
    }
    Some(content)
}

async fn fetch(
    shared: &Shared,
    client: &mut Client,
    at: (usize, i32),
    fetch_offset: i64,
) -> Result<Vec<(i64, Stamp)>, Lost> {
    let partition =
        FetchPartition { partition: at.1, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic_id: Uuid = shared.history().topics[at.0].id;
    let topic = FetchTopic { topic_id, partitions: vec![partition], ..Default::default() };
    let ask = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 4 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = client.ask(FETCH_VERSION, &ask).await?;
    let data = answer.responses.first().and_then(|topic| topic.partitions.first());
    let data = data.filter(|data| answer.error_code == 0 && data.error_code == 0);
    Ok(data.map(|data| take_records(shared, at, fetch_offset, data)).unwrap_or_default())
}
