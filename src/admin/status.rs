//! The front door's state as a document: what `GET /api/v1/status` answers and `vestibule status` reads.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;

use super::listener::ListenerStatus;
use super::peers::{PeerState, PeerStatus};
use super::summary;
use super::vrrp::VrrpStatus;
use crate::fleet::{
    Ask, Balance, CheckOutcome, CheckResult, Exclusion, FenceReading, GatewayView, Lease, LoadReading,
    Moment, Role, SELF, Snapshot, State, Vpn, VpnMode, VrrpId, VrrpMode, exclusion,
};

/// Everything there is to know of a front door at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What is wrong, in words; or that nothing is.
    pub summary: String,
    /// The front door itself.
    pub node: NodeStatus,
    /// The moment it describes.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// In the order of the configuration.
    pub gateways: Vec<GatewayStatus>,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerEntry>,
    /// The virtual addresses that are shared with another front door; none: this one is alone, and always active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vrrp: Vec<VrrpStatus>,
    /// The other front doors, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerStatus>,
}

/// The front door itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// When the process started.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// The number of the snapshot described; grows with every change.
    pub snapshot: u64,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Its name in the configuration.
    pub name: String,
    /// In one word.
    #[serde(with = "StateWord")]
    pub state: State,
    /// Since when it is in that state.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why it is in that state; empty before the first conclusion.
    pub reason: String,
    /// Ties it to listeners.
    pub vrrp_id: Option<u8>,
    /// What it offers.
    #[serde(with = "VpnModeWord")]
    pub vpn_mode: VpnMode,
    /// Its part in a pair of gateways that shares an address.
    #[serde(with = "VrrpModeWord")]
    pub vrrp_mode: VrrpMode,
    /// Its part in failsafe mode; `None` in load balancing, and where nobody is ever sent to it.
    #[serde(with = "RoleWord")]
    pub role: Option<Role>,
    /// Where a browser or SSL VPN client is sent: `host:port`.
    pub ssl_endpoint: String,
    /// Whether newcomers may be sent to it.
    pub availability: Availability,
    /// Its last load report; `None` if none ever came.
    pub load: Option<LoadStatus>,
    /// Newcomers sent to it that no report shows yet.
    pub pending: u64,
    /// It has come back and is still being filled gradually.
    pub filling: bool,
    /// Who has taken it out, and why.
    pub drain: Option<DrainStatus>,
    /// The firewall blocks on it; `None` where nobody can set any, as far as is known.
    pub fence: Option<FenceStatus>,
    /// The checks of its last round.
    pub checks: Vec<CheckStatus>,
}

/// Availability by kind of VPN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// For native clients.
    pub native: Available,
    /// For browsers and SSL VPN clients.
    pub ssl: Available,
}

/// Whether newcomers of one kind may be sent to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Available {
    /// They may.
    pub available: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// A load report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// How old it is.
    pub age_seconds: f64,
    /// It is too old to count.
    pub stale: bool,
    /// The weighted mean of the criteria, 0..1; `None` if none is known that counts.
    pub score: Option<f64>,
    /// What the score is made of.
    pub criteria: Criteria,
    /// VPN sessions.
    pub tunnels: Option<u64>,
    /// VPN sessions it can hold.
    pub tunnels_max: Option<u64>,
    /// Addresses lent to clients.
    pub pool_used: Option<u64>,
    /// Addresses it has to lend.
    pub pool_size: Option<u64>,
}

/// The four criteria as ratios, 0..1; `None` where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// Bits per second of capacity, in the busier direction.
    pub throughput: Option<f64>,
    /// VPN sessions of the most it can hold.
    pub tunnels: Option<f64>,
    /// Pool addresses lent of those it has.
    pub pool: Option<f64>,
    /// Processor use.
    pub cpu: Option<f64>,
}

/// A gateway that newcomers are kept from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Whose wish it is.
    pub by: DrainedBy,
    /// Which administrator: `uid 0`, or an address; `None` where it is no administrator's wish.
    pub who: Option<String>,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// Who has taken a gateway out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainedBy {
    /// An administrator, on this front door.
    Administrator,
    /// The gateway's own agent.
    Agent,
}

/// The firewall blocks on a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FenceStatus {
    /// What sets them: the word of its agent's report, or `local` where only this host's own firewall does.
    pub engine: String,
    /// Whether newcomers are refused.
    pub blocked: bool,
    /// Which ports its agent refuses them on, as `tcp/443`.
    pub ports: Vec<String>,
    /// Who wants them refused.
    pub holders: Vec<HolderStatus>,
    /// Who keeps its agent from refusing them by itself.
    pub kept_open_by: Vec<KeeperStatus>,
}

/// One who keeps a block up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HolderStatus {
    /// A front door's name, or `self`: the gateway's agent.
    pub by: String,
    /// What for.
    pub reason: String,
    /// How much longer, unless it is renewed.
    pub seconds_left: f64,
}

