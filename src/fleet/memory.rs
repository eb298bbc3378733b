use std::sync::Arc;
use std::time::SystemTime;

use super::gateway::{GatewayName, VrrpId};

/// What a front door has been told or has decided, and no look at the gateways would show again: what outlives a
/// restart, and what the other front door of a pair has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The gateways that an administrator has taken out, each once.
    pub drains: Vec<Remembered>,
    /// In failsafe mode: who is active among the gateways with that VRRP ID, or without any; each group once.
    pub actives: Vec<(Option<VrrpId>, GatewayName)>,
}

/// A drain, as the wall clock tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Of whom.
    pub gateway: GatewayName,
    /// What the administrator gave as the reason; may be empty.
    pub reason: Arc<str>,
    /// Who that was, as far as is known.
    pub by: Arc<str>,
    /// Since when.
    pub since: SystemTime,
}
