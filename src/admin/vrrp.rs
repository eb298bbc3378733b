//! What the app tells the endpoint of the virtual addresses.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One virtual router that this front door shares with another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// Its number.
    pub vrrp_id: u8,
    /// In one word.
    pub state: VrrpState,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Where its addresses are.
    pub interface: String,
    /// The virtual addresses, each with the length of its network's prefix.
    pub addresses: Vec<String>,
    /// Why it is in that state.
    pub reason: String,
    /// That an address of it may be on two hosts at a time, and why: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
}

/// Whether this front door has the addresses, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VrrpState {
    /// It has.
    Active,
    /// It has not.
    Standby,
}

impl VrrpState {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
        }
    }
}

/// Asks how it stands with the virtual addresses, in the order of the configuration. Called at every request for the status,
/// so it must not wait.
pub type Vrrp = Arc<dyn Fn() -> Vec<VrrpStatus> + Send + Sync>;
