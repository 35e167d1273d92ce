//! A broker of a few hundred lines that can be told to misbehave: what the tests of a load generator need.
//!
//! One node, one topic, threads and a mutex, batches kept in memory. It deduplicates by producer and sequence
//! and refuses gaps, as far as a client that retries in order needs. Its [`Fault`]s are the planted bugs that `verify` must find.

mod group;
pub(crate) mod logins;
mod transactions;

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wire::kafka::add_partitions_to_txn::AddPartitionsToTxnRequest;
use wire::kafka::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use wire::kafka::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use wire::kafka::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use wire::kafka::end_txn::EndTxnRequest;
use wire::kafka::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::header::RequestHeader;
use wire::kafka::heartbeat::HeartbeatRequest;
use wire::kafka::init_producer_id::InitProducerIdRequest;
use wire::kafka::join_group::JoinGroupRequest;
use wire::kafka::leave_group::LeaveGroupRequest;
use wire::kafka::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use wire::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::kafka::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use wire::kafka::record_batch::{BatchHeader, set_base_offset, set_crc};
use wire::kafka::sasl_authenticate::SaslAuthenticateRequest;
use wire::kafka::sasl_handshake::SaslHandshakeRequest;
use wire::kafka::sync_group::SyncGroupRequest;
use wire::kafka::{ApiKey, Reader, Records, Request, Str, Uuid, frame};

use group::Group;
use logins::{Logins, Session};
use transactions::{Marked, Transactions};

/// What the broker does wrong, to the tenth batch unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Acknowledges it and forgets it.
    Loses,
    /// Appends it twice.
    Doubles,
    /// Appends it after the batch that follows it in its partition.
    Swaps,
    /// Flips a bit of its last value and makes the CRC fit.
    Alters,
    /// Appends every seventh request and closes the connection instead of answering.
    LosesAnswers,
    /// Answers every seventh request with a retriable error, appending nothing.
    Refuses,
    /// Does not tell readers which transactions were aborted.
    HidesAborts,
}

struct Log {
    /// Last offset of each batch, and its bytes.
    batches: Vec<(i64, Bytes)>,
    next_offset: i64,
    /// Held back to be swapped.
    held: Option<Bytes>,
    /// Base offsets by producer and base sequence.
    written: HashMap<(i64, i32), i64>,
    /// By producer.
    next_sequence: HashMap<i64, i32>,
    marked: Marked,
}

struct State {
    topics: BTreeSet<String>,
    /// Of all topics.
    partitions: Vec<Log>,
    batches: u64,
    requests: u64,
    transactions: Transactions,
}

/// A running broker; its threads end with the test.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
}

const TOPIC_ID: Uuid = Uuid([7; 16]);

impl Broker {
    /// Listens on a free port of this machine. The topic exists once it was created, with one partition at least.
    pub(crate) fn start(fault: Fault) -> Self {
        Self::start_with(fault, None)
    }

    /// The same, for those who log in.
    pub(crate) fn start_for(logins: &Arc<Logins>) -> Self {
        Self::start_with(Fault::None, Some(Arc::clone(logins)))
    }

    fn start_with(fault: Fault, logins: Option<Arc<Logins>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let topics = BTreeSet::new();
        let state = Arc::new(Mutex::new(State {
            topics,
            partitions: Vec::new(),
            batches: 0,
            requests: 0,
            transactions: Transactions::default(),
        }));
        let group = Arc::new(Group::default());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state, group) = (stream.unwrap(), state.clone(), group.clone());
                let logins = logins.clone();
                thread::spawn(move || serve(stream, address, (&state, &group), fault, logins.as_deref()));
            }
        });
        Self { address }
    }
}

fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    (state, group): (&Mutex<State>, &Group),
    fault: Fault,
    logins: Option<&Logins>,
) {
    stream.set_nodelay(true).unwrap();
    let mut session = Session::default();
    loop {
        let mut prefix = [0; 4];
        if stream.read_exact(&mut prefix).is_err() {
            return;
        }
        let mut body = BytesMut::zeroed(frame::body_len(prefix, 64 << 20).unwrap());
        stream.read_exact(&mut body).unwrap();
        let mut reader = Reader::new(body.freeze());
        let header = RequestHeader::decode(&mut reader).unwrap();
        let api = ApiKey::try_from(header.api_key).unwrap();
        if logins.is_some_and(|logins| !session.admits(logins, api)) {
            return;
        }
        let call = Call { header, address, state, group, fault };
        let answer = match (api, logins) {
            (ApiKey::SaslHandshake, Some(_)) => {
                call.reply::<SaslHandshakeRequest>(&session.agree(&call.request(&mut reader)))
            }
            (ApiKey::SaslAuthenticate, Some(logins)) => {
                let answer = session.authenticate(logins, &call.request(&mut reader));
                call.reply::<SaslAuthenticateRequest>(&answer)
            }
            _ => call.answer(&mut reader),
        };
        let Some(answer) = answer else { return };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

struct Call<'a> {
    header: RequestHeader,
    address: SocketAddr,
    state: &'a Mutex<State>,
    group: &'a Group,
    fault: Fault,
}

impl Call<'_> {
    /// The answer as a frame, empty when there is to be none; `None` closes the connection.
    fn answer(&self, reader: &mut Reader) -> Option<Bytes> {
        match ApiKey::try_from(self.header.api_key).unwrap() {
            ApiKey::ApiVersions => self.reply::<ApiVersionsRequest>(&api_versions()),
            ApiKey::Metadata => self.reply::<MetadataRequest>(&self.metadata(&self.request(reader))),
            ApiKey::CreateTopics => self.reply::<CreateTopicsRequest>(&self.create(&self.request(reader))),
            ApiKey::InitProducerId => {
                let response = self.state.lock().unwrap().init_producer(&self.request(reader));
                self.reply::<InitProducerIdRequest>(&response)
            }
            ApiKey::AddPartitionsToTxn => {
                let response = self.state.lock().unwrap().add_partitions(&self.request(reader));
                self.reply::<AddPartitionsToTxnRequest>(&response)
            }
            ApiKey::EndTxn => {
                let response = self.state.lock().unwrap().end_transaction(&self.request(reader));
                self.reply::<EndTxnRequest>(&response)
            }
            ApiKey::ListOffsets => self.reply::<ListOffsetsRequest>(&self.offsets(&self.request(reader))),
            ApiKey::Produce => {
                let request: ProduceRequest = self.request(reader);
                let response = self.produce(&request)?;
                if request.acks == 0 { Some(Bytes::new()) } else { self.reply::<ProduceRequest>(&response) }
            }
            ApiKey::Fetch => self.reply::<FetchRequest>(&self.fetch(&self.request(reader))),
            ApiKey::DeleteTopics => self.reply::<DeleteTopicsRequest>(&self.delete(&self.request(reader))),
            ApiKey::FindCoordinator => {
                let response = Group::coordinator(&self.request(reader), self.address);
                self.reply::<FindCoordinatorRequest>(&response)
            }
            ApiKey::JoinGroup => self.reply::<JoinGroupRequest>(&self.group.join(&self.request(reader))),
            ApiKey::SyncGroup => self.reply::<SyncGroupRequest>(&self.group.sync(&self.request(reader))),
            ApiKey::Heartbeat => self.reply::<HeartbeatRequest>(&self.group.beat(&self.request(reader))),
            ApiKey::LeaveGroup => self.reply::<LeaveGroupRequest>(&self.group.leave(&self.request(reader))),
            other => panic!("{other:?} is not expected"),
        }
    }

    fn request<R: Request>(&self, reader: &mut Reader) -> R {
        R::decode(reader, self.header.api_version).unwrap()
    }

    #[allow(clippy::unnecessary_wraps)]
    fn reply<R: Request>(&self, body: &R::Response) -> Option<Bytes> {
        let (version, correlation_id) = (self.header.api_version, self.header.correlation_id);
        Some(frame::response(R::API_KEY, version, correlation_id, body).into_contiguous())
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let asked = request.topics.clone().unwrap_or_default();
        let state = self.state.lock().unwrap();
        let count = state.partitions.len() as i32;
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            ..MetadataResponsePartition::default()
        };
        let exists = |name: &Option<Str>| name.as_ref().is_some_and(|name| state.topics.contains(&**name));
        let topic = |name: Option<Str>| MetadataResponseTopic {
            error_code: if exists(&name) { 0 } else { 3 },
            name,
            topic_id: TOPIC_ID,
            partitions: (0..count).map(partition).collect(),
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: self.address.ip().to_string().into(),
                port: i32::from(self.address.port()),
                rack: None,
            }],
            topics: asked.into_iter().map(|asked| topic(asked.name)).collect(),
            ..MetadataResponse::default()
        }
    }

    fn create(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let mut state = self.state.lock().unwrap();
        let log = || Log {
            batches: Vec::new(),
            next_offset: 0,
            held: None,
            written: HashMap::new(),
            next_sequence: HashMap::new(),
            marked: Marked::default(),
        };
        state.partitions.resize_with(request.topics[0].num_partitions as usize, log);
        let mut outcome = |asked: &CreatableTopic| CreatableTopicResult {
            name: asked.name.clone(),
            error_code: if state.topics.insert(asked.name.to_string()) { 0 } else { 36 },
            ..CreatableTopicResult::default()
        };
        let topics = request.topics.iter().map(&mut outcome).collect();
        CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
    }

    fn delete(&self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let mut state = self.state.lock().unwrap();
        let mut outcome = |name: &Option<Str>| DeletableTopicResult {
            name: name.clone(),
            error_code: if state.topics.remove(&**name.as_ref().unwrap()) { 0 } else { 3 },
            ..DeletableTopicResult::default()
        };
        let responses = request.topics.iter().map(|topic| outcome(&topic.name)).collect();
        DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
    }

    fn offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let state = self.state.lock().unwrap();
        let topic = &request.topics[0];
        let partition =
            |asked: &wire::kafka::list_offsets::ListOffsetsPartition| ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                offset: match asked.timestamp {
                    -1 if request.isolation_level == 1 => {
                        state.partitions[asked.partition_index as usize].last_stable()
                    }
                    -1 => state.partitions[asked.partition_index as usize].next_offset,
                    _ => 0,
                },
                ..ListOffsetsPartitionResponse::default()
            };
        let partitions = topic.partitions.iter().map(partition).collect();
        ListOffsetsResponse {
            topics: vec![ListOffsetsTopicResponse { name: topic.name.clone(), partitions }],
            ..ListOffsetsResponse::default()
        }
    }

    fn produce(&self, request: &ProduceRequest) -> Option<ProduceResponse> {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let seventh = state.requests.is_multiple_of(7);
        let topic = &request.topic_data[0];
        let mut responses = Vec::new();
        for data in &topic.partition_data {
            let mut outcome = PartitionProduceResponse { index: data.index, ..Default::default() };
            if self.fault == Fault::Refuses && seventh {
                outcome.error_code = 56;
            } else if !state.is_in_order(data.index, data.records.as_ref().unwrap()) {
                // INVALID_TXN_STATE
                outcome.error_code = 48;
            } else {
                match state.take(data.index, data.records.as_ref().unwrap(), self.fault) {
                    Some(base_offset) => outcome.base_offset = base_offset,
                    None => outcome.error_code = 45,
                }
            }
            responses.push(outcome);
        }
        if self.fault == Fault::LosesAnswers && seventh {
            return None;
        }
        let (name, topic_id) = (topic.name.clone(), topic.topic_id);
        Some(ProduceResponse {
            responses: vec![TopicProduceResponse { name, topic_id, partition_responses: responses }],
            ..ProduceResponse::default()
        })
    }

    fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let topic = &request.topics[0];
        let (mut partitions, mut bytes) = (Vec::new(), 0);
        for asked in &topic.partitions {
            let state = self.state.lock().unwrap();
            let log = &state.partitions[asked.partition as usize];
            let first = log.batches.partition_point(|(last_offset, _)| *last_offset < asked.fetch_offset);
            let committed_only = request.isolation_level == 1;
            let end = if committed_only { log.last_stable() } else { log.next_offset };
            let shown = log.batches[first..].iter().take(3).take_while(|(last_offset, _)| *last_offset < end);
            let found: Vec<Bytes> = shown.map(|(_, batch)| batch.clone()).collect();
            bytes += found.iter().map(Bytes::len).sum::<usize>();
            partitions.push(PartitionData {
                partition_index: asked.partition,
                high_watermark: log.next_offset,
                last_stable_offset: log.last_stable(),
                aborted_transactions: committed_only
                    .then(|| log.aborted_from(asked.fetch_offset, self.fault)),
                records: Records::Bytes(found),
                ..PartitionData::default()
            });
        }
        if bytes == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let (name, topic_id) = (topic.topic.clone(), topic.topic_id);
        FetchResponse {
            responses: vec![FetchableTopicResponse { topic: name, topic_id, partitions }],
            ..FetchResponse::default()
        }
    }
}

