//! The file that holds what outlives a front door's process: `state.json`, version 1. Pure: it is read and written
//! elsewhere.

use serde::{Deserialize, Serialize};

use crate::fleet::Memory;
use crate::peer::{MemoryBody, MemoryError};

/// The whole of it.
#[derive(Serialize, Deserialize)]
struct Document {
    /// Of what follows; another one is not read.
    version: u32,
    #[serde(flatten)]
    memory: MemoryBody,
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
    /// A number that cannot be.
    #[error("it is damaged: {0}")]
    Memory(#[from] MemoryError),
}

const VERSION: u32 = 1;

/// What the file is to hold.
///
/// # Errors
/// Only where a date cannot be written (a year beyond 9999).
pub fn write(memory: &Memory) -> Result<Vec<u8>, serde_json::Error> {
    let document = Document { version: VERSION, memory: MemoryBody::from(memory) };
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
    Ok(document.memory.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{GatewayName, Remembered, Stamp, VrrpId, Word};

    fn memory() -> Memory {
        let word = |name: &str, drain| Word {
            gateway: GatewayName::new(name),
            stamp: Stamp::new(1_777_723_200_123).unwrap(),
            drain,
        };
        let drain = |reason: &str| Remembered {
            reason: reason.into(),
            by: "uid 0".into(),
            since: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_777_723_200_123_456_789),
        };
        Memory {
            words: vec![
                word("gw1", Some(drain("new kernel: \"6.12\" äöü"))),
                word("gw two", Some(drain(""))),
                word("gw4", None),
            ],
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
        assert_eq!(value["active_gateways"][1], serde_json::json!({ "vrrp_id": 31, "gateway": "gw2" }));
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
        for text in
            ["{\"version\": 2}", "{\"version\": 0, \"drains\": [], \"resumed\": [], \"active_gateways\": []}"]
        {
            assert!(matches!(read(text.as_bytes()), Err(DocumentError::Version(_))), "{text}");
        }
        for text in ["", "null", "[]", "{}", "{\"version\": 1}", "{\"version\": -1}"] {
            assert!(matches!(read(text.as_bytes()), Err(DocumentError::Damaged(_))), "{text}");
        }
        let zero = "{\"version\": 1, \"drains\": [], \"resumed\": [], \"active_gateways\": [{\"vrrp_id\": 0, \"gateway\": \"x\"}]}";
        assert!(matches!(read(zero.as_bytes()), Err(DocumentError::Memory(MemoryError::VrrpId))));
    }
}
