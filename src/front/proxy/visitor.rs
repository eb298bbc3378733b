use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use http::request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::account::Account;
use super::carrier::{Carrier, Session};
use super::forwarded::{self, Asker};
use super::pool::{Lease, Own};
use crate::front::door::Door;
use crate::front::gate::Gate;
use crate::front::limit::Place;
use crate::front::relay::{Side, relay};
use crate::front::tunnels::Record;

/// One client's connection, as far as its requests share something.
pub struct Visitor {
    /// Where it has come.
    pub door: Rc<Door>,
    /// How this door takes requests to gateways.
    pub carrier: Rc<Carrier>,
    /// Who it is.
    pub asker: Asker,
    /// The address that it has come to.
    pub local: SocketAddr,
    /// Of whom the last request was, and what is his alone.
    current: RefCell<(IpAddr, Rc<Own>)>,
    /// The tunnel that the connection becomes after the response that is on its way.
    pub granted: RefCell<Option<Granted>>,
}

impl Visitor {
    /// Someone who has just come.
    pub fn new(door: Rc<Door>, carrier: Rc<Carrier>, asker: Asker, local: SocketAddr) -> Self {
        let current = RefCell::new((asker.client.ip(), carrier.introduce()));
        Self { door, carrier, asker, local, current, granted: RefCell::default() }
    }

    /// Who has sent a request, as far as those who may say so do.
    pub fn client(&self, head: &request::Parts) -> SocketAddr {
        let client = self.asker.client;
        let forwarded = self.carrier.settings.forwarded;
        let trusts = |address| self.carrier.settings.upstream.trusts(address);
        match self.asker.is_trusted.then(|| forwarded::origin(&head.headers, forwarded, trusts)).flatten() {
            // the port is not told
            Some(origin) => SocketAddr::new(origin, 0),
            None => client,
        }
    }

    /// What is this client's alone. A trusted proxy may bring one client after the other over its connection;
    /// what was another's is gone then.
    pub fn own_of(&self, client: IpAddr) -> Rc<Own> {
        let mut current = self.current.borrow_mut();
        if current.0 != client {
            *current = (client, self.carrier.introduce());
        }
        Rc::clone(&current.1)
    }
}

/// A tunnel that a gateway has granted.
pub struct Granted {
    /// The connection to the gateway.
    pub lease: Lease,
    /// The gateway.
    pub gate: Rc<Gate>,
    /// What is told of the request until the tunnel begins.
    pub account: Account,
    /// The session that it belongs to.
    pub session: Option<Session>,
}

impl Granted {
    /// Runs the tunnel until it ends.
    pub async fn tunnel<S>(self, visitor: Rc<Visitor>, client: Side<S>, place: Rc<Place>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { lease, gate, account, session } = self;
        let client_address = account.client();
        let Some((stream, early, active)) = lease.into_stream().await else { return };
        let status = account.becomes_tunnel();
        let record = Record::new(&visitor.door, Rc::clone(&gate), client_address, status, active, place);
        // the stream has counted what it has read
        record.carried.has_counted(client.early.len());
        let idle_timeout = visitor.carrier.settings.upstream.tunnel_idle_timeout;
        let ended = relay(client, Side { stream, early }, idle_timeout, &record.carried).await;
        record.ended(ended);
        if let Some(session) = session {
            // it has made no request for as long as it lasted, and its client may be about to come again
            visitor.carrier.keep(&session, &gate, Instant::now());
        }
    }
}
