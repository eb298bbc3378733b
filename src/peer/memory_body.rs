//! What a front door remembers, as JSON: part of what it tells the others, and of the file that outlives its process.
//! Pure.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::fleet::{GatewayName, Memory, Remembered, Stamp, VrrpId, Word};

/// A [`Memory`] in writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBody {
    drains: Vec<DrainEntry>,
    /// Gateways that were drained once and no longer are.
    resumed: Vec<ResumedEntry>,
    /// Failsafe mode: the active gateway of each group.
    active_gateways: Vec<ActiveEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DrainEntry {
    gateway: String,
    reason: String,
    by: String,
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    /// The order of words: see [`Stamp`].
    stamp: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ResumedEntry {
    gateway: String,
    stamp: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ActiveEntry {
    /// That the group has; `None`: those without any.
    vrrp_id: Option<u8>,
    gateway: String,
}

/// Why it is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// A VRRP ID of 0.
    #[error("a vrrp_id is 0")]
    VrrpId,
    /// Beyond what any clock says.
    #[error("a stamp is too large")]
    Stamp,
}

impl From<&Memory> for MemoryBody {
    fn from(memory: &Memory) -> Self {
        let (mut drains, mut resumed) = (Vec::new(), Vec::new());
        for Word { gateway, stamp, drain } in &memory.words {
            let (gateway, stamp) = (gateway.to_string(), stamp.get());
            match drain {
                Some(Remembered { reason, by, since }) => drains.push(DrainEntry {
                    gateway,
                    reason: reason.to_string(),
                    by: by.to_string(),
                    since: (*since).into(),
                    stamp,
                }),
                None => resumed.push(ResumedEntry { gateway, stamp }),
            }
        }
        let active = memory.actives.iter().map(|(group, gateway)| ActiveEntry {
            vrrp_id: group.map(VrrpId::get),
            gateway: gateway.to_string(),
        });
        Self { drains, resumed, active_gateways: active.collect() }
    }
}

impl TryFrom<MemoryBody> for Memory {
    type Error = MemoryError;

    fn try_from(body: MemoryBody) -> Result<Self, MemoryError> {
        let stamp = |number| Stamp::new(number).ok_or(MemoryError::Stamp);
        let drained = body.drains.into_iter().map(|entry| {
            let drain =
                Remembered { reason: entry.reason.into(), by: entry.by.into(), since: entry.since.into() };
            let gateway = GatewayName::new(&entry.gateway);
            Ok(Word { gateway, stamp: stamp(entry.stamp)?, drain: Some(drain) })
        });
        let resumed = body.resumed.into_iter().map(|entry| {
            let gateway = GatewayName::new(&entry.gateway);
            Ok(Word { gateway, stamp: stamp(entry.stamp)?, drain: None })
        });
        let active = body.active_gateways.into_iter().map(|entry| {
            let group = match entry.vrrp_id {
                Some(id) => Some(VrrpId::new(id.into()).ok_or(MemoryError::VrrpId)?),
                None => None,
            };
            Ok((group, GatewayName::new(&entry.gateway)))
        });
        Ok(Self {
            words: drained.chain(resumed).collect::<Result<_, _>>()?,
            actives: active.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let word = |name: &str, stamp, reason: Option<&str>| Word {
            gateway: GatewayName::new(name),
            stamp: Stamp::new(stamp).unwrap(),
            drain: reason.map(|reason| Remembered {
                reason: reason.into(),
                by: "uid 0".into(),
                since: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_777_723_200_123_456_789),
            }),
        };
        let memory = Memory {
            words: vec![word("gw1", 7, Some("new kernel")), word("gw2", Stamp::LAST.get(), None)],
            actives: vec![(None, GatewayName::new("gw3")), (VrrpId::new(31), GatewayName::new("gw2"))],
        };
        let text = serde_json::to_string(&MemoryBody::from(&memory)).unwrap();
        let body: MemoryBody = serde_json::from_str(&text).unwrap();
        assert_eq!(Memory::try_from(body).unwrap(), memory);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (text, expected) in [
            (
                r#"{"drains":[],"resumed":[{"gateway":"gw1","stamp":9007199254740992}],"active_gateways":[]}"#,
                MemoryError::Stamp,
            ),
            (
                r#"{"drains":[],"resumed":[],"active_gateways":[{"vrrp_id":0,"gateway":"gw1"}]}"#,
                MemoryError::VrrpId,
            ),
        ] {
            let body: MemoryBody = serde_json::from_str(text).unwrap();
            assert_eq!(Memory::try_from(body).unwrap_err(), expected);
        }
    }
}
