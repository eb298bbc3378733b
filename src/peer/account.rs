//! What a front door tells the others: `GET /v1/account`, version 1. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::memory_body::{MemoryBody, MemoryError};
use crate::fleet::{GatewayName, Memory, VrrpId};

/// How things stand with one front door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub front_door: Arc<str>,
    /// Another number in each process.
    pub life: u64,
    /// Whether it answers newcomers: it has the virtual addresses, or shares none.
    pub active: bool,
    /// The VRRP IDs of the virtual addresses that it has.
    pub holds: Vec<VrrpId>,
    /// What it has been told and has decided.
    pub memory: Memory,
    /// How many newcomers it has sent to each gateway that no report shows yet; gateways without any are left out.
    pub pending: Vec<(GatewayName, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    /// Of what follows; another one is not read.
    version: u32,
    front_door: String,
    life: u64,
    active: bool,
    holds: Vec<u8>,
    #[serde(flatten)]
    memory: MemoryBody,
    pending: Vec<PendingEntry>,
}

#[derive(Serialize, Deserialize)]
struct PendingEntry {
    gateway: String,
    count: u64,
}

/// Why an account is not understood.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is no JSON, or something is missing in it.
    #[error("the answer is not understood: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Another program has written it.
    #[error(
        "the answer has version {0}, and this program knows version {VERSION}; run the same version on both"
    )]
    Version(u32),
    /// A number that cannot be.
    #[error("the answer is not understood: {0}")]
    Memory(#[from] MemoryError),
}

const VERSION: u32 = 1;

impl Account {
    /// As JSON.
    ///
    /// # Errors
    /// Only where a date cannot be written (a year beyond 9999).
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let pending = |(gateway, count): &(GatewayName, u64)| PendingEntry {
            gateway: gateway.to_string(),
            count: *count,
        };
        serde_json::to_vec(&Document {
            version: VERSION,
            front_door: self.front_door.to_string(),
            life: self.life,
            active: self.active,
            holds: self.holds.iter().map(|id| id.get()).collect(),
            memory: MemoryBody::from(&self.memory),
            pending: self.pending.iter().map(pending).collect(),
        })
    }

    /// Reads one. Keys that this version does not know are left out.
    ///
    /// # Errors
    /// If it is not one of this version, whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, AccountError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(AccountError::Version(version));
        }
        let document: Document = serde_json::from_slice(bytes)?;
        let id = |number: &u8| VrrpId::new((*number).into()).ok_or(MemoryError::VrrpId);
        let pending = |entry: PendingEntry| (GatewayName::new(&entry.gateway), entry.count);
        Ok(Self {
            front_door: document.front_door.into(),
            life: document.life,
            active: document.active,
            holds: document.holds.iter().map(id).collect::<Result<_, _>>()?,
            memory: document.memory.try_into()?,
            pending: document.pending.into_iter().map(pending).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{Remembered, Stamp, Word};

    fn account() -> Account {
        let drain = Remembered {
            reason: "new \"kernel\"".into(),
            by: "uid 0".into(),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_723_200),
        };
        let word = |name, drain| Word {
            gateway: GatewayName::new(name),
            stamp: Stamp::new(1_777_723_200_000).unwrap(),
            drain,
        };
        Account {
            front_door: "front-a".into(),
            life: 9,
            active: true,
            holds: vec![VrrpId::new(31).unwrap()],
            memory: Memory {
                words: vec![word("gw1", Some(drain)), word("gw2", None)],
                actives: vec![(VrrpId::new(31), GatewayName::new("gw2"))],
            },
            pending: vec![(GatewayName::new("gw2"), 7)],
        }
    }

    #[test]
    fn what_one_says_the_other_understands() {
        let bytes = account().to_json().unwrap();
        assert_eq!(Account::parse(&bytes).unwrap(), account());
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected = serde_json::json!({
            "version": 1,
            "front_door": "front-a",
            "life": 9,
            "active": true,
            "holds": [31],
            "drains": [{
                "gateway": "gw1",
                "reason": "new \"kernel\"",
                "by": "uid 0",
                "since": "2026-05-02T12:00:00Z",
                "stamp": 1_777_723_200_000_u64,
            }],
            "resumed": [{ "gateway": "gw2", "stamp": 1_777_723_200_000_u64 }],
            "active_gateways": [{ "vrrp_id": 31, "gateway": "gw2" }],
            "pending": [{ "gateway": "gw2", "count": 7 }],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_not_guessed_at() {
        let bytes = account().to_json().unwrap();
        for length in 0..bytes.len() {
            assert!(matches!(Account::parse(&bytes[..length]), Err(AccountError::Damaged(_))), "{length}");
        }
        assert!(matches!(Account::parse(b"{\"version\": 2}"), Err(AccountError::Version(2))));
        let zero = String::from_utf8(bytes).unwrap().replace("[31]", "[0]");
        assert!(matches!(Account::parse(zero.as_bytes()), Err(AccountError::Memory(MemoryError::VrrpId))));
    }
}
