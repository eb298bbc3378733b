use std::sync::Arc;
use std::time::Duration;

use super::plan::Kind;
use crate::fleet::GatewayName;
use crate::net::Site;
use crate::net::client::Target;

/// How a front door fences.
#[derive(Clone, Debug)]
pub struct FenceSettings {
    /// Whether it blocks at all.
    pub enabled: bool,
    /// How long a block lives unrenewed.
    pub lease: Duration,
    /// How many gateways stay open, whatever fails.
    pub keep_at_least: usize,
    /// This front door's name, for blocks in this host's own firewall.
    pub front: Arc<str>,
    /// Its name at agents: the first one of its client certificate. Without one no agent can be asked.
    pub holder: Option<Arc<str>>,
    /// From one attempt to the next where an agent cannot be asked.
    pub interval: Duration,
    /// For an agent's answer.
    pub timeout: Duration,
    /// The gateways.
    pub gateways: Vec<Fenced>,
}

/// How one gateway is fenced.
#[derive(Clone, Debug)]
pub struct Fenced {
    /// Which.
    pub gateway: GatewayName,
    /// How.
    pub kind: Kind,
    /// Its agent, if it has one that asks for certificates: even where that is not asked to block, it is asked to
    /// stay open.
    pub agent: Option<Target>,
    /// Where clients reach it, for this host's own firewall.
    pub endpoints: Vec<Site>,
}

impl FenceSettings {
    /// Whether a gateway is to be fenced by an agent that cannot be asked, because there this front door has no name.
    pub fn lacks_a_name(&self) -> bool {
        let in_vain = |gateway: &Fenced| {
            gateway.kind == Kind::Agent && (gateway.agent.is_none() || self.holder.is_none())
        };
        self.enabled && self.gateways.iter().any(in_vain)
    }
}
