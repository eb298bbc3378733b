use std::net::IpAddr;
use std::time::Instant;

use crate::admin::listener::{Affinity, ListenerStatus, Steering};
use crate::admin::status::FenceStatus;
use crate::admin::summary::enumerated;
use crate::fleet::{Account, Exclusion, Explanation, GatewayView, Load, Policy, Role, Rule, Snapshot, Vpn};

/// What an explanation is told with.
pub struct Words<'a> {
    pub snapshot: &'a Snapshot,
    pub listener: Option<&'a ListenerStatus>,
    pub vpn: Vpn,
    pub steering: Steering,
    pub source: Option<IpAddr>,
    /// Nothing is missing to know who would be chosen.
    pub decided: bool,
    pub explained: &'a Explanation,
    pub now: Instant,
}

impl<'a> Words<'a> {
    /// Who would be chosen, and by which rule.
    pub fn chosen(&self) -> Option<(&'a GatewayView, Rule)> {
        let (index, rule) = self.explained.chosen.filter(|_| self.decided)?;
        Some((self.view(index)?, rule))
    }

    /// Whether somebody would be chosen for whoever asks, though it cannot be told who.
    pub fn depends_on_source(&self) -> bool {
        let mut accounts = self.explained.accounts.iter();
        !self.decided
            // a source comes to its own gateway though that is full
            && (self.explained.chosen.is_some() || accounts.any(|a| a.exclusion.is_some_and(Exclusion::is_full)))
    }

    /// Where clients of the listener are sent, or taken, if this is the one.
    pub fn endpoint(&self, view: &GatewayView) -> String {
        let is_taken = self.listener.is_some_and(|listener| matches!(listener.mode, "proxy" | "passthrough"));
        let endpoint = if is_taken { &view.gateway.upstream } else { view.gateway.endpoint(self.vpn) };
        endpoint.to_string()
    }

    /// "Listener portal: redirect, SSL VPN, VRRP ID 31, the lowest load first."
    pub fn question(&self) -> String {
        let who = match self.listener {
            Some(listener) => format!("Listener {}: {}", listener.name, listener.mode),
            None => "No listener: as by default".to_owned(),
        };
        let vpn = match self.vpn {
            Vpn::Native => "native VPN",
            Vpn::Ssl => "SSL VPN",
        };
        let vrrp_id = self.listener.and_then(|listener| listener.vrrp_id);
        let vrrp_id = vrrp_id.map(|id| format!(", VRRP ID {id}")).unwrap_or_default();
        let how = match (self.snapshot.balance.mode.is_failsafe(), self.steering) {
            (true, _) => "in failsafe mode the active one",
            (false, Steering { affinity: Affinity::SourceAddress, .. }) => "by the client's address",
            (false, Steering { policy: Policy::LeastLoaded, .. }) => "the lowest load first",
            (false, Steering { policy: Policy::RoundRobin, .. }) => "by turns, whatever the load",
        };
        format!("{who}, {vpn}{vrrp_id}, {how}.")
    }

    /// Who would be chosen and why.
    pub fn summary(&self) -> String {
        if self.depends_on_source() {
            let names = self.names(|account| account.exclusion.is_none());
            let may = match names.as_slice() {
                [] => String::new(),
                names => format!(" {} may be chosen.", enumerated(names)),
            };
            return format!(
                "The client's address decides: name a source to see which gateway it leads to.{may}"
            );
        }
        let Some((view, rule)) = self.chosen() else { return self.nobody() };
        let because = self.because(rule);
        format!("{} would be chosen: {because}{}.", view.gateway.name, self.next(rule))
    }

