use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use super::meter::{GatewayMeter, Meter};
use super::proxy::Resting;
use super::sessions::{GatewayNumber, Sessions};
use super::settings::AffinityCookie;
use crate::fleet::{Endpoint, GatewayName, Snapshot};
use crate::net::{Site, Sites};

/// One gateway as one door of one worker reaches it.
pub struct Gate {
    /// The gateway.
    pub name: GatewayName,
    /// Where connections to it go.
    pub site: Site,
    /// What is counted of it here.
    pub meter: Arc<GatewayMeter>,
    /// What requests name as their host that name none.
    pub host: HeaderValue,
    /// Its number in the memory of sessions, where there is one.
    pub number: Option<GatewayNumber>,
    /// The value of the cookie that leads to it, where there is one.
    pub cookie: Option<Box<str>>,
    /// Connections to it that wait for a request.
    pub resting: Resting,
}

impl Gate {
    /// A gateway that nobody has connected to yet.
    pub fn new(name: GatewayName, upstream: &Endpoint, meter: Arc<GatewayMeter>) -> Self {
        // an endpoint's host is a name of letters, digits and hyphens, or an address
        let host = HeaderValue::try_from(upstream.to_string());
        Self {
            name,
            site: upstream.clone().into(),
            meter,
            host: host.unwrap_or(HeaderValue::from_static("")),
            number: None,
            cookie: None,
            resting: Resting::default(),
        }
    }
}

/// By what clients who come again are known, as far as gateways have to be marked for that.
#[derive(Clone)]
pub enum Marks {
    /// By nothing of the kind.
    None,
    /// By the session cookies that gateways set.
    Sessions(Arc<Sessions>),
    /// By a cookie of ours.
    Cookie(AffinityCookie),
}

/// All gateways of a snapshot, in its order. Good as long as the snapshot's generation stays.
pub struct Gates {
    sites: Arc<Sites>,
    generation: Option<u64>,
    gates: Vec<Rc<Gate>>,
}

impl Gates {
    /// None yet. What is known of where they are is shared through `sites`.
    pub fn new(sites: &Arc<Sites>) -> Self {
        Self { sites: Arc::clone(sites), generation: None, gates: Vec::new() }
    }

    /// Whether they are those of the snapshot.
    pub fn fit(&self, snapshot: &Snapshot) -> bool {
        self.generation == Some(snapshot.generation)
    }

    /// Goes over to those of the snapshot. One that stays where it was is kept as it is.
    pub fn go_over_to(&mut self, snapshot: &Snapshot, meter: &Meter, marks: &Marks) {
        let old = std::mem::take(&mut self.gates);
        let names = || snapshot.gateways.iter().map(|view| &view.gateway.name);
        let mut numbers = match marks {
            Marks::Sessions(sessions) => sessions.enrol(snapshot),
            Marks::None | Marks::Cookie(_) => Vec::new(),
        }
        .into_iter();
        let sites = &self.sites;
        let gates = snapshot.gateways.iter().zip(meter.of_gateways(names())).map(|(view, meter)| {
            let (name, upstream) = (&view.gateway.name, &view.gateway.upstream);
            let number = numbers.next().flatten();
            let same = |gate: &&Rc<Gate>| {
                gate.name == *name && gate.site.endpoint() == upstream && gate.number == number
            };
            if let Some(gate) = old.iter().find(same) {
                return Rc::clone(gate);
            }
            let cookie = match marks {
                Marks::Cookie(cookie) => Some(cookie.value_for(name)),
                Marks::None | Marks::Sessions(_) => None,
            };
            let gate = Gate::new(name.clone(), upstream, meter);
            Rc::new(Gate { site: sites.of(upstream), number, cookie, ..gate })
        });
        self.gates = gates.collect();
        for gone in old.iter().filter(|old| !self.gates.iter().any(|gate| Rc::ptr_eq(gate, old))) {
            gone.resting.close();
        }
        self.generation = Some(snapshot.generation);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Gate>> {
        self.gates.iter()
    }

    /// The gateway at a place of the snapshot.
    pub fn get(&self, index: usize) -> Option<&Rc<Gate>> {
        self.gates.get(index)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::fleet::{Balance, FleetSettings, Gateway, Roster, Thresholds, Weights};
    use crate::net::clock::now;

    #[tokio::test]
    async fn doors_share_what_is_known_of_a_name_also_with_those_that_take_their_place() {
        let gateway = Gateway { has_agent: false, ..Gateway::plain("gw1", "localhost") };
        let settings = FleetSettings {
            gateways: vec![Arc::new(gateway)],
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance::default(),
        };
        let snapshot = Roster::new(settings, now()).snapshot();
        let (sites, meter) = (Arc::default(), Meter::default());
        let door = || {
            let mut gates = Gates::new(&sites);
            gates.go_over_to(&snapshot, &meter, &Marks::None);
            gates
        };
        let (old, other) = (door(), door());
        let site = |gates: &Gates| gates.get(0).unwrap().site.clone();
        assert!(!site(&old).knows_addresses());
        site(&old).addresses().await.unwrap();
        assert!(site(&other).knows_addresses());
        let new = door();
        drop((old, other));
        assert!(site(&new).knows_addresses());
    }
}
