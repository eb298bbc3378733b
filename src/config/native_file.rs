//! What a front door's file says of native clients: `[dve]` and `[ikev2_redirect]`. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use serde_spanned::Spanned;

use super::front_file::{GatewayTable, address, vrrp_id};
use super::problem::Span;
use super::section::Section;
use crate::fleet::{Vpn, VrrpId};

pub struct DveTable {
    pub listen: Vec<Spanned<SocketAddr>>,
    /// Private keys; the first one signs.
    pub keys: Vec<Spanned<String>>,
    pub ttl: Duration,
    pub answers_per_second_per_source: u32,
}

pub struct Ikev2Table {
    pub head: Span,
    pub listen: Vec<Spanned<SocketAddr>>,
    pub vrrp_id: Option<Spanned<VrrpId>>,
}

impl DveTable {
    pub fn read(root: &Section<'_>) -> Option<Self> {
        let table = root.section("dve")?;
        let listen = listen(&table, "[\"192.0.2.1:4463\"]");
        let keys = table.texts("keys").unwrap_or_default();
        if keys.is_empty() && (!table.has("keys") || table.is_empty_list("keys")) {
            table.error(
                "[dve] has no 'keys': the Ed25519 key that answers are signed with; make one with: \
                 openssl genpkey -algorithm ed25519 -out dve.key (`vestibule certs init` makes one, too)",
            );
        }
        let answers = table.integer("answers_per_second_per_source");
        let ttl = table.duration("ttl");
        if let Some(ttl) = ttl.as_ref().filter(|ttl| ttl.get_ref().subsec_nanos() != 0) {
            table.error_at(&ttl.span(), "'ttl' must be whole seconds: an answer counts in them");
        }
        let dve = Self {
            listen,
            keys,
            ttl: ttl.map_or(DEFAULT_TTL, Spanned::into_inner),
            answers_per_second_per_source: answers
                .and_then(|n| u32::try_from(n.into_inner()).ok())
                .unwrap_or(DEFAULT_ANSWERS),
        };
        table.finish();
        Some(dve)
    }
}

impl Ikev2Table {
    pub fn read(root: &Section<'_>) -> Option<Self> {
        let table = root.section("ikev2_redirect")?;
        let listen = listen(&table, "[\"192.0.2.1:500\", \"192.0.2.1:4500\"]");
        let ikev2 = Self { head: table.span.clone(), listen, vrrp_id: vrrp_id(&table) };
        table.finish();
        Some(ikev2)
    }

    /// Whether its clients may be sent there.
    pub fn is_for(&self, gateway: &GatewayTable) -> bool {
        let id = |id: &Option<Spanned<VrrpId>>| id.as_ref().map(|id| *id.get_ref());
        let fits = self.vrrp_id.is_none() || id(&self.vrrp_id) == id(&gateway.vrrp_id);
        fits && gateway.vpn_mode.offers(Vpn::Native)
    }
}

fn listen(table: &Section<'_>, example: &str) -> Vec<Spanned<SocketAddr>> {
    if !table.has("listen") || table.is_empty_list("listen") {
        table.error(format!("{} has no 'listen': where it answers, like {example}", table.title));
    }
    table.parsed_list("listen", address).unwrap_or_default()
}

const DEFAULT_TTL: Duration = Duration::from_secs(30);
const DEFAULT_ANSWERS: u32 = 100;