/// One who keeps a gateway open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeeperStatus {
    /// A front door's name.
    pub by: String,
    /// How much longer, unless it is renewed.
    pub seconds_left: f64,
}

/// One check of the last round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name in messages and metrics.
    pub name: String,
    /// What came of it.
    pub result: CheckWord,
    /// What was seen, or why it failed.
    pub detail: String,
    /// How long it took.
    pub milliseconds: f64,
}

/// What came of a check, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckWord {
    /// As it should.
    Pass,
    /// Not as it should.
    Fail,
    /// No answer in time.
    Timeout,
    /// It could not be tried, for a reason on this host.
    Inconclusive,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerEntry {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it does with those who come: the word of the configuration.
    pub mode: String,
    /// Limits its gateways.
    pub vrrp_id: Option<u8>,
    /// The kind of VPN that its clients want.
    #[serde(with = "VpnWord")]
    pub vpn: Vpn,
    /// It takes connections.
    pub open: bool,
    /// Gateways that it may send clients to, whatever their state.
    pub gateways: u64,
    /// Those of them that are available.
    pub available: u64,
    /// Connections at this moment.
    pub connections: u64,
    /// Of these, tunnels to gateways: upgraded, CONNECT and passthrough connections.
    pub tunnels: u64,
    /// Clients sent to a gateway since the start.
    pub redirects: u64,
    /// Answers that named no gateway since the start.
    pub unavailable: u64,
}

