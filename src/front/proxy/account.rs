use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use crate::front::access::{Access, Event};
use crate::front::door::Door;
use crate::front::gate::Gate;
use crate::front::meter::Fate;
use crate::net::client::http_in_words;

/// What is told of one request when it is over, however it ends.
pub struct Account {
    door: Rc<Door>,
    client: SocketAddr,
    received: Instant,
    gate: Option<Rc<Gate>>,
    status: Option<StatusCode>,
    /// The body's bytes that have gone to the client.
    pub bytes: u64,
    is_told: bool,
}

impl Account {
    /// Of a request whose head has come.
    pub fn new(door: &Rc<Door>, client: SocketAddr, received: Instant) -> Self {
        let door = Rc::clone(door);
        Self { door, client, received, gate: None, status: None, bytes: 0, is_told: false }
    }

    /// Who has sent it.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// This gateway is asked.
    pub fn asked(&mut self, gate: &Rc<Gate>) {
        self.gate = Some(Rc::clone(gate));
    }

    /// Notes the answer.
    pub fn answered(&mut self, status: StatusCode) {
        self.door.meter.responded(status);
        self.status = Some(status);
    }

    /// The response breaks off.
    pub fn broke_off(&self, cause: &hyper::Error) {
        let Some(gate) = &self.gate else { return };
        gate.meter.request(Fate::Broken);
        let why = format!("{}: the response breaks off: {}", gate.name, http_in_words(cause));
        self.door.tell(self.client, &why);
    }

    /// The request has become a tunnel, which has a line of its own. Gives the status of the answer.
    pub fn becomes_tunnel(mut self) -> Option<StatusCode> {
        self.is_told = true;
        self.status
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        self.door.log(|| Access {
            event: Event::Request(self.status),
            client: self.client,
            listener: Arc::clone(&self.door.plan.settings.name),
            gateway: self.gate.as_ref().map(|gate| gate.name.clone()),
            bytes: self.bytes,
            took: self.received.elapsed(),
        });
    }
}
