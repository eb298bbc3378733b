use std::rc::Rc;
use std::sync::Arc;

use super::meter::{GatewayMeter, Meter};
use crate::fleet::{GatewayName, Snapshot};
use crate::net::site::Site;

/// One gateway as one door of one worker reaches it.
pub struct Gate {
    /// The gateway.
    pub name: GatewayName,
    /// Where connections to it go.
    pub site: Site,
    /// What is counted of it here.
    pub meter: Arc<GatewayMeter>,
}

/// All gateways of a snapshot, in its order. Good as long as the snapshot's generation stays.
#[derive(Default)]
pub struct Gates {
    generation: Option<u64>,
    gates: Vec<Rc<Gate>>,
}

impl Gates {
    /// Whether they are those of the snapshot.
    pub fn fit(&self, snapshot: &Snapshot) -> bool {
        self.generation == Some(snapshot.generation)
    }

    /// Goes over to those of the snapshot. One that stays where it was is kept as it is.
    pub fn go_over_to(&mut self, snapshot: &Snapshot, meter: &Meter) {
        let old = std::mem::take(&mut self.gates);
        let meters = meter.of_gateways(snapshot.gateways.iter().map(|view| &view.gateway.name));
        let gates = snapshot.gateways.iter().zip(meters).map(|(view, meter)| {
            let (name, upstream) = (&view.gateway.name, &view.gateway.upstream);
            let same = |gate: &&Rc<Gate>| gate.name == *name && gate.site.endpoint() == upstream;
            match old.iter().find(same) {
                Some(gate) => Rc::clone(gate),
                None => Rc::new(Gate { name: name.clone(), site: upstream.clone().into(), meter }),
            }
        });
        self.gates = gates.collect();
        self.generation = Some(snapshot.generation);
    }

    /// The gateway at a place of the snapshot.
    pub fn get(&self, index: usize) -> Option<&Rc<Gate>> {
        self.gates.get(index)
    }
}
