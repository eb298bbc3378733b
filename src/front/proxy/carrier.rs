use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Response, header};

use super::cookie;
use super::headers::{self, Wish};
use super::open::{OpenError, Opener};
use super::pool::{self, Lease, Own};
use super::trip::Trip;
use super::visitor::Visitor;
use crate::fleet::By;
use crate::front::door::Door;
use crate::front::gate::Gate;
use crate::front::sessions::Sessions;
use crate::front::settings::{Affinity, Proxy};

/// How one door of one worker takes requests to gateways.
pub struct Carrier {
    /// As configured.
    pub settings: Arc<Proxy>,
    /// How long a request may stand still until its response begins.
    pub standstill: Duration,
    opener: Opener,
    sessions: Arc<Sessions>,
    /// Those whose connections are their own.
    clients: RefCell<Vec<Weak<Own>>>,
}

/// A timeout of one exchange is told to the client before its connection's is over.
const MARGIN: Duration = Duration::from_secs(1);

/// A gateway for a request.
pub struct Chosen {
    /// The gateway.
    pub gate: Rc<Gate>,
    /// Whether the client has a session there.
    pub is_known: bool,
}

fn newcomer(gate: Option<Rc<Gate>>) -> Option<Chosen> {
    gate.map(|gate| Chosen { gate, is_known: false })
}

/// A session cookie, as long as its tunnel lasts.
pub struct Session {
    name: Box<str>,
    value: Box<[u8]>,
}

impl Carrier {
    /// One that remembers sessions together with all others.
    pub fn new(settings: &Arc<Proxy>, idle_timeout: Duration, sessions: &Arc<Sessions>) -> Self {
        // TCP and TLS have a timeout each; a connection that was kept may take until its end to turn out dead
        let attempt = settings.upstream.connect_timeout * 2 + settings.response_timeout * 2;
        Self {
            settings: Arc::clone(settings),
            standstill: idle_timeout.max(attempt * (settings.retries + 1) + MARGIN),
            opener: Opener::new(Arc::clone(settings)),
            sessions: Arc::clone(sessions),
            clients: RefCell::default(),
        }
    }

    /// The gateway for a request: the one that its client has been at, if that still works; else one for a
    /// newcomer.
    pub fn choose(&self, visitor: &Visitor, trip: &mut Trip<'_>, now: Instant) -> Option<Chosen> {
        let door = &visitor.door;
        let Trip { client, own, head, wish, tried, .. } = trip;
        // a tunnel is what loads a gateway; where those who come again are known, so is a newcomer
        let is_first = tried.is_empty();
        let is_tunnel = is_first && *wish != Wish::Exchange;
        let known = match &self.settings.affinity {
            Affinity::None => return newcomer(door.choose(self.by(door), is_tunnel, tried, now)),
            Affinity::SourceAddress => {
                return newcomer(door.choose(By::Source(*client), is_tunnel, tried, now));
            }
            Affinity::Session(names) => {
                let mut numbers = names
                    .iter()
                    .filter_map(|name| self.sessions.find(name, cookie::find(&head.headers, name)?, now));
                numbers.next().and_then(|number| door.return_to(|gate| gate.number == Some(number), tried))
            }
            Affinity::Cookie(own) => cookie::find(&head.headers, &own.name)
                .and_then(|value| door.return_to(|gate| is_cookie_of(gate, value), tried)),
        };
        if let Some(gate) = known {
            return Some(Chosen { gate, is_known: true });
        }
        // VPN clients begin without any cookie, and mean the gateway that has answered them
        let last = own.last.borrow();
        let last = door.return_to(|gate| std::ptr::eq(gate, last.as_ptr()), tried);
        let chosen = last.or_else(|| door.choose(self.by(door), is_first, tried, now));
        // one that is drained, full or no longer the active one may be where a session is that nobody here knows
        let has_session = *wish == Wish::Connect && self.session(&head.headers).is_some();
        let anyone = || if has_session { door.return_to_any(tried) } else { None };
        newcomer(chosen.or_else(anyone))
    }

    fn by(&self, door: &Door) -> By {
        door.by(self.settings.upstream.policy)
    }

