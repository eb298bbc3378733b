use std::sync::Arc;
use std::time::Duration;

use super::circle::Url;
use crate::net::client::Target;

/// Whom a front door asks how things stand.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// This front door's name.
    pub name: Arc<str>,
    /// The others.
    pub front_doors: Vec<FrontDoorAt>,
}

/// Where another front door is asked.
#[derive(Clone, Debug)]
pub struct FrontDoorAt {
    /// As configured.
    pub url: Url,
    /// The same, with whom to trust and which certificate to show.
    pub target: Target,
}

/// How long an answer waits for a change where nothing has changed since the last one, in seconds.
pub const WAIT_SECONDS: u64 = 1;

/// For an answer that need not wait, and beyond the wait for one that does.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// For so long an answer holds; then its front door is silent. Three may be lost, as in VRRP (RFC 9568 §6.1): a process
/// that is held up for a moment is not taken for dead.
pub const PATIENCE: Duration = Duration::from_secs(3 * WAIT_SECONDS);
