//! What clients do: produce, consume, commit positions, make and delete topics; each until the run drains, through lost
//! connections and brokers that are away.

mod admin;
mod consumer;
mod group;
mod producer;
pub(crate) mod reader;

use std::time::Duration;

use reactor::Priority;
use reactor::sim::Random;
use wire::kafka::ErrorCode;

use crate::history::Shared;
use crate::plan::Plan;

/// Starts all clients, as tasks of the calling reactor.
pub(crate) fn start(shared: &Shared, plan: &Plan) {
    let mut clients = 0;
    let mut start = |name: &'static str, client: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        clients += 1;
        let left = shared.clients.clone();
        let watched = async move {
            client.await;
            left.set(left.get() - 1);
        };
        reactor::spawn(Priority::Latency, name, watched).detach();
    };
    start("admin", Box::pin(admin::run(shared.clone(), plan.idle_partitions)));
    for index in 0..plan.producers {
        start("producer", Box::pin(producer::run(shared.clone(), index)));
    }
    for index in 0..plan.consumers {
        start("consumer", Box::pin(consumer::run(shared.clone(), index)));
    }
    for index in 0..plan.groups {
        start("group", Box::pin(group::run(shared.clone(), index)));
    }
    shared.clients.set(clients);
}

/// A while, so that clients neither spin nor come all at once.
async fn pause(random: &Random, longest_us: u64) {
    reactor::sleep(Duration::from_micros(random.range(100..longest_us.max(101)))).await;
}

fn code(number: i16) -> ErrorCode {
    ErrorCode::from_code(number).unwrap_or(ErrorCode::UnknownServerError)
}

/// Whether asking again may help.
fn may_pass(number: i16) -> bool {
    matches!(
        code(number),
        ErrorCode::KafkaStorageError
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NotCoordinator
            | ErrorCode::RequestTimedOut
            | ErrorCode::BrokerNotAvailable
    )
}

/// A live topic and one of its partitions, idle ones rarely.
fn pick_partition(shared: &Shared, random: &Random) -> Option<(usize, i32)> {
    let history = shared.history();
    let topics: Vec<_> = history.live().filter(|(_, topic)| !topic.idle || random.one_in(20)).collect();
    if topics.is_empty() {
        return None;
    }
    let (index, topic) = random.pick(&topics);
    Some((*index, random.below(topic.partitions.len() as u64) as i32))
}
