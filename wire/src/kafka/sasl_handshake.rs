//! `SaslHandshake` (key 17): which SASL mechanism follows (KIP-43). After version 1 the mechanism's messages travel in
//! `SaslAuthenticate`, after version 0 in bare frames.

use super::types::Str;

messages! {
    api SaslHandshake: SaslHandshakeRequest -> SaslHandshakeResponse, versions 0-1;
    flexible never;

    /// The mechanism the client chose.
    struct SaslHandshakeRequest {
        mechanism: Str [0+],
    }

    /// Whether the broker has it, and those it has.
    struct SaslHandshakeResponse {
        error_code: i16 [0+],
        mechanisms: Vec<Str> [0+],
    }
}