fn api_versions() -> ApiVersionsResponse {
    fn spoken<R: Request>() -> ApiVersion {
        let (min_version, max_version) = R::VERSIONS.into_inner();
        ApiVersion { api_key: R::API_KEY.key(), min_version, max_version }
    }
    let api_keys = vec![
        spoken::<ApiVersionsRequest>(),
        spoken::<MetadataRequest>(),
        spoken::<CreateTopicsRequest>(),
        spoken::<InitProducerIdRequest>(),
        spoken::<ListOffsetsRequest>(),
        spoken::<ProduceRequest>(),
        spoken::<FetchRequest>(),
        spoken::<DeleteTopicsRequest>(),
        spoken::<FindCoordinatorRequest>(),
        spoken::<JoinGroupRequest>(),
        spoken::<SyncGroupRequest>(),
        spoken::<HeartbeatRequest>(),
        spoken::<LeaveGroupRequest>(),
        spoken::<AddPartitionsToTxnRequest>(),
        spoken::<EndTxnRequest>(),
        spoken::<SaslHandshakeRequest>(),
        spoken::<SaslAuthenticateRequest>(),
    ];
    ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() }
}

impl State {
    /// Appends a batch, or does to it what the fault says; answers its base offset, `None` when it leaves a gap.
    fn take(&mut self, partition: i32, bytes: &Bytes, fault: Fault) -> Option<i64> {
        let header = BatchHeader::parse(bytes).unwrap();
        header.verify_crc(bytes).unwrap();
        let log = &mut self.partitions[partition as usize];
        let identity = (header.producer_id, header.base_sequence);
        if let Some(base_offset) = log.written.get(&identity) {
            return Some(*base_offset);
        }
        if header.producer_id >= 0 {
            let expected = log.next_sequence.entry(header.producer_id).or_insert(0);
            if *expected != header.base_sequence {
                return None;
            }
            *expected += header.record_count;
            log.written.insert(identity, log.next_offset);
        }
        self.batches += 1;
        let base_offset = log.next_offset;
        match fault {
            Fault::Loses if self.batches == 10 => {}
            Fault::Doubles if self.batches == 10 => {
                log.append(bytes);
                log.append(bytes);
            }
            Fault::Swaps if self.batches == 10 => log.held = Some(bytes.clone()),
            Fault::Alters if self.batches == 10 => {
                let mut altered = BytesMut::from(&bytes[..]);
                // The last byte is the count of headers; before it ends the last value.
                let place = altered.len() - 2;
                altered[place] ^= 1;
                set_crc(&mut altered);
                log.append(&altered.freeze());
            }
            _ => log.append(bytes),
        }
        if log.next_offset > base_offset
            && let Some(held) = log.held.take()
        {
            log.append(&held);
        }
        Some(base_offset)
    }
}

impl Log {
    fn append(&mut self, bytes: &Bytes) {
        let header = BatchHeader::parse(bytes).unwrap();
        let mut placed = BytesMut::from(&bytes[..]);
        set_base_offset(&mut placed, self.next_offset);
        self.note(&header, self.next_offset);
        self.next_offset += i64::from(header.record_count);
        self.batches.push((self.next_offset - 1, placed.freeze()));
    }
}
