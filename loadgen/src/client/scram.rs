//! SCRAM, the client's side (RFC 5802, and RFC 7677 for SHA-256): proves that it knows the password without sending it, and asks
//! the same proof of the broker. A state machine: the broker's messages in, ours out.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use crate::limits::SCRAM_ITERATIONS_MAX;

/// The header that says: no channel binding (`n,,`), in base64.
const NO_BINDING: &str = "biws";

/// The hash that a mechanism is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The exchange so far.
pub(crate) struct Scram {
    hash: Hash,
    /// `n=USER,r=NONCE`.
    first: String,
    nonce: String,
    state: State,
}

enum State {
    /// The salt is due.
    Salt,
    /// The broker's proof is due: this text, signed with this key.
    Proof { key: hmac::Key, signed: String },
}

impl Scram {
    /// `nonce` is chance in printable letters without a comma.
    pub(crate) fn new(hash: Hash, user: &str, nonce: String) -> Self {
        // The two letters that mean something in these messages.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, first: format!("n={user},r={nonce}"), nonce, state: State::Salt }
    }

    /// The message that begins.
    pub(crate) fn begin(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// The answer to a message of the broker; `None` at the end, when it has proven to know the password too.
    pub(crate) fn answer(&mut self, message: &[u8], password: &str) -> Result<Option<String>, String> {
        let message = std::str::from_utf8(message).map_err(|_| "it sent a message that is no text")?;
        if let Some(refusal) = attribute(message, 'e') {
            return Err(format!("it refused the proof: {refusal}"));
        }
        match &self.state {
            State::Salt => self.prove(message, password).map(Some),
            State::Proof { key, signed } => {
                let proof = attribute(message, 'v').and_then(|proof| BASE64.decode(proof).ok());
                let proof = proof.ok_or("it sent no proof of its own")?;
                let proven = hmac::verify(key, signed.as_bytes(), &proof).is_ok();
                if proven { Ok(None) } else { Err("it does not know the password itself".to_owned()) }
            }
        }
    }

    fn prove(&mut self, message: &str, password: &str) -> Result<String, String> {
        let nonce = attribute(message, 'r').ok_or("it sent no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("it sent a nonce that does not continue ours".to_owned());
        }
        let salt =
            attribute(message, 's').and_then(|salt| BASE64.decode(salt).ok()).ok_or("it sent no salt")?;
        let iterations = attribute(message, 'i').and_then(|count| count.parse::<NonZeroU32>().ok());
        let iterations = iterations.filter(|count| count.get() <= SCRAM_ITERATIONS_MAX);
        let iterations = iterations.ok_or("it sent no number of iterations that could be meant")?;

        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let signed = format!("{},{message},{without_proof}", self.first);
        let signature = hmac::sign(&hmac::Key::new(self.hash.hmac(), stored_key.as_ref()), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        self.state = State::Proof { key: hmac::Key::new(self.hash.hmac(), server_key.as_ref()), signed };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)))
    }
}

/// The value of `NAME=value` in a message.
fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn salted(iterations: &str) -> String {
        format!("r={SERVER_NONCE},s={SALT},i={iterations}")
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let mut scram = Scram::new(Hash::Sha256, "user", NONCE.to_owned());
        assert_eq!(scram.begin(), format!("n,,n=user,r={NONCE}"));
        let proof = scram.answer(salted("4096").as_bytes(), "pencil").unwrap().unwrap();
        let wanted = format!("c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(proof, wanted);
        let end = scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "pencil");
        assert_eq!(end, Ok(None));
    }

    #[test]
    fn sha_512_agrees_with_another_implementation() {
        let mut scram = Scram::new(Hash::Sha512, "user", NONCE.to_owned());
        let proof = scram.answer(salted("4096").as_bytes(), "pencil").unwrap().unwrap();
        assert!(proof.ends_with(SHA_512_PROOF), "{proof}");
        assert_eq!(scram.answer(SHA_512_VERIFIER.as_bytes(), "pencil"), Ok(None));
    }

    #[test]
    fn a_broker_that_cannot_prove_the_password_is_not_believed() {
        let mut scram = Scram::new(Hash::Sha256, "user", NONCE.to_owned());
        scram.answer(salted("4096").as_bytes(), "pencil").unwrap();
        let lie = scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "pencil");
        assert!(lie.is_err());
        assert!(scram.answer(b"nothing", "pencil").unwrap_err().contains("no proof"));
        assert!(scram.answer(b"e=invalid-proof", "pencil").unwrap_err().contains("invalid-proof"));
    }

    #[test]
    fn what_a_broker_may_not_ask_for_is_refused() {
        let ask = |message: &str| {
            Scram::new(Hash::Sha256, "user", NONCE.to_owned()).answer(message.as_bytes(), "pencil")
        };
        assert!(ask(&format!("r=other,s={SALT},i=4096")).unwrap_err().contains("nonce"));
        assert!(ask(&format!("r={NONCE},s={SALT},i=4096")).unwrap_err().contains("nonce"));
        assert!(ask(&format!("r={SERVER_NONCE},i=4096")).unwrap_err().contains("salt"));
        for count in ["0", "-1", "4000000000", "x"] {
            assert!(ask(&salted(count)).unwrap_err().contains("iterations"), "{count}");
        }
    }

    #[test]
    fn a_user_with_special_letters_is_escaped() {
        assert_eq!(Scram::new(Hash::Sha256, "a=b,c", "n".to_owned()).begin(), "n,,n=a=3Db=2Cc,r=n");
    }

    /// By Python's hashlib and hmac.
    const SHA_512_PROOF: &str =
        ",p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
    const SHA_512_VERIFIER: &str =
        "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";
}
