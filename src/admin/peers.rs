//! What the app tells the endpoint of the other front doors.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Another front door of the same virtual addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name, once it has told that.
    pub name: Option<String>,
    /// Where it is asked.
    pub url: String,
    /// In one word.
    pub state: PeerState,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why nothing is known of it; empty otherwise.
    pub reason: String,
}

/// Another front door in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// It answers newcomers.
    Active,
    /// It waits for its turn.
    Standby,
    /// It has said nothing for too long.
    Silent,
    /// It has not been asked for long enough yet.
    Unknown,
}

impl PeerState {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }
}

/// Asks how it stands with the other front doors, in the order of the configuration. Called at every request for the
/// status, so it must not wait.
pub type Peers = Arc<dyn Fn() -> Vec<PeerStatus> + Send + Sync>;
