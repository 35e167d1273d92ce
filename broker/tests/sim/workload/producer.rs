//! Producers: idempotent ones, which send again what has no answer until it has one, and plain ones with each `acks`.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use reactor::sim::Random;
use wire::kafka::ErrorCode;
use wire::kafka::batch_builder::{BatchBuilder, NewRecord, Producer};
use wire::kafka::compression::Codec;
use wire::kafka::init_producer_id::InitProducerIdRequest;
use wire::kafka::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};

use super::{may_pass, pause, pick_partition};
use crate::checkers::acknowledged;
use crate::checkers::bytes::{Stamp, value};
use crate::client::{Client, Lost};
use crate::history::{Delivery, Shared};

const VERSION: i16 = 13;
/// Requests of one producer that wait for their answers; Kafka's clients keep to five.
const IN_FLIGHT_MAX: u64 = 5;

/// Where one session of a producer writes.
struct Session {
    topic: usize,
    partition: i32,
    writer: u32,
    acks: i16,
    /// A later batch got in before the first, which had been refused for want of room: to a broker that knows nothing of
    /// the producer any sequence is a beginning, in Kafka as here. A client then takes another producer id.
    gave_up: Cell<bool>,
}

pub(crate) async fn run(shared: Shared, index: u64) {
    let name = format!("producer-{index}");
    let random = shared.random(&name);
    let mut client = Client::new(shared.address, &name);
    while shared.is_busy() {
        pause(&random, 3_000).await;
        let Some((topic, partition)) = pick_partition(&shared, &random) else { continue };
        let batches = random.range(1..40) as u32;
        if random.one_in(3) {
            plain(&shared, &random, &mut client, (topic, partition), batches).await;
        } else {
            idempotent(&shared, &random, &mut client, (topic, partition), batches).await;
        }
    }
}

async fn plain(shared: &Shared, random: &Random, client: &mut Client, to: (usize, i32), batches: u32) {
    let writer = shared.history_mut().new_writer(to.0, to.1, Delivery::Plain);
    let session = Session {
        topic: to.0,
        partition: to.1,
        writer,
        acks: *random.pick(&[0, 1, -1]),
        gave_up: Cell::new(false),
    };
    let mut first = 0;
    for _ in 0..batches {
        if !shared.is_busy() || !shared.history().is_live(session.topic) {
            return;
        }
        let count = random.range(1..12) as u32;
        let request = session.request(shared, first, count, None);
        let from = Stamp { writer, number: first };
        first += count;
        shared.history_mut().partition(to.0, to.1).writers.entry(writer).and_modify(|all| all.sent = first);
        let Ok(id) = client.send(VERSION, &request).await else {
            pause(random, 5_000).await;
            continue;
        };
        if session.acks == 0 {
            pause(random, 500).await;
            continue;
        }
        match client.receive::<ProduceRequest>(VERSION, id).await {
            Ok(answer) => {
                let answer = &answer.responses[0].partition_responses[0];
                if answer.error_code == 0 {
                    session.acknowledge(shared, answer.base_offset, from, count);
                }
            }
            Err(Lost) => pause(random, 5_000).await,
        }
    }
    if session.acks == 0 {
        // What follows on this connection is answered; these were not.
        client.close();
    }
}

async fn idempotent(shared: &Shared, random: &Random, client: &mut Client, to: (usize, i32), batches: u32) {
    let Some(mut producer) = producer_id(shared, random, client).await else { return };
    let writer = shared.history_mut().new_writer(to.0, to.1, Delivery::Idempotent);
    let session = Session { topic: to.0, partition: to.1, writer, acks: -1, gave_up: Cell::new(false) };
    let in_flight_max = random.range(1..IN_FLIGHT_MAX + 1) as usize;
    // Batches without an answer: the number of the first record, and how many.
    let mut open: VecDeque<(u32, u32)> = VecDeque::new();
    let (mut made, mut next) = (0, 0);
    loop {
        while open.len() < in_flight_max && made < batches && shared.is_busy() {
            let count = random.range(1..12) as u32;
            open.push_back((next, count));
            next += count;
            made += 1;
        }
        if open.is_empty() || !shared.history().is_live(session.topic) {
            return;
        }
        shared.history_mut().partition(to.0, to.1).writers.entry(writer).and_modify(|all| all.sent = next);
        tracing::debug!(writer, ?open, "sends");
        let mut sent = Vec::new();
        for (first, count) in &open {
            producer.base_sequence = *first as i32;
            let request = session.request(shared, *first, *count, Some(producer));
            match client.send(VERSION, &request).await {
                Ok(id) => sent.push(id),
                Err(Lost) => break,
            }
        }
        if !session.take_answers(shared, client, sent, &mut open).await {
            if session.gave_up.get() {
                return;
            }
            shared.history_mut().counts.add("retries", open.len() as u64);
            pause(random, 10_000).await;
        }
        if random.one_in(50) {
            client.close(); // and then sends again, when something is open
        }
    }
}

