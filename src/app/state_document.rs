//! The file that holds what outlives a front door's process: `state.json`, version 1. Pure: it is read and written
//! elsewhere.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::fleet::{GatewayName, Memory, Remembered, VrrpId};

/// The whole of it.
#[derive(Serialize, Deserialize)]
struct Document {
    /// Of what follows; another one is not read.
    version: u32,
    drains: Vec<DrainEntry>,
    /// Failsafe mode: the active gateway of each group.
    active: Vec<ActiveEntry>,
}

#[derive(Serialize, Deserialize)]
struct DrainEntry {
    gateway: String,
    reason: String,
    by: String,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
struct ActiveEntry {
    /// That the group has; `None`: those without any.
    vrrp_id: Option<u8>,
    gateway: String,
}

/// Why a file is not understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or something is missing in it.
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Another program has written it.
    #[error("it has version {0}, and this program knows version {VERSION}")]
    Version(u32),
    /// A VRRP ID of 0.
    #[error("it is damaged: a vrrp_id is 0")]
    VrrpId,
}

const VERSION: u32 = 1;

/// What the file is to hold.
///
/// # Errors
/// Only where a date cannot be written (a year beyond 9999).
pub fn write(memory: &Memory) -> Result<Vec<u8>, serde_json::Error> {
    let drain = |drain: &Remembered| DrainEntry {
        gateway: drain.gateway.to_string(),
        reason: drain.reason.to_string(),
        by: drain.by.to_string(),
        since: drain.since.into(),
    };
    let active = |(group, gateway): &(Option<VrrpId>, GatewayName)| ActiveEntry {
        vrrp_id: group.map(VrrpId::get),
        gateway: gateway.to_string(),
    };
    let document = Document {
        version: VERSION,
        drains: memory.drains.iter().map(drain).collect(),
        active: memory.actives.iter().map(active).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What a file holds. Keys that this version does not know are left out.
///
/// # Errors
/// If it is not one of this version, whole.
pub fn read(bytes: &[u8]) -> Result<Memory, DocumentError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let Head { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(DocumentError::Version(version));
    }
    let document: Document = serde_json::from_slice(bytes)?;
    let drain = |entry: DrainEntry| Remembered {
        gateway: GatewayName::new(&entry.gateway),
        reason: entry.reason.into(),
        by: entry.by.into(),
        since: entry.since.into(),
    };
    let active = |entry: ActiveEntry| {
        let group = match entry.vrrp_id {
            Some(id) => Some(VrrpId::new(id.into()).ok_or(DocumentError::VrrpId)?),
            None => None,
        };
        Ok((group, GatewayName::new(&entry.gateway)))
    };
    Ok(Memory {
        drains: document.drains.into_iter().map(drain).collect(),
        actives: document.active.into_iter().map(active).collect::<Result<_, DocumentError>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn memory() -> Memory {
        let drain = |name: &str, reason: &str| Remembered {
            gateway: GatewayName::new(name),
            reason: reason.into(),
            by: "uid 0".into(),
            since: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_777_723_200_123_456_789),
        };
        Memory {
            drains: vec![drain("gw1", "new kernel: \"6.12\" äöü"), drain("gw two", "")],
            actives: vec![(None, GatewayName::new("gw3")), (VrrpId::new(31), GatewayName::new("gw2"))],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_people_can_read_it_too() {
        let bytes = write(&memory()).unwrap();
        assert_eq!(read(&bytes).unwrap(), memory());
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["drains"][0]["since"], "2026-05-02T12:00:00.123456789Z");
        assert_eq!(value["active"][1], serde_json::json!({ "vrrp_id": 31, "gateway": "gw2" }));
        assert_eq!(read(&write(&Memory::default()).unwrap()).unwrap(), Memory::default());
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_damaged() {
        let bytes = write(&memory()).unwrap();
        // without its last newline it is whole
        for length in 0..bytes.len() - 1 {
            assert!(matches!(read(&bytes[..length]), Err(DocumentError::Damaged(_))), "{length}");
        }
    }

    #[test]
    fn a_file_of_another_version_is_not_guessed_at() {
        for text in ["{\"version\": 2}", "{\"version\": 0, \"drains\": [], \"active\": []}"] {
            assert!(matches!(read(text.as_bytes()), Err(DocumentError::Version(_))), "{text}");
        }
        for text in ["", "null", "[]", "{}", "{\"version\": 1}", "{\"version\": -1}"] {
            assert!(matches!(read(text.as_bytes()), Err(DocumentError::Damaged(_))), "{text}");
        }
        let zero = "{\"version\": 1, \"drains\": [], \"active\": [{\"vrrp_id\": 0, \"gateway\": \"x\"}]}";
        assert!(matches!(read(zero.as_bytes()), Err(DocumentError::VrrpId)));
    }
}