    /// Takes care that the client finds the gateway again that has answered.
    pub fn remember(
        &self,
        request: &HeaderMap,
        response: &HeaderMap,
        out: &mut Response<()>,
        gate: &Gate,
        now: Instant,
    ) {
        match &self.settings.affinity {
            Affinity::None | Affinity::SourceAddress => {}
            Affinity::Session(names) => {
                let Some(number) = gate.number else { return };
                for (name, value) in cookie::set_cookies(response) {
                    if let Some(name) = names.iter().find(|known| known.as_bytes() == name) {
                        self.sessions.learn(name, value, number, now);
                    }
                }
            }
            Affinity::Cookie(own) => {
                let Some(value) = &gate.cookie else { return };
                if cookie::find(request, &own.name).is_some_and(|value| is_cookie_of(gate, value)) {
                    return;
                }
                let cookie = format!("{}={value}; Path=/; Secure; HttpOnly; SameSite=Lax", own.name);
                if let Ok(cookie) = HeaderValue::try_from(cookie) {
                    out.headers_mut().append(header::SET_COOKIE, cookie);
                }
            }
        }
    }

    /// The session that a request belongs to.
    pub fn session(&self, request: &HeaderMap) -> Option<Session> {
        let Affinity::Session(names) = &self.settings.affinity else { return None };
        let mut known = names.iter().filter_map(|name| Some((name, cookie::find(request, name)?)));
        let (name, value) = known.next()?;
        Some(Session { name: name.clone(), value: value.into() })
    }

    /// Remembers that this session is at this gateway.
    pub fn keep(&self, session: &Session, gate: &Gate, now: Instant) {
        if let Some(number) = gate.number {
            self.sessions.learn(&session.name, &session.value, number, now);
        }
    }

    /// The name of the cookie that is ours alone.
    pub fn own_cookie(&self) -> Option<&str> {
        match &self.settings.affinity {
            Affinity::Cookie(own) => Some(&own.name),
            Affinity::None | Affinity::SourceAddress | Affinity::Session(_) => None,
        }
    }

    /// A connection to the gateway that is open already and will do for the request.
    pub fn take(&self, trip: &Trip<'_>, gate: &Rc<Gate>, now: Instant) -> Option<Lease> {
        if !self.settings.persistent_connections {
            return None;
        }
        let fresh = !trip.nature.may_use_a_connection_that_has_waited();
        match trip.wish {
            _ if !self.shares(trip) => trip.own.take(gate, fresh, now),
            Wish::Exchange => pool::take(gate, self.settings.idle_per_gateway, fresh, now),
            // what others have asked for over a connection is not to decide what becomes of a tunnel
            Wish::Upgrade | Wish::Connect => None,
        }
    }

    /// A new connection to the gateway.
    pub async fn open(
        &self,
        visitor: &Visitor,
        trip: &Trip<'_>,
        gate: &Rc<Gate>,
    ) -> Result<Lease, OpenError> {
        let lease = self.opener.open(gate, visitor.asker.client, visitor.local).await?;
        Ok(if self.shares(trip) { lease } else { lease.owned_by(&trip.own) })
    }

    /// Whether one client after the other may use the connection: not where the gateway is told of one, or
    /// finds out by itself, and takes all that comes for that one's.
    fn shares(&self, trip: &Trip<'_>) -> bool {
        self.settings.shares() && !headers::logs_connection_in(&trip.head.headers)
    }

    /// What a client has of his own to begin with. Its connections are looked after.
    pub fn introduce(&self) -> Rc<Own> {
        let own = Rc::default();
        self.clients.borrow_mut().push(Rc::downgrade(&own));
        own
    }

    /// Closes what has rested for too long of clients' own connections, and what leads to a gate that nobody
    /// may come to.
    pub fn sweep(&self, is_open: impl Fn(&Rc<Gate>) -> bool, now: Instant) {
        self.clients.borrow_mut().retain(|client| {
            let client = client.upgrade();
            client.inspect(|own| own.sweep(&is_open, now)).is_some()
        });
    }
}

fn is_cookie_of(gate: &Gate, value: &[u8]) -> bool {
    gate.cookie.as_deref().is_some_and(|own| own.as_bytes() == value)
}
