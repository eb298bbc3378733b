use std::net::SocketAddr;

use crate::fleet::VrrpId;

/// The responder, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeSettings {
    /// Where it listens, on 500 and 4500 as a rule.
    pub listen: Vec<SocketAddr>,
    /// Only gateways with this VRRP ID are named.
    pub vrrp_id: Option<VrrpId>,
}