/// `None`: the run drains.
async fn producer_id(shared: &Shared, random: &Random, client: &mut Client) -> Option<Producer> {
    let ask = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
    while shared.is_busy() {
        match client.ask(4, &ask).await {
            Ok(answer) if answer.error_code == 0 => {
                return Some(Producer {
                    id: answer.producer_id,
                    epoch: answer.producer_epoch,
                    base_sequence: 0,
                });
            }
            _ => pause(random, 10_000).await,
        }
    }
    None
}

impl Session {
    fn request(&self, shared: &Shared, first: u32, count: u32, producer: Option<Producer>) -> ProduceRequest {
        let topic_id = shared.history().topics[self.topic].id;
        let mut batch = BatchBuilder::new(Codec::None);
        if let Some(producer) = producer {
            batch = batch.producer(producer);
        }
        for number in first..first + count {
            let stamp = Stamp { writer: self.writer, number };
            let bytes = value(topic_id, self.partition, stamp);
            // The clock at the first sending would not be the clock at the next: the same bytes must come again.
            let timestamp = 1_790_000_000_000 + i64::from(number);
            batch.push(&NewRecord { timestamp, value: Some(&bytes), ..NewRecord::default() });
        }
        let records: Option<Bytes> = Some(batch.build().expect("a batch"));
        let data = PartitionProduceData { index: self.partition, records };
        let topic = TopicProduceData { topic_id, partition_data: vec![data], ..Default::default() };
        ProduceRequest { acks: self.acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
    }

    /// Takes the answers to the oldest open batches; false: something must be sent again.
    async fn take_answers(
        &self,
        shared: &Shared,
        client: &mut Client,
        sent: Vec<i32>,
        open: &mut VecDeque<(u32, u32)>,
    ) -> bool {
        let mut failed = sent.len() < open.len();
        for id in sent {
            let Ok(answer) = client.receive::<ProduceRequest>(VERSION, id).await else { return false };
            let answer = &answer.responses[0].partition_responses[0];
            if failed_or_taken(self, shared, answer, failed, open) {
                continue;
            }
            failed = true;
        }
        !failed
    }

    fn acknowledge(&self, shared: &Shared, base: i64, first: Stamp, count: u32) {
        let mut history = shared.history_mut();
        history.counts.add("acknowledged", 1);
        let place = history.place(self.topic, self.partition);
        let verdict =
            acknowledged::acknowledged(history.partition(self.topic, self.partition), base, first, count);
        history.judge(verdict.map_err(|why| format!("{place}: {why}")));
    }
}

/// Takes one answer. False: the batch must be sent again. After a failure later batches of the same requests fail too, or,
/// when the failure was only an answer's, are answered as they should be: those are taken when sent again.
fn failed_or_taken(
    session: &Session,
    shared: &Shared,
    answer: &PartitionProduceResponse,
    failed: bool,
    open: &mut VecDeque<(u32, u32)>,
) -> bool {
    if failed {
        return false;
    }
    let code = answer.error_code;
    let duplicate = code == ErrorCode::DuplicateSequenceNumber.code();
    if code == 0 || duplicate {
        if let Some((first, count)) = open.pop_front() {
            let base = if duplicate { -1 } else { answer.base_offset };
            session.acknowledge(shared, base, Stamp { writer: session.writer, number: first }, count);
        }
        return true;
    }
    let mut history = shared.history_mut();
    history.counts.add("refused", 1);
    tracing::debug!(writer = session.writer, code, first = ?open.front(), "refused");
    if code == ErrorCode::OutOfOrderSequenceNumber.code()
        && open.front().is_some_and(|(first, _)| *first == 0)
    {
        session.gave_up.set(true);
        history.counts.add("producers given up", 1);
        return false;
    }
    if !may_pass(code) && history.is_live(session.topic) {
        let place = history.place(session.topic, session.partition);
        let (first, message) = (open.front(), &answer.error_message);
        history.judge(Err(format!(
            "{place}: writer {} sends the batch of {first:?}, and is refused: {code} {message:?}",
            session.writer
        )));
    }
    false
}