    /// What else there is to know.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match self.listener {
            Some(listener) if !listener.open => {
                notes.push(format!("Listener {} is not open.", listener.name))
            }
            Some(_) => {}
            None => notes.push(
                "There is no listener for such clients; this is what one would choose that names no VRRP ID."
                    .to_owned(),
            ),
        }
        match self.steering.affinity {
            Affinity::Session => notes.push(
                "This is about newcomers: a session is taken to the gateway that has opened it.".to_owned(),
            ),
            Affinity::Cookie => notes.push(
                "This is about newcomers: who brings the cookie of a gateway is taken to that one."
                    .to_owned(),
            ),
            Affinity::None | Affinity::SourceAddress => {}
        }
        if self.source.is_some() && self.steering.affinity != Affinity::SourceAddress {
            notes.push("The source plays no part: this listener does not choose by address.".to_owned());
        }
        if self.chance_plays_a_part() {
            let filling = self.names(|account| account.place.is_some() && account.filling_share.is_some());
            let (verb, part) = if filling.len() > 1 { ("are", "take part") } else { ("is", "takes part") };
            notes.push(format!(
                "Chance plays a part: {} {verb} filling up after coming back, and {part} in some of the choices \
                 only.",
                enumerated(&filling)
            ));
        }
        notes
    }

    /// What became of one gateway and why.
    pub fn verdict(&self, index: usize, view: &GatewayView, account: &Account) -> String {
        if let Some((chosen, rule)) = self.chosen()
            && std::ptr::eq(chosen, view)
        {
            let also = self.circumstances(index, view, account).into_iter();
            let because = std::iter::once(format!("chosen: {}", self.because(rule)));
            return because.chain(also).collect::<Vec<_>>().join("; ");
        }
        if let Some(exclusion) = account.exclusion {
            return format!("left out: {}", self.left_out(view, exclusion));
        }
        let circumstances = self.circumstances(index, view, account);
        let standing = match account.place.filter(|_| self.decided) {
            Some(2) => "next".to_owned(),
            Some(_) => "after those above".to_owned(),
            None => "may be chosen".to_owned(),
        };
        std::iter::once(standing).chain(circumstances).collect::<Vec<_>>().join("; ")
    }

    /// What is special about one that may be chosen.
    fn circumstances(&self, index: usize, view: &GatewayView, account: &Account) -> Vec<String> {
        let mut told = Vec::new();
        // nothing of this matters to who is active, nor to whom a source belongs
        let matters = matches!(self.explained.chosen, Some((_, Rule::LeastLoaded | Rule::Turn | Rule::Any)));
        if !matters || !self.decided {
            return told;
        }
        if self.explained.equals.contains(&index) {
            told.push("its load is the same, and chance was against it".to_owned());
        }
        if let Some(share) = account.filling_share {
            let not = if account.sits_out { ", not in this one" } else { "" };
            let hundredths = (share * 100.0).round();
            told.push(format!("it fills up after coming back: in {hundredths} of 100 choices{not}"));
        }
        if account.is_spoken_for {
            let room = view.load.as_ref().and_then(|reading| reading.load.room()).unwrap_or_default();
            told.push(format!(
                "its report had room for {room} and {} are on their way: it comes after those with room",
                account.pending
            ));
        }
        if account.assumed_score.is_some() && self.by_load() {
            let why = match &view.load {
                None => "it has no report".to_owned(),
                Some(reading) if reading.score.total.is_none() => {
                    "its report has no load that counts".to_owned()
                }
                Some(reading) => {
                    format!("its report is {} s old and counts no more", reading.at.until(self.now).as_secs())
                }
            };
            told.push(format!("{why}: taken to be as loaded as the others on average"));
        }
        told
    }

    fn by_load(&self) -> bool {
        self.steering.policy == Policy::LeastLoaded && self.steering.affinity != Affinity::SourceAddress
    }

    fn because(&self, rule: Rule) -> String {
        let index = self.explained.chosen.map(|(index, _)| index);
        let account = index.and_then(|index| self.explained.accounts.get(index));
        let left_out = account.and_then(|account| account.exclusion);
        let though = left_out.map(|exclusion| format!(", though it {}", is(exclusion))).unwrap_or_default();
        let but = left_out.map(|exclusion| format!(", and it {}", is(exclusion))).unwrap_or_default();
        let available = self.names(|account| account.exclusion.is_none()).len();
        match rule {
            Rule::LeastLoaded | Rule::Turn if available == 1 => "it is the only one available".to_owned(),
            Rule::LeastLoaded => self.lowest(account),
            Rule::Turn => "it is its turn".to_owned(),
            Rule::Active => format!("it is the active one{though}"),
            Rule::Source => {
                let source = self.source.map(|source| source.to_string()).unwrap_or_default();
                match self.explained.own.filter(|own| Some(*own) != index).and_then(|own| self.refused(own)) {
                    Some((own, why)) => {
                        format!("{source} belongs to {own}, which is left out ({why}), and comes here next")
                    }
                    None if though.is_empty() => format!("{source} belongs to it, whatever its load"),
                    None => format!("{source} belongs to it{though}"),
                }
            }
            Rule::LastKnownGood if self.snapshot.balance.mode.is_failsafe() => {
                format!("none is available, the one that was active last is named{but}")
            }
            Rule::LastKnownGood => {
                format!("none is available, the one that was in order last is named{but}")
            }
            Rule::Any => format!("none is available, any will do{but}"),
        }
    }

    /// Why it is the least loaded.
    fn lowest(&self, account: Option<&Account>) -> String {
        let Some(account) = account else { return String::new() };
        let load = account.load.map(number).unwrap_or_default();
        let lower = |other: &&Account| other.place.is_some() && other.load < account.load;
        let passed: Vec<_> = self.explained.accounts.iter().filter(lower).collect();
        let of_those = match (passed.iter().any(|a| a.sits_out), passed.iter().any(|a| a.is_spoken_for)) {
            (false, false) => "",
            (true, false) => " of those that take part",
            (false, true) => " of those with room left",
            (true, true) => " of those that take part and have room left",
        };
        let equals: Vec<_> = self.explained.equals.iter().filter_map(|i| self.name(*i)).collect();
        if equals.is_empty() {
            return format!("it has the lowest load{of_those}, {load}");
        }
        format!(
            "it and {} have the lowest load{of_those}, {load}, and chance has decided",
            enumerated(&equals)
        )
    }

    /// Who comes after the one chosen.
    fn next(&self, rule: Rule) -> String {
        if !matches!(rule, Rule::LeastLoaded | Rule::Turn | Rule::Source) {
            return String::new();
        }
        let mut accounts = self.explained.accounts.iter().enumerate();
        let Some((index, account)) = accounts.find(|(_, account)| account.place == Some(2)) else {
            return String::new();
        };
        let name = self.name(index).unwrap_or_default();
        match account.load.filter(|_| rule == Rule::LeastLoaded) {
            Some(load) => format!("; then {name} ({})", number(load)),
            None => format!("; then {name}"),
        }
    }

    fn nobody(&self) -> String {
        let reasons: Vec<_> = self
            .snapshot
            .gateways
            .iter()
            .zip(&self.explained.accounts)
            .filter_map(|(view, account)| {
                let exclusion = account.exclusion.filter(|e| !e.is_misfit())?;
                Some(format!("{} ({exclusion})", view.gateway.name))
            })
            .collect();
        let turned_away = "No gateway would be chosen, and newcomers are turned away";
        match reasons.as_slice() {
            [] => format!("{turned_away}: there is none for such clients here."),
            [one] => format!("{turned_away}: {one} is left out."),
            many => {
                let many: Vec<_> = many.iter().map(String::as_str).collect();
                format!("{turned_away}: {} are left out.", enumerated(&many))
            }
        }
    }

    /// A gateway's name, and why it is left out.
    fn refused(&self, index: usize) -> Option<(&'a str, &'static str)> {
        let exclusion = self.explained.accounts.get(index)?.exclusion?;
        Some((self.name(index)?, exclusion.as_str()))
    }

    fn left_out(&self, view: &GatewayView, exclusion: Exclusion) -> String {
        let detail = match exclusion {
            Exclusion::OtherVrrpId => Some(match view.gateway.vrrp_id {
                Some(id) => format!("it has {id}"),
                None => "it has none".to_owned(),
            }),
            Exclusion::VpnMode => Some(format!("its vpn_mode is {}", view.gateway.vpn_mode.as_str())),
            Exclusion::Draining => view.draining().map(|(reason, _)| reason.to_string()),
            Exclusion::NotSeenYet | Exclusion::Down => Some(view.reason().to_string()),
            Exclusion::Fenced => {
                FenceStatus::of(view, &self.snapshot.balance, self.now).and_then(|fence| fence.in_words())
            }
            Exclusion::Standby => self.active(view).map(|active| format!("{active} is")),
            Exclusion::OutOfTunnels => used(view, |load| (load.tunnels, load.tunnels_max)),
            Exclusion::OutOfAddresses => used(view, |load| (load.pool_used, load.pool_size)),
        };
        match detail.filter(|detail| !detail.is_empty()) {
            Some(detail) => format!("{exclusion}: {detail}"),
            None => exclusion.to_string(),
        }
    }

    /// The active one of its group.
    fn active(&self, view: &GatewayView) -> Option<&'a str> {
        let is_active = |other: &GatewayView| {
            other.role == Some(Role::Active) && other.gateway.vrrp_id == view.gateway.vrrp_id
        };
        let found = self.snapshot.gateways.iter().find(|other| is_active(other))?;
        Some(found.gateway.name.as_str())
    }

    fn chance_plays_a_part(&self) -> bool {
        let by_chance =
            matches!(self.explained.chosen, Some((_, Rule::LeastLoaded | Rule::Turn | Rule::Any)));
        let placed = self.explained.accounts.iter().filter(|account| account.place.is_some()).count();
        let fills = |account: &Account| account.place.is_some() && account.filling_share.is_some();
        self.decided && by_chance && placed > 1 && self.explained.accounts.iter().any(fills)
    }

    fn names(&self, is_one: impl Fn(&Account) -> bool) -> Vec<&'a str> {
        let all = self.snapshot.gateways.iter().zip(&self.explained.accounts);
        all.filter(|(_, account)| is_one(account)).map(|(view, _)| view.gateway.name.as_str()).collect()
    }

    fn view(&self, index: usize) -> Option<&'a GatewayView> {
        self.snapshot.gateways.get(index).map(AsRef::as_ref)
    }

    fn name(&self, index: usize) -> Option<&'a str> {
        Some(self.view(index)?.gateway.name.as_str())
    }
}

/// After "it".
fn is(exclusion: Exclusion) -> &'static str {
    match exclusion {
        Exclusion::OtherVrrpId => "has another VRRP ID",
        Exclusion::VpnMode => "does not offer this VPN",
        Exclusion::Draining => "is draining",
        Exclusion::NotSeenYet => "has had no good check yet",
        Exclusion::Down => "is down",
        Exclusion::Fenced => "is fenced",
        Exclusion::Standby => "is not the active one",
        Exclusion::OutOfTunnels => "has no tunnel left",
        Exclusion::OutOfAddresses => "has no pool address left",
    }
}

/// "1000 of 1000"
fn used(view: &GatewayView, of: impl Fn(&Load) -> (Option<u64>, Option<u64>)) -> Option<String> {
    let (used, max) = of(&view.load.as_ref()?.load);
    Some(format!("{} of {}", used?, max?))
}

/// A load with two decimals, or three where the third says something.
pub(in crate::admin) fn number(load: f64) -> String {
    let text = format!("{load:.3}");
    text.strip_suffix('0').unwrap_or(&text).to_owned()
}
