//! Who signs answers, and by what clients know them: Ed25519 (RFC 8032). Pure.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::merkle::Hash;
use super::message::{KeyId, Signature};

/// A front door's key.
#[derive(Debug)]
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// What a client knows a front door by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    bytes: [u8; 32],
    id: KeyId,
}

/// What is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// A private key of another kind, or none.
    #[error(
        "is not an Ed25519 private key (PKCS #8); `vestibule certs init` makes one, or: openssl genpkey -algorithm ed25519"
    )]
    Private,
    /// Neither 64 hex digits nor a public key of the right kind.
    #[error("is not an Ed25519 public key: 64 hex digits, or a PEM file (openssl pkey -in dve.key -pubout)")]
    Public,
}

impl SigningKey {
    /// From PKCS #8 (RFC 8410 §7), with or without the public key in it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, NotAKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| NotAKey::Private)?;
        let bytes = pair.public_key().as_ref().try_into().map_err(|_| NotAKey::Private)?;
        Ok(Self { pair, public: PublicKey::from_bytes(bytes) })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a batch. `None` only if the library fails.
    pub fn sign(&self, root: &Hash) -> Option<Signature> {
        self.pair.try_sign(&signed(root)).ok()?.as_ref().try_into().ok()
    }
}

impl PublicKey {
    /// Any 32 bytes: one that is no point of the curve verifies nothing.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut id = KeyId::default();
        id.iter_mut().zip(digest(&SHA256, &bytes).as_ref()).for_each(|(to, from)| *to = *from);
        Self { bytes, id }
    }

    /// From what stands in a PEM file's `PUBLIC KEY` (RFC 8410 §4).
    pub fn from_spki(der: &[u8]) -> Result<Self, NotAKey> {
        let bytes = der.strip_prefix(SPKI).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::from_bytes).ok_or(NotAKey::Public)
    }

    /// By which answers name it.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether its owner has signed this root.
    pub fn has_signed(&self, root: &Hash, signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.bytes).verify(&signed(root), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    /// 64 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    /// 64 hex digits.
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(NotAKey::Public);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = high.zip(low).map(|(high, low)| (high << 4 | low) as u8).ok_or(NotAKey::Public)?;
        }
        Ok(Self::from_bytes(bytes))
    }
}

/// What is signed says what for, so that it can be taken for nothing else.
fn signed(root: &Hash) -> [u8; CONTEXT.len() + 32] {
    let mut message = [0; CONTEXT.len() + 32];
    message.iter_mut().zip(CONTEXT.iter().chain(root)).for_each(|(to, from)| *to = *from);
    message
}

const CONTEXT: &[u8] = b"DVE/1 root\0";
/// Everything before the key in a public key: sequence, algorithm 1.3.101.112, bit string.
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_as_people_have_it() {
        let hex = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
        let key: PublicKey = hex.parse().unwrap();
        assert_eq!(key.to_string(), hex);
        assert_eq!(hex.to_uppercase().parse(), Ok(key));
        assert_eq!(PublicKey::from_spki(&[SPKI, &key.bytes].concat()), Ok(key));
        for text in ["", "03", &hex[..63], &format!("{hex}0"), &hex.replace('f', "g"), &"+1".repeat(32)] {
            assert_eq!(text.parse::<PublicKey>(), Err(NotAKey::Public), "{text}");
        }
        assert_eq!(PublicKey::from_spki(&[SPKI, &key.bytes, &[0]].concat()), Err(NotAKey::Public));
    }

    #[test]
    fn what_one_key_has_signed_another_has_not() {
        let seed = |first: u8| {
            let pkcs8 = [
                0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
                0x20,
            ];
            let mut der = pkcs8.to_vec();
            der.extend((0..32).map(|i| first + i));
            SigningKey::from_pkcs8(&der).unwrap()
        };
        let (one, other, root) = (seed(0), seed(1), [7; 32]);
        let signature = one.sign(&root).unwrap();
        assert!(one.public().has_signed(&root, &signature));
        assert!(!one.public().has_signed(&[8; 32], &signature));
        assert!(!other.public().has_signed(&root, &signature));
        assert_ne!(one.public().id(), other.public().id());
        assert!(SigningKey::from_pkcs8(b"nothing").is_err());
    }
}
