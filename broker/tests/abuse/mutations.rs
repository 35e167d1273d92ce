//! Valid requests of every API in every version, damaged.

use wire::kafka::sample::Sample;
use wire::kafka::{ApiKey, Request};

use super::apis;
use super::attacker::{Attacker, Wait};

type Maker = fn(&mut Attacker, i16) -> Vec<u8>;

/// A random valid frame.
fn sample<R: Request + Sample>(attacker: &mut Attacker, version: i16) -> Vec<u8> {
    let body = R::sample(&mut attacker.dice, R::form(version));
    Attacker::request(version, &body)
}

/// How to make a frame of each API in each version.
fn makers() -> Vec<(ApiKey, i16, Maker)> {
    let mut all: Vec<(ApiKey, i16, Maker)> = Vec::new();
    macro_rules! each {
        ($module:ident $request:ident $response:ident) => {
            for version in apis::versions::<wire::kafka::$module::$request>() {
                let key = <wire::kafka::$module::$request as Request>::API_KEY;
                all.push((key, version, sample::<wire::kafka::$module::$request>));
            }
        };
    }
    crate::for_each_api!(each);
    all
}

/// Requests that may ask to wait: for records, for members of a group, or for no answer at all.
fn wait(key: ApiKey) -> Wait {
    match key {
        ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup => Wait::May,
        _ => Wait::Must,
    }
}

fn set_length(frame: &mut [u8]) {
    let len = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
}

/// Goes through all APIs and versions again and again, beginning somewhere else on each thread.
fn each_request(attacker: &mut Attacker, damage: impl Fn(&mut Attacker, Vec<u8>, Maker, i16) -> Vec<u8>) {
    let makers = makers();
    let mut next = attacker.index as usize * makers.len() / 4;
    while attacker.goes_on() {
        let (key, version, make) = makers[next % makers.len()];
        next += 1;
        let valid = make(attacker, version);
        let mut damaged = damage(attacker, valid, make, version);
        set_length(&mut damaged);
        attacker.throw(&damaged, wait(key));
    }
}

/// Bits turned over, bytes put in, taken out and cut off; the frame's length is made right again.
pub fn mutated(attacker: &mut Attacker) {
    each_request(attacker, |attacker, mut bytes, _, _| {
        const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff];
        let dice = &mut attacker.dice;
        // Behind length, key and version.
        for _ in 0..=dice.below(4) {
            let at = 8 + dice.below(bytes.len() - 8);
            match dice.below(5) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes[at] = EDGES[dice.below(EDGES.len())],
                2 if bytes.len() > 40 => drop(bytes.drain(at..(at + 1 + dice.below(8)).min(bytes.len()))),
                3 if at > 12 => bytes.truncate(at),
                _ => bytes.insert(at, EDGES[dice.below(EDGES.len())]),
            }
        }
        bytes
    });
}

/// The largest counts and lengths, and varints without an end, wherever a field may be.
pub fn giants(attacker: &mut Attacker) {
    const GIANTS: [&[u8]; 8] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0x7f, 0xff],
        &[0x80, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    ];
    each_request(attacker, |attacker, mut bytes, _, _| {
        let giant = GIANTS[attacker.dice.below(GIANTS.len())];
        let at = 12 + attacker.dice.below(bytes.len() - 12);
        let over = if attacker.dice.below(2) == 0 { 0 } else { giant.len() };
        bytes.splice(at..(at + over).min(bytes.len()), giant.iter().copied());
        bytes
    });
}

/// The beginning of one request with the end of another.
pub fn spliced(attacker: &mut Attacker) {
    each_request(attacker, |attacker, bytes, make, version| {
        let other = make(attacker, version);
        let (end, begin) =
            (12 + attacker.dice.below(bytes.len() - 12), 12 + attacker.dice.below(other.len() - 12));
        [&bytes[..end], &other[begin..]].concat()
    });
}
