//! `SaslAuthenticate` (key 36): one step of the mechanism that `SaslHandshake` chose (KIP-152, KIP-368).

use bytes::Bytes;

use super::types::Str;

messages! {
    api SaslAuthenticate: SaslAuthenticateRequest -> SaslAuthenticateResponse, versions 0-2;
    flexible 2+;

    /// The client's message.
    struct SaslAuthenticateRequest {
        auth_bytes: Bytes [0+],
    }

    /// The broker's message, or why there is none.
    struct SaslAuthenticateResponse {
        error_code: i16 [0+],
        error_message: Option<Str> [0+],
        auth_bytes: Bytes [0+],
        /// Milliseconds after which the client has to authenticate anew; 0: never (KIP-368).
        session_lifetime_ms: i64 [1+ ignorable],
    }
}
