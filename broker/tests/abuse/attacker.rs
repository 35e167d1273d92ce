//! The attacker: what it knows of its target, how it throws bytes, and the kinds of abuse.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use wire::kafka::sample::Dice;
use wire::kafka::{Request, Str, frame};

use super::support::Broker;
use super::{apis, batches, connections, frames, mutations, readers};

/// How long an answer or a close is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Who throws at the same time.
const THREADS: u64 = 4;
/// How often each throws at most: a thousand connections a second over all. More would show what a kernel without a core to
/// spare does; against more there is `max.connection.creation.rate`.
const PACE: Duration = Duration::from_millis(4);

/// What a thread does until its time is over.
type Attack = fn(&mut Attacker);

/// Every kind of abuse, by name.
pub const KINDS: &[(&str, Attack)] = &[
    ("frame-lengths", frames::lengths),
    ("unknown-apis", frames::unknown_apis),
    ("bad-headers", frames::headers),
    ("random-bytes", frames::random_bytes),
    ("mutated-requests", mutations::mutated),
    ("giant-counts", mutations::giants),
    ("spliced-requests", mutations::spliced),
    ("broken-batches", batches::broken),
    ("lying-batches", batches::lying),
    ("bombs", batches::bombs),
    ("bombs-inside-limit", batches::bombs_inside_limit),
    ("half-open", connections::half_open),
    ("slow-loris", connections::slow_loris),
    ("stand-still", connections::stand_still),
    ("churn", connections::churn),
    ("idle", connections::idle),
    ("never-read", readers::never_read),
    ("never-read-many", readers::never_read_answers),
    ("byte-at-a-time", readers::byte_at_a_time),
];

/// Whom to attack.
#[derive(Clone)]
pub struct Target {
    pub address: String,
    pub topic: String,
}

impl Target {
    pub fn new(broker: &Broker, topic: &str) -> Self {
        Self { address: broker.bootstrap().to_owned(), topic: topic.to_owned() }
    }

    pub fn to_env(&self) -> [(&'static str, &str); 2] {
        [("ABUSE_ADDRESS", &self.address), ("ABUSE_TOPIC", &self.topic)]
    }

    pub fn from_env() -> Option<Self> {
        let var = |name| std::env::var(name).ok();
        Some(Self { address: var("ABUSE_ADDRESS")?, topic: var("ABUSE_TOPIC")? })
    }
}

/// What became of what was thrown.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub answered: u64,
    pub closed: u64,
    /// Requests that wait by their nature, and were left.
    pub waiting: u64,
    /// Connections that were held.
    pub held: u64,
}

/// One of the attacker's threads.
pub struct Attacker {
    pub target: Target,
    pub dice: Dice,
    pub until: Instant,
    pub tally: Tally,
    /// When the next throw is due.
    pub due: Instant,
    /// Which thread, from 0.
    pub index: u64,
}

/// Whether a request may be left without an answer when the wait is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It must be answered, or its connection closed.
    Must,
    /// It may ask to wait.
    May,
}

impl Attacker {
    fn new(target: Target, dice: Dice, until: Instant, index: u64) -> Self {
        Self { target, dice, until, tally: Tally::default(), due: Instant::now(), index }
    }

    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    pub fn topic(&self) -> Str {
        Str::from(self.target.topic.as_str())
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.target.address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends, says that no more comes, and takes what comes until the broker closes: every whole request is answered or
    /// closes the connection, and so does a half one.
    pub fn throw(&mut self, bytes: &[u8], wait: Wait) -> Vec<u8> {
        let now = Instant::now();
        std::thread::sleep(self.due.saturating_duration_since(now));
        self.due = self.due.max(now) + PACE;
        let mut stream = self.connect();
        if wait == Wait::May {
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        }
        // It may be closed before all is sent.
        let sent = stream.write_all(bytes);
        assert!(
            !sent.is_err_and(|error| timed_out(error.kind())),
            "not read and not closed: {}",
            shown(bytes)
        );
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if timed_out(error.kind()) => {
                assert!(wait == Wait::May, "neither answered nor closed: {}", shown(bytes));
                self.tally.waiting += 1;
            }
            _ if answer.is_empty() => self.tally.closed += 1,
            _ => self.tally.answered += 1,
        }
        answer
    }

    /// Throws what must close the connection without an answer.
    pub fn throw_unanswerable(&mut self, bytes: &[u8]) {
        let answer = self.throw(bytes, Wait::Must);
        assert!(answer.is_empty(), "answered with {} instead of closed: {}", shown(&answer), shown(bytes));
    }

    /// A whole valid frame.
    pub fn request<R: Request>(version: i16, body: &R) -> Vec<u8> {
        frame::request(version, 7, Some(&Str::from("abuse")), body).into_contiguous().to_vec()
    }
}

pub fn timed_out(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn shown(bytes: &[u8]) -> String {
    format!("{} bytes {:02x?}", bytes.len(), &bytes[..bytes.len().min(400)])
}

/// The attacking process: the kind that the environment names, until its time is over.
pub fn run(target: Target) {
    let kind = std::env::var("ABUSE_KIND").unwrap();
    let (_, attack) = KINDS.iter().find(|(name, _)| *name == kind).expect("a kind of abuse");
    let until = Instant::now() + Duration::from_secs(super::seconds());
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let (target, total) = (target.clone(), &total);
            scope.spawn(move || {
                let dice = Dice::new(apis::seed() ^ (index << 32));
                let mut attacker = Attacker::new(target, dice, until, index);
                attack(&mut attacker);
                let (mut total, own) = (total.lock().unwrap(), attacker.tally);
                total.answered += own.answered;
                total.closed += own.closed;
                total.waiting += own.waiting;
                total.held += own.held;
            });
        }
    });
    let Tally { answered, closed, waiting, held } = total.into_inner().unwrap();
    assert!(answered + closed + held > 0, "nothing was thrown");
    println!("tally: {answered} answered, {closed} closed, {waiting} left waiting, {held} held");
}

/// Puts records into the attacked topic, to be fetched by those who do not read.
pub fn fill(target: &Target) {
    let until = Instant::now() + PATIENCE;
    let mut filler = Attacker::new(target.clone(), Dice::new(1), until, 0);
    let mut stream = filler.connect();
    for number in 0..64 {
        let batch = batches::plain(900_000, &mut filler.dice);
        let request = Attacker::request(9, &batches::produce(&filler.topic(), number % 4, batch));
        stream.write_all(&request).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        std::io::copy(&mut (&mut stream).take(u64::from(u32::from_be_bytes(length))), &mut std::io::sink())
            .unwrap();
    }
}
