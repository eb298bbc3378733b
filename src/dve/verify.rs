//! What a client believes. Pure: the clock is an argument.

use super::keys::PublicKey;
use super::merkle::{leaf, root_of};
use super::message::{Body, NoAnswer, Nonce, read_answer};

/// Why a datagram is thrown away. The client goes on waiting: a forged answer must not end the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is no answer at all.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// It answers another request.
    #[error("nonce")]
    Nonce,
    /// The client knows no such key.
    #[error("unknown key")]
    UnknownKey,
    /// The owner of the key has not said this.
    #[error("signature")]
    Signature,
    /// The server's clock is too far from the client's; nothing else is wrong.
    #[error("time")]
    Time {
        /// By how many milliseconds it is ahead.
        ahead_ms: i128,
    },
}

/// What a datagram answers to a request, if all about it is right. `now_ms`: the client's clock, in milliseconds
/// since 1970, where it trusts that.
pub fn verify(
    datagram: &[u8],
    nonce: &Nonce,
    keys: &[PublicKey],
    now_ms: Option<u64>,
) -> Result<Body, Rejection> {
    let (bytes, body, proof) = read_answer(datagram)?;
    if body.nonce != *nonce {
        return Err(Rejection::Nonce);
    }
    // two keys may begin alike
    let mut named = keys.iter().filter(|key| key.id() == proof.key_id).peekable();
    if named.peek().is_none() {
        return Err(Rejection::UnknownKey);
    }
    let root = root_of(leaf(bytes), proof.index, &proof.path);
    if !named.any(|key| key.has_signed(&root, &proof.signature)) {
        return Err(Rejection::Signature);
    }
    let ahead_ms = now_ms.map_or(0, |now| i128::from(body.time_ms) - i128::from(now));
    if ahead_ms.unsigned_abs() > MOST_APART_MS {
        return Err(Rejection::Time { ahead_ms });
    }
    Ok(body)
}

/// How far clocks may be apart.
const MOST_APART_MS: u128 = 5 * 60 * 1000;
