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
    /// From one round of checks to the next.
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

    /// From an attempt that has failed to the next one: a renewal that fails once must not end a block.
    pub fn pause(&self) -> Duration {
        self.interval.min(self.lease / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_fails_is_tried_again_before_the_lease_is_over() {
        let settings = |interval| FenceSettings {
            enabled: true,
            lease: Duration::from_secs(15),
            keep_at_least: 1,
            front: "front-a".into(),
            holder: None,
            interval: Duration::from_secs(interval),
            timeout: Duration::from_millis(800),
            gateways: Vec::new(),
        };
        assert_eq!(settings(1).pause(), Duration::from_secs(1));
        // it is renewed after 5 s, and the next one would come after 65
        assert_eq!(settings(60).pause(), Duration::from_secs(5));
    }
}
