//! What a handler gives back: a response frame whose records were never copied into it.

use std::time::Duration;

pub use storage::ReadPart as Part;
use wire::kafka::header::RequestHeader;
use wire::kafka::{ApiKey, Encoded, Message, frame};

use crate::shard::turn::Turn;

/// One whole response frame, length prefix included.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// In the order in which they go out.
    pub parts: Vec<Part>,
    /// The error codes in it.
    pub errors: Vec<i16>,
    /// For how long the client is held back once it has the answer (KIP-219).
    pub throttle: Duration,
}

impl Response {
    /// Encodes `body` as the answer to `header`. `external` holds, by id, the parts that stand for
    /// [`Records::External`](wire::kafka::Records::External) in the body.
    pub fn encode<M: Message>(
        key: ApiKey,
        header: &RequestHeader,
        body: &M,
        external: &mut [Vec<Part>],
    ) -> Response {
        Response::of(frame::response(key, header.api_version, header.correlation_id, body), body, external)
    }

    /// [`Self::encode`] for bodies with very many elements: others of the shard run in between.
    pub async fn encode_paced<M: Message>(
        key: ApiKey,
        header: &RequestHeader,
        body: &M,
        external: &mut [Vec<Part>],
    ) -> Response {
        let RequestHeader { api_version, correlation_id, .. } = header;
        let mut turn = Turn::default();
        let encoded = frame::response_paced(key, *api_version, *correlation_id, body, &mut turn).await;
        Response::of(encoded, body, external)
    }

    fn of<M: Message>(encoded: Encoded, body: &M, external: &mut [Vec<Part>]) -> Response {
        let mut parts = Vec::new();
        for part in encoded.parts() {
            match part {
                Ok(bytes) => parts.push(Part::Memory(bytes)),
                Err((len, id)) => {
                    let own = std::mem::take(&mut external[id]);
                    let promised = own.iter().map(Part::len).sum::<usize>();
                    assert_eq!(len, promised, "the promised length is what is sent");
                    parts.extend(own);
                }
            }
        }
        let mut errors = Vec::new();
        body.error_codes(&mut |code| {
            if code != 0 {
                errors.push(code);
            }
        });
        Response { parts, errors, throttle: Duration::ZERO }
    }

    /// How many bytes the frame has.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }
}