/// Which front door this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in the configuration.
    pub name: String,
    /// When the process started.
    pub started: SystemTime,
}

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Status {
    /// Describes `snapshot` and `listeners` as they are `now`.
    pub fn of(snapshot: &Snapshot, listeners: &[ListenerStatus], node: &Node, now: Moment) -> Self {
        Self {
            summary: summary::sentence(snapshot, listeners, now),
            node: NodeStatus {
                name: node.name.clone(),
                version: VERSION.into(),
                started: date(node.started),
                snapshot: snapshot.number,
            },
            at: date(now.wall),
            gateways: snapshot
                .gateways
                .iter()
                .map(|view| GatewayStatus::of(view, snapshot, now.instant))
                .collect(),
            listeners: listeners.iter().map(|l| ListenerEntry::of(l, snapshot, now.instant)).collect(),
            vrrp: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// The same, with the virtual addresses. What is wrong with them is the first thing that is said.
    pub fn sharing(self, vrrp: Vec<VrrpStatus>) -> Self {
        let conflicts = vrrp.iter().filter_map(|vrrp| vrrp.conflict.clone());
        let summary = conflicts.chain([self.summary]).collect::<Vec<_>>().join(". ");
        Self { vrrp, summary, ..self }
    }

    /// The same, with the other front doors. One that is not heard is said after everything else: nobody who comes notices
    /// it, yet.
    pub fn beside(self, peers: Vec<PeerStatus>) -> Self {
        let silent = peers.iter().filter(|peer| peer.state == PeerState::Silent).map(|peer| {
            let name = peer.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
            let url = &peer.url;
            format!("The other front door {name}({url}) is silent: {}", peer.reason)
        });
        // that all is well is a sentence with its full stop; what is wrong is not
        let summary = self.summary.trim_end_matches('.').to_owned();
        let summary = match silent.collect::<Vec<_>>().as_slice() {
            [] => self.summary,
            silent => format!("{summary}. {}", silent.join(". ")),
        };
        Self { peers, summary, ..self }
    }

    /// Why the front door is not fit to own the virtual address, one sentence a reason; empty if it is fit:
    /// every listener is open, and at least one of them has an available gateway among those it may send
    /// clients to. In failsafe mode one that waits for its turn counts, too: whom a standby follows may have chosen one
    /// that is down from here, or may not have seen yet that it is; once it is gone, this front door chooses.
    pub fn unfitness(&self) -> Vec<String> {
        if self.listeners.is_empty() {
            return vec!["there is no listener".into()];
        }
        let closed = self.listeners.iter().filter(|listener| !listener.open);
        let mut reasons: Vec<_> =
            closed.map(|l| format!("listener {} ({}) is not open", l.name, l.address)).collect();
        let has_one = |listener: &ListenerEntry| {
            let own = || self.gateways.iter().filter(|gateway| listener.is_for(gateway));
            listener.available > 0 || own().any(|gateway| gateway.waits_for_its_turn(listener.vpn))
        };
        if !self.listeners.iter().any(has_one) {
            reasons.extend(self.listeners.iter().map(|listener| self.without_gateway(listener)));
        }
        reasons
    }

    /// That no gateway is available to a listener, and why.
    fn without_gateway(&self, listener: &ListenerEntry) -> String {
        let own = self.gateways.iter().filter(|gateway| listener.is_for(gateway));
        let reasons: Vec<_> = own
            .map(|gateway| {
                let reason = gateway.availability.of(listener.vpn).reason.as_deref();
                format!("{}: {}", gateway.name, reason.unwrap_or_default())
            })
            .collect();
        let named = if reasons.is_empty() { "there is none for it".into() } else { reasons.join(", ") };
        format!("listener {} ({}) has no available gateway ({named})", listener.name, listener.address)
    }
}

impl GatewayStatus {
    /// Why no newcomer of any kind may be sent to it; `None` if some may.
    pub fn unavailable_because(&self) -> Option<&str> {
        let Availability { native, ssl } = &self.availability;
        if native.available || ssl.available {
            return None;
        }
        // what it does not offer is no reason where it offers the other
        let telling = if self.vpn_mode == VpnMode::Ssl { ssl } else { native };
        telling.reason.as_deref()
    }

    /// Whether nothing speaks against it but that another one is the active one.
    fn waits_for_its_turn(&self, vpn: Vpn) -> bool {
        self.availability.of(vpn).reason.as_deref() == Some(Exclusion::Standby.as_str())
    }

    fn of(view: &GatewayView, snapshot: &Snapshot, now: Instant) -> Self {
        let balance = &snapshot.balance;
        let available = |vpn| {
            let reason = exclusion(view, Ask { vrrp_id: None, vpn }, balance, now);
            Available { available: reason.is_none(), reason: reason.map(|r| r.as_str().to_owned()) }
        };
        Self {
            name: view.gateway.name.to_string(),
            state: view.state(),
            since: date(view.since().wall),
            reason: view.reason().to_string(),
            vrrp_id: view.gateway.vrrp_id.map(VrrpId::get),
            vpn_mode: view.gateway.vpn_mode,
            vrrp_mode: view.gateway.vrrp_mode,
            role: view.role,
            ssl_endpoint: view.gateway.ssl_endpoint.to_string(),
            availability: Availability { native: available(Vpn::Native), ssl: available(Vpn::Ssl) },
            load: view.load.as_ref().map(|reading| {
                let stale = view.fresh_load(now, balance.stale_after).is_none();
                LoadStatus::of(reading, stale, now)
            }),
            pending: view.pending(),
            filling: view
                .filling_since
                .is_some_and(|since| now.saturating_duration_since(since) < balance.slow_start),
            drain: DrainStatus::of(view),
            fence: FenceStatus::of(view, balance, now),
            checks: view.checks.iter().map(CheckStatus::of).collect(),
        }
    }
}

impl Availability {
    /// For one kind of VPN.
    pub fn of(&self, vpn: Vpn) -> &Available {
        match vpn {
            Vpn::Native => &self.native,
            Vpn::Ssl => &self.ssl,
        }
    }
}

impl LoadStatus {
    fn of(reading: &LoadReading, stale: bool, now: Instant) -> Self {
        let LoadReading { load, at, score } = reading;
        let [throughput, tunnels, pool, cpu] = score.components.0;
        Self {
            age_seconds: (at.until(now).as_millis() as f64) / 1000.0,
            stale,
            score: score.total,
            criteria: Criteria { throughput, tunnels, pool, cpu },
            tunnels: load.tunnels,
            tunnels_max: load.tunnels_max,
            pool_used: load.pool_used,
            pool_size: load.pool_size,
        }
    }
}

impl DrainStatus {
    fn of(view: &GatewayView) -> Option<Self> {
        let (reason, since) = view.draining()?;
        let by = if view.drain.is_some() { DrainedBy::Administrator } else { DrainedBy::Agent };
        let who = view.drain.as_ref().map(|drain| drain.by.to_string());
        Some(Self { by, who, reason: reason.to_string(), since: date(since.wall) })
    }
}

impl FenceStatus {
    pub(super) fn of(view: &GatewayView, balance: &Balance, now: Instant) -> Option<Self> {
        let local = view.local_block.as_ref().filter(|block| block.is_alive(now));
        let reading = view.fence.as_ref();
        // an agent without an engine has no part in a block of this host
        let engine = match reading {
            Some(reading) if reading.report.can_block() || local.is_none() => &*reading.report.engine,
            _ => "local",
        };
        if reading.is_none() && local.is_none() {
            return None;
        }
        let left =
            |reading: &FenceReading, lease: &Lease| tenths(reading.left(lease, now).unwrap_or_default());
        let mut holders = Vec::new();
        let mut kept_open_by = Vec::new();
        if let Some(reading) = reading {
            holders.extend(reading.holders(now).map(|holder| HolderStatus {
                by: holder.lease.by.to_string(),
                reason: holder.reason.to_string(),
                seconds_left: left(reading, &holder.lease),
            }));
            let keeper =
                |lease: &Lease| KeeperStatus { by: lease.by.to_string(), seconds_left: left(reading, lease) };
            kept_open_by.extend(reading.kept_open_by(now).map(keeper));
        }
        holders.extend(local.map(|block| HolderStatus {
            by: block.by.to_string(),
            reason: block.reason.to_string(),
            seconds_left: tenths(block.until.saturating_duration_since(now)),
        }));
        Some(Self {
            engine: engine.to_owned(),
            blocked: view.is_fenced(now, balance.stale_after),
            ports: reading.iter().flat_map(|r| r.report.ports.iter()).map(ToString::to_string).collect(),
            holders,
            kept_open_by,
        })
    }

    /// Who blocks it and why, in a few words; `None` if nobody does.
    pub fn in_words(&self) -> Option<String> {
        if !self.blocked {
            return None;
        }
        let holders: Vec<_> = self.blockers().map(|h| format!("by {}: {}", h.by, h.reason)).collect();
        Some(if holders.is_empty() { "though nobody wants it to be".to_owned() } else { holders.join(", ") })
    }

    /// The holders whose blocks are in force: what the gateway holds by itself is not while it is kept open.
    pub(super) fn blockers(&self) -> impl Iterator<Item = &HolderStatus> {
        let is_kept_open = !self.kept_open_by.is_empty();
        self.holders.iter().filter(move |holder| !(is_kept_open && holder.by == SELF))
    }
}

/// In seconds, to the tenth.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

impl CheckStatus {
    fn of(check: &CheckResult) -> Self {
        Self {
            name: check.check.to_string(),
            result: CheckWord::of(&check.outcome),
            detail: check.outcome.detail().into_owned(),
            milliseconds: check.took.as_micros() as f64 / 1000.0,
        }
    }
}

impl CheckWord {
    /// The word for an outcome.
    pub fn of(outcome: &CheckOutcome) -> Self {
        match outcome {
            CheckOutcome::Pass(_) => Self::Pass,
            CheckOutcome::Fail(_) => Self::Fail,
            CheckOutcome::Timeout(_) => Self::Timeout,
            CheckOutcome::Inconclusive(_) => Self::Inconclusive,
        }
    }

    /// The word used in metrics and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl ListenerEntry {
    fn of(listener: &ListenerStatus, snapshot: &Snapshot, now: Instant) -> Self {
        let views = || snapshot.gateways.iter().filter(|view| listener.is_for(view));
        let ask = listener.ask();
        let available = views().filter(|view| exclusion(view, ask, &snapshot.balance, now).is_none());
        Self {
            name: listener.name.clone(),
            address: listener.address,
            mode: listener.mode.into(),
            vrrp_id: listener.vrrp_id.map(VrrpId::get),
            vpn: listener.vpn,
            open: listener.open,
            gateways: views().count() as u64,
            available: available.count() as u64,
            connections: listener.connections,
            tunnels: listener.tunnels,
            redirects: listener.redirects,
            unavailable: listener.unavailable,
        }
    }

    /// Whether it may send clients to that gateway, whatever state it is in.
    fn is_for(&self, gateway: &GatewayStatus) -> bool {
        (self.vrrp_id.is_none() || gateway.vrrp_id == self.vrrp_id) && gateway.vpn_mode.offers(self.vpn)
    }
}

/// How [`State`] is written in JSON; the same words as [`State::as_str`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "State", rename_all = "lowercase")]
enum StateWord {
    Up,
    Down,
    Draining,
    Unknown,
}

/// How [`VpnMode`] is written in JSON; the same words as [`VpnMode::as_str`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "VpnMode", rename_all = "kebab-case")]
enum VpnModeWord {
    Native,
    Ssl,
    Both,
    VrrpOnly,
}

/// How [`VrrpMode`] is written in JSON; the same words as [`VrrpMode::as_str`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "VrrpMode", rename_all = "lowercase")]
enum VrrpModeWord {
    Inactive,
    Master,
    Backup,
}

/// How an `Option` of a [`Role`] is written in JSON; the same words as [`Role::as_str`], or null.
struct RoleWord;

impl RoleWord {
    fn serialize<S: Serializer>(role: &Option<Role>, serializer: S) -> Result<S::Ok, S::Error> {
        role.map(Role::as_str).serialize(serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Role>, D::Error> {
        let word: Option<String> = Option::deserialize(deserializer)?;
        match word.as_deref() {
            None => Ok(None),
            Some("active") => Ok(Some(Role::Active)),
            Some("standby") => Ok(Some(Role::Standby)),
            Some(_) => Err(serde::de::Error::custom("a role is 'active' or 'standby'")),
        }
    }
}

/// How [`Vpn`] is written in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Vpn", rename_all = "lowercase")]
enum VpnWord {
    Native,
    Ssl,
}

/// To the millisecond: more is noise to whoever reads it.
fn date(time: SystemTime) -> OffsetDateTime {
    let time = OffsetDateTime::from(time);
    time.replace_millisecond(time.millisecond()).unwrap_or(time)
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::fleet::{
        Balance, BalanceMode, Elsewhere, FenceReport, FleetSettings, Gateway, GatewayName, Holder, Lead,
        Load, LocalBlock, Observation, Roster, Service, ServiceReport, Thresholds, Weights, WhenNone,
    };

    /// A farm whose clock starts at 12:00:00 on 2 May 2026.
    pub struct Farm {
        pub roster: Roster,
        start: Moment,
        pub now: Moment,
    }

    impl Farm {
        /// The same in failsafe mode.
        pub fn failsafe(count: u8) -> Self {
            let mut farm = Self::new(count);
            let snapshot = farm.roster.snapshot();
            let settings = FleetSettings {
                gateways: snapshot.gateways.iter().map(|view| std::sync::Arc::clone(&view.gateway)).collect(),
                thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
                weights: Weights::default(),
                balance: Balance { mode: BalanceMode::Failsafe { failback: true }, ..snapshot.balance },
            };
            farm.roster = Roster::new(settings, farm.start);
            farm
        }

        /// Gateways gw1, gw2 … at 192.168.200.1:443 …, all unknown.
        pub fn new(count: u8) -> Self {
            Self::with(count, |_, _| {})
        }

        pub fn with(count: u8, define: impl Fn(u8, &mut Gateway)) -> Self {
            let wall = SystemTime::from(time::macros::datetime!(2026-05-02 12:00:00 UTC));
            let start = Moment { instant: Instant::now(), wall };
            let gateways = (1..=count).map(|i| {
                let mut gateway = Gateway {
                    vrrp_id: VrrpId::new(31),
                    tunnels_max: Some(1000),
                    ..Gateway::plain(&format!("gw{i}"), &format!("192.168.200.{i}"))
                };
                define(i, &mut gateway);
                std::sync::Arc::new(gateway)
            });
            let settings = FleetSettings {
                gateways: gateways.collect(),
                thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
                weights: Weights::default(),
                balance: Balance {
                    mode: BalanceMode::LoadBalancing,
                    slow_start: Duration::from_secs(30),
                    stale_after: Duration::from_secs(10),
                    when_none: WhenNone::Refuse,
                },
            };
            Self { roster: Roster::new(settings, start), start, now: start }
        }

        pub fn at(&mut self, seconds: u64) -> &mut Self {
            let after = Duration::from_secs(seconds);
            self.now = Moment { instant: self.start.instant + after, wall: self.start.wall + after };
            self
        }

        pub fn observe(&mut self, name: &str, observation: Observation) -> &mut Self {
            self.roster.observe(&GatewayName::new(name), observation, self.now);
            self
        }

        pub fn up(&mut self, names: &[&str]) -> &mut Self {
            for name in names {
                self.observe(name, report(100, Service::Up));
            }
            self
        }

        pub fn drain(&mut self, name: &str, reason: &str) -> &mut Self {
            self.roster.drain(&GatewayName::new(name), reason, "uid 0", self.now).unwrap();
            self
        }

        /// From now on it follows a front door that has chosen that one.
        pub fn follow(&mut self, name: &str) -> &mut Self {
            let actives = vec![(VrrpId::new(31), GatewayName::new(name))];
            let lead = Some(Lead { front_door: "front-b".into(), actives });
            self.roster.hear(Elsewhere { lead, ..Elsewhere::default() }, self.now);
            self
        }

        pub fn status(&mut self, listeners: &[ListenerStatus]) -> Status {
            self.roster.decide(self.now);
            let node = Node { name: "front-a".into(), started: self.start.wall };
            Status::of(&self.roster.snapshot(), listeners, &node, self.now)
        }
    }

    pub fn check(name: &str, outcome: CheckOutcome) -> CheckResult {
        CheckResult { check: name.into(), outcome, took: Duration::from_micros(12_340) }
    }

    pub fn report(tunnels: u64, service: Service) -> Observation {
        let load = Load { tunnels: Some(tunnels), cpu_ratio: Some(0.5), ..Load::default() };
        Observation {
            checks: vec![check("heartbeat", CheckOutcome::Pass("200 OK".into()))],
            report: Some(ServiceReport { service, load, fence: None }),
            asked: None,
        }
    }

    /// Works, and is fenced by these for 15 s.
    pub fn fenced(holders: &[&str]) -> Observation {
        kept_open(holders, &[])
    }

    /// The same while these keep it open.
    pub fn kept_open(holders: &[&str], by: &[&str]) -> Observation {
        let lease = |by: &str| Lease { by: by.into(), left: Duration::from_secs(15) };
        let holder = |by: &&str| Holder { lease: lease(by), reason: "portal: refused".into() };
        let fence = FenceReport {
            engine: "nftables".into(),
            blocked: !holders.is_empty(),
            ports: ["tcp/443".into()].into(),
            holders: holders.iter().map(holder).collect(),
            kept_open_by: by.iter().map(|by| lease(by)).collect(),
        };
        let mut observation = report(100, Service::Up);
        if let Some(report) = &mut observation.report {
            report.fence = Some(fence);
        }
        observation
    }

    pub fn refused() -> Observation {
        let outcome = CheckOutcome::Fail("connection refused".into());
        Observation { checks: vec![check("portal", outcome)], report: None, asked: None }
    }

    pub fn listener(name: &str, port: u16) -> ListenerStatus {
        ListenerStatus {
            name: name.into(),
            address: SocketAddr::from(([62, 168, 1, 203], port)),
            mode: "redirect",
            vrrp_id: VrrpId::new(31),
            vpn: Vpn::Ssl,
            open: true,
            connections: 12,
            tunnels: 5,
            redirects: 4711,
            unavailable: 3,
        }
    }

    #[test]
    fn a_gateway_that_works_is_described_whole() {
        let mut farm = Farm::new(1);
        farm.at(3).up(&["gw1"]).at(5);
        let status = farm.status(&[]);
        let json = serde_json::to_value(&status.gateways[0]).unwrap();
        let expected = serde_json::json!({
            "name": "gw1",
            "state": "up",
            "since": "2026-05-02T12:00:03Z",
            "reason": "first good round",
            "vrrp_id": 31,
            "vpn_mode": "both",
            "vrrp_mode": "inactive",
            "role": null,
            "ssl_endpoint": "192.168.200.1:443",
            "availability": {
                "native": { "available": true, "reason": null },
                "ssl": { "available": true, "reason": null },
            },
            "load": {
                "age_seconds": 2.0,
                "stale": false,
                "score": 0.3,
                "criteria": { "throughput": null, "tunnels": 0.1, "pool": null, "cpu": 0.5 },
                "tunnels": 100,
                "tunnels_max": 1000,
                "pool_used": null,
                "pool_size": null,
            },
            "pending": 0,
            "filling": false,
            "drain": null,
            "fence": null,
            "checks": [
                { "name": "heartbeat", "result": "pass", "detail": "200 OK", "milliseconds": 12.34 },
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_fence_is_told_with_its_holders_its_reasons_and_the_time_left() {
        let mut farm = Farm::new(2);
        farm.observe("gw1", kept_open(&["self", "front-b"], &["front-a"])).at(2);
        let until = farm.now.instant + Duration::from_millis(12_340);
        let block = LocalBlock { by: "front-a".into(), reason: "portal: timeout".into(), until };
        farm.roster.set_local_block(&GatewayName::new("gw2"), Some(block));
        let status = farm.status(&[]);
        let shown = |i: usize| serde_json::to_value(&status.gateways[i].fence).unwrap();
        assert_eq!(
            shown(0),
            serde_json::json!({
                "engine": "nftables", "blocked": true, "ports": ["tcp/443"],
                "holders": [
                    { "by": "self", "reason": "portal: refused", "seconds_left": 13.0 },
                    { "by": "front-b", "reason": "portal: refused", "seconds_left": 13.0 },
                ],
                "kept_open_by": [{ "by": "front-a", "seconds_left": 13.0 }],
            })
        );
        assert_eq!(
            shown(1),
            serde_json::json!({
                "engine": "local", "blocked": true, "ports": [],
                "holders": [{ "by": "front-a", "reason": "portal: timeout", "seconds_left": 12.3 }],
                "kept_open_by": [],
            })
        );
        assert_eq!(status.gateways[0].availability.ssl.reason.as_deref(), Some("fenced"));
        let later = farm.at(20).status(&[]);
        let over = later.gateways[0].fence.as_ref().unwrap();
        assert!(!over.blocked && over.holders.is_empty(), "the leases have run out");
        assert_eq!(later.gateways[1].fence, None);
    }

    #[test]
    fn who_blocks_a_gateway_is_told_without_what_is_suspended() {
        let words = |observation| {
            let mut farm = Farm::new(1);
            farm.observe("gw1", observation);
            farm.status(&[]).gateways[0].fence.as_ref().unwrap().in_words()
        };
        let told = |text: &str| Some(text.to_owned());
        let both = ["self", "front-b"];
        assert_eq!(words(fenced(&both)), told("by self: portal: refused, by front-b: portal: refused"));
        assert_eq!(words(kept_open(&both, &["front-a"])), told("by front-b: portal: refused"));
        // the agent cannot end its block for now
        assert_eq!(words(kept_open(&["self"], &["front-a"])), told("though nobody wants it to be"));
        assert_eq!(words(fenced(&[])), None);
    }

    #[test]
    fn a_block_of_this_host_is_set_by_it_where_the_agent_has_no_engine() {
        let mut farm = Farm::new(1);
        let mut observation = fenced(&[]);
        let fence = observation.report.as_mut().unwrap().fence.as_mut().unwrap();
        fence.engine = "none".into();
        farm.observe("gw1", observation);
        let engine = |farm: &mut Farm| farm.status(&[]).gateways[0].fence.clone().unwrap().engine;
        assert_eq!(engine(&mut farm), "none");
        let until = farm.now.instant + Duration::from_secs(15);
        let block = LocalBlock { by: "front-a".into(), reason: "portal: timeout".into(), until };
        farm.roster.set_local_block(&GatewayName::new("gw1"), Some(block));
        assert_eq!(engine(&mut farm), "local");
        farm.observe("gw1", fenced(&["front-b"]));
        assert_eq!(engine(&mut farm), "nftables");
    }

    #[test]
    fn the_document_reads_back_as_it_was_written() {
        let mut farm =
            Farm::with(2, |i, g| g.vpn_mode = if i == 1 { VpnMode::VrrpOnly } else { VpnMode::Ssl });
        farm.up(&["gw1"]).at(1).observe("gw2", refused()).drain("gw1", "new kernel");
        let status = farm.status(&[listener("portal", 443)]);
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }

    #[test]
    fn the_words_are_those_of_the_core() {
        let mut farm = Farm::new(1);
        let mut gateway = farm.status(&[]).gateways.remove(0);
        for state in State::ALL {
            gateway.state = state;
            assert_eq!(serde_json::to_value(&gateway).unwrap()["state"], state.as_str());
        }
        for mode in [VpnMode::Native, VpnMode::Ssl, VpnMode::Both, VpnMode::VrrpOnly] {
            gateway.vpn_mode = mode;
            assert_eq!(serde_json::to_value(&gateway).unwrap()["vpn_mode"], mode.as_str());
        }
    }

    #[test]
    fn the_part_in_failsafe_mode_and_in_a_pair_are_words_that_read_back() {
        let mut farm = Farm::failsafe(2);
        farm.up(&["gw1", "gw2"]);
        let status = farm.status(&[listener("portal", 443)]);
        let json = serde_json::to_value(&status.gateways).unwrap();
        assert_eq!((&json[0]["role"], &json[1]["role"]), (&"active".into(), &"standby".into()));
        assert_eq!(json[1]["availability"]["ssl"]["reason"], "not the active one");
        assert_eq!((status.listeners[0].gateways, status.listeners[0].available), (2, 1));
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        assert!(serde_json::from_str::<Status>(&text.replace("\"standby\"", "\"waiting\"")).is_err());
        let mut gateway = status.gateways.into_iter().next().unwrap();
        for mode in [VrrpMode::Inactive, VrrpMode::Master, VrrpMode::Backup] {
            gateway.vrrp_mode = mode;
            assert_eq!(serde_json::to_value(&gateway).unwrap()["vrrp_mode"], mode.as_str());
        }
    }

    #[test]
    fn availability_is_told_for_native_and_ssl_apart_with_the_reason() {
        let mut farm = Farm::with(2, |i, g| {
            if i == 1 {
                g.vpn_mode = VpnMode::Native;
            }
        });
        farm.up(&["gw1"]).observe("gw2", report(1000, Service::Up));
        let status = farm.status(&[]);
        let reasons: Vec<_> = status
            .gateways
            .iter()
            .map(|g| (g.availability.native.reason.as_deref(), g.availability.ssl.reason.as_deref()))
            .collect();
        assert_eq!(
            reasons,
            [(None, Some("does not offer this VPN")), (Some("no tunnel left"), Some("no tunnel left"))]
        );
    }

    #[test]
    fn an_old_report_is_shown_and_marked_stale() {
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]).at(11);
        let load = farm.status(&[]).gateways.remove(0).load.unwrap();
        assert_eq!((load.stale, load.age_seconds, load.tunnels), (true, 11.0, Some(100)));
    }

    #[test]
    fn a_gateway_that_came_back_is_filling_for_as_long_as_the_slow_start() {
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]).at(1).observe("gw1", refused()).at(2).up(&["gw1"]);
        assert!(farm.status(&[]).gateways[0].filling);
        assert!(!farm.at(32).status(&[]).gateways[0].filling);
    }

    #[test]
    fn a_drain_tells_whose_wish_it_is() {
        let mut farm = Farm::new(1);
        farm.observe("gw1", report(1, Service::Draining));
        let by_agent = farm.status(&[]).gateways.remove(0);
        assert_eq!(by_agent.drain.as_ref().unwrap().who, None);
        assert_eq!((by_agent.state, by_agent.drain.unwrap().by), (State::Draining, DrainedBy::Agent));
        farm.at(60).drain("gw1", "new kernel");
        let drain = farm.status(&[]).gateways.remove(0).drain.unwrap();
        assert_eq!(
            (drain.by, drain.who.as_deref(), drain.reason.as_str()),
            (DrainedBy::Administrator, Some("uid 0"), "new kernel")
        );
        assert_eq!(drain.since, time::macros::datetime!(2026-05-02 12:01:00 UTC));
    }

    #[test]
    fn a_listener_counts_its_own_gateways_and_those_available() {
        let mut farm = Farm::with(4, |i, g| match i {
            1 => g.vrrp_id = VrrpId::new(32),
            2 => g.vpn_mode = VpnMode::Native,
            _ => {}
        });
        farm.up(&["gw1", "gw2", "gw3"]);
        let entry = farm.status(&[listener("portal", 443)]).listeners.remove(0);
        assert_eq!((entry.gateways, entry.available), (2, 1));
        let all = ListenerStatus { vrrp_id: None, ..listener("portal", 443) };
        let entry = farm.status(&[all]).listeners.remove(0);
        assert_eq!((entry.gateways, entry.available), (3, 2));
    }

    #[test]
    fn a_front_door_is_fit_when_its_listeners_are_open_and_one_of_them_has_an_available_gateway() {
        let mut farm = Farm::new(2);
        let closed = ListenerStatus { open: false, ..listener("raw", 444) };
        farm.observe("gw1", refused());
        assert_eq!(
            farm.status(&[listener("portal", 443), closed]).unfitness(),
            [
                "listener raw (62.168.1.203:444) is not open",
                "listener portal (62.168.1.203:443) has no available gateway (gw1: down, gw2: no good check yet)",
                "listener raw (62.168.1.203:444) has no available gateway (gw1: down, gw2: no good check yet)",
            ]
        );
        farm.up(&["gw2"]);
        assert_eq!(farm.status(&[listener("portal", 443)]).unfitness(), [""; 0]);
        let closed = ListenerStatus { open: false, ..listener("raw", 444) };
        let unfitness = farm.status(&[listener("portal", 443), closed]).unfitness();
        assert_eq!(unfitness, ["listener raw (62.168.1.203:444) is not open"]);
        assert_eq!(farm.status(&[]).unfitness(), ["there is no listener"]);
    }

    #[test]
    fn a_front_door_that_is_silent_is_said_after_everything_else() {
        let peer = |state| PeerStatus {
            name: Some("front-b".into()),
            url: "https://192.168.200.4:9465".into(),
            state,
            since: time::OffsetDateTime::UNIX_EPOCH,
            reason: "connection refused".into(),
        };
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]);
        let mut said = |state| farm.status(&[listener("portal", 443)]).beside(vec![peer(state)]).summary;
        let well = said(PeerState::Standby);
        assert_eq!(
            said(PeerState::Silent),
            format!(
                "{well} The other front door front-b (https://192.168.200.4:9465) is silent: connection refused"
            )
        );
        let mut farm = Farm::new(1);
        let status = farm.observe("gw1", refused()).status(&[listener("portal", 443)]);
        let wrong = status.summary.clone();
        let both = status.beside(vec![peer(PeerState::Silent), peer(PeerState::Silent)]).summary;
        assert!(both.starts_with(&format!("{wrong}. The other front door ")), "{both}");
        assert_eq!(both.matches("connection refused. The other").count(), 1, "{both}");
    }

    #[test]
    fn a_standby_is_fit_though_it_follows_one_who_names_a_gateway_that_is_down_from_here() {
        let mut farm = Farm::failsafe(2);
        farm.up(&["gw1", "gw2"]).follow("gw1").observe("gw1", refused());
        let status = farm.status(&[listener("portal", 443)]);
        assert_eq!((status.listeners[0].available, status.unfitness()), (0, vec![]));
        farm.observe("gw2", refused());
        assert_eq!(farm.status(&[listener("portal", 443)]).unfitness().len(), 1);
    }

    #[test]
    fn a_gateway_that_is_not_for_a_listener_makes_nobody_fit() {
        let mut farm = Farm::with(3, |i, g| match i {
            1 => g.vpn_mode = VpnMode::Native,
            2 => g.vrrp_id = VrrpId::new(32),
            _ => {}
        });
        farm.up(&["gw1", "gw2"]).observe("gw3", refused());
        let native = ListenerStatus { vrrp_id: VrrpId::new(33), vpn: Vpn::Native, ..listener("ike", 500) };
        assert_eq!(
            farm.status(&[listener("portal", 443), native]).unfitness(),
            [
                "listener portal (62.168.1.203:443) has no available gateway (gw3: down)",
                "listener ike (62.168.1.203:500) has no available gateway (there is none for it)",
            ]
        );
        let other = ListenerStatus { vrrp_id: VrrpId::new(32), ..listener("partners", 8443) };
        assert_eq!(farm.status(&[listener("portal", 443), other]).unfitness(), [""; 0]);
    }
}
