//! Frames and headers that no client sends.

use wire::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use wire::kafka::{ApiKey, ErrorCode, Message as _, Reader, Request as _};

use super::attacker::{Attacker, Wait};

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// Lengths that no frame may have, and frames that end early.
pub fn lengths(attacker: &mut Attacker) {
    while attacker.goes_on() {
        let dice = &mut attacker.dice;
        let length = match dice.below(6) {
            0 => 0,
            1 => -1,
            2 => i32::MIN,
            3 => i32::MAX,
            4 => (16 << 20) + 1 + dice.below(1 << 30) as i32,
            _ => -(dice.below(1 << 30) as i32) - 1,
        };
        let rest = dice.below(64);
        let bytes = [&length.to_be_bytes()[..], &vec![0x55; rest]].concat();
        attacker.throw_unanswerable(&bytes);
        // A length that is allowed, of which only a part comes.
        let claimed = 1 + attacker.dice.below(16 << 20);
        let sent = attacker.dice.below(claimed.min(70_000));
        let bytes = [&(claimed as u32).to_be_bytes()[..], &vec![0; sent]].concat();
        attacker.throw_unanswerable(&bytes);
    }
}

/// Keys and versions that are not spoken: closed, but for `ApiVersions`, which is answered (KIP-511).
pub fn unknown_apis(attacker: &mut Attacker) {
    let spoken = broker::handlers::table::rows();
    while attacker.goes_on() {
        let key = match attacker.dice.below(2) {
            0 => attacker.dice.roll() as i16,
            _ => attacker.dice.below(100) as i16 - 5,
        };
        let row = spoken.iter().find(|row| row.key as i16 == key);
        let version = match attacker.dice.below(3) {
            0 => attacker.dice.roll() as i16,
            _ => row.map_or(0, |row| *row.spoken.end()) + 1 + attacker.dice.below(3) as i16,
        };
        if row.is_some_and(|row| row.spoken.contains(&version)) {
            continue;
        }
        let mut body = [key.to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7]].concat();
        body.extend([0, 1, b'x', 0, 0, 0, 0]);
        if key != ApiKey::ApiVersions as i16 {
            attacker.throw_unanswerable(&framed(&body));
            continue;
        }
        let answer = attacker.throw(&framed(&body), Wait::Must);
        let mut reader = Reader::new(answer.into());
        let _length_and_correlation = (reader.i32().unwrap(), reader.i32().unwrap());
        let told = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
        assert_eq!(told.error_code, ErrorCode::UnsupportedVersion as i16);
        assert_eq!(told.api_keys.len(), 1);
    }
}

/// Client ids and tagged fields that are longer than their frame, or deeper than a varint can be.
pub fn headers(attacker: &mut Attacker) {
    let version = *ApiVersionsRequest::VERSIONS.end();
    while attacker.goes_on() {
        let dice = &mut attacker.dice;
        let mut body =
            [ApiKey::ApiVersions.key().to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7]].concat();
        match dice.below(5) {
            // The client id's length.
            0 => body.extend((2 + dice.below(30_000) as i16).to_be_bytes()),
            1 => body.extend((-2 - dice.below(30_000) as i16).to_be_bytes()),
            // The number of tagged fields, a tag, a tag's size.
            2 => body.extend([0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            3 => body.extend([&[0, 0][..], &vec![0xff; 1 + dice.below(100)]].concat()),
            _ => body.extend([0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x07]),
        }
        body.truncate(8 + dice.below(120));
        attacker.throw_unanswerable(&framed(&body));
        let cut = attacker.dice.below(8);
        attacker.throw_unanswerable(&framed(&body[..cut.max(1)]));
    }
}

/// Noise, in a frame and without one.
pub fn random_bytes(attacker: &mut Attacker) {
    while attacker.goes_on() {
        let len = 1 + attacker.dice.below(2000);
        let mut noise: Vec<u8> = (0..len).map(|_| attacker.dice.roll() as u8).collect();
        if attacker.dice.below(2) == 0 {
            attacker.throw(&noise, Wait::May);
            continue;
        }
        if noise.len() > 4 && attacker.dice.below(2) == 0 {
            // Gets past the first look.
            let rows = broker::handlers::table::rows();
            let row = &rows[attacker.dice.below(rows.len())];
            noise[..2].copy_from_slice(&row.key.key().to_be_bytes());
            noise[2..4].copy_from_slice(&row.spoken.end().to_be_bytes());
        }
        attacker.throw(&framed(&noise), Wait::May);
    }
}
