//! What is wrong with a front door, in one sentence.

use std::fmt::Write;

use time::OffsetDateTime;
use time::macros::format_description;

use super::listener::ListenerStatus;
use super::status::FenceStatus;
use crate::fleet::{
    Ask, By, CheckOutcome, Exclusion, GatewayView, Moment, Role, Snapshot, State, VpnMode, full, select,
};

/// Says for each listener which of its gateways cannot take newcomers, and why; or that all is well.
/// Listeners that have the same gateways share a sentence. Times are UTC.
pub fn sentence(snapshot: &Snapshot, listeners: &[ListenerStatus], now: Moment) -> String {
    let all: Vec<&GatewayView> = snapshot.gateways.iter().map(AsRef::as_ref).collect();
    let writer = Writer { snapshot, now };
    let closed = listeners.iter().filter(|listener| !listener.open);
    let mut sentences: Vec<_> =
        closed.map(|l| format!("Listener {} ({}) is not open", l.name, l.address)).collect();
    for (ask, doors) in by_ask(listeners) {
        let Some(first) = doors.first() else { continue };
        let views: Vec<_> = all.iter().copied().filter(|view| first.is_for(view)).collect();
        let mut names: Vec<_> = doors.iter().map(|door| door.name.as_str()).collect();
        // what answers over UDP has one name for all of its addresses, which come one after the other
        names.dedup();
        let subject = Subject { name: capitalised(&enumerated(&names)), plural: names.len() > 1 };
        sentences.extend(writer.about(&subject, &views, Some(ask)));
    }
    // those that no listener sends anyone to: reached by native clients, or by VRRP
    let rest: Vec<_> = all.iter().copied().filter(|view| !listeners.iter().any(|l| l.is_for(view))).collect();
    let name = if listeners.is_empty() { "The farm" } else { "The rest of the farm" };
    if !rest.is_empty() {
        sentences.extend(writer.about(&Subject { name: name.into(), plural: false }, &rest, None));
    }
    if !sentences.is_empty() {
        return sentences.join(". ");
    }
    match (all.len(), active_ones(&all)) {
        (0, _) => "There are no gateways.".into(),
        (1, _) => "The only gateway is up.".into(),
        (count, None) => format!("All {count} gateways are up."),
        (count, Some(active)) => format!("All {count} gateways are up; {active}."),
    }
}

/// "gw1 is active", in failsafe mode.
fn active_ones(views: &[&GatewayView]) -> Option<String> {
    let active = views.iter().filter(|view| view.role == Some(Role::Active));
    let names: Vec<_> = active.map(|view| view.gateway.name.as_str()).collect();
    let verb = if names.len() > 1 { "are" } else { "is" };
    (!names.is_empty()).then(|| format!("{} {verb} active", enumerated(&names)))
}

/// Whom a sentence is about.
struct Subject {
    name: String,
    plural: bool,
}

/// Why a gateway cannot take newcomers, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nothing about it answers as it should.
    Unreachable,
    /// It answers, but not everything works.
    Down,
    Unknown,
    /// It works, but a firewall refuses newcomers.
    Fenced,
    Full,
    Draining,
}

impl Trouble {
    const ALL: [Self; 6] =
        [Self::Unreachable, Self::Down, Self::Unknown, Self::Fenced, Self::Full, Self::Draining];

    fn predicate(self, plural: bool) -> &'static str {
        match (self, plural) {
            (Self::Unreachable, false) => "is unreachable",
            (Self::Unreachable, true) => "are unreachable",
            (Self::Down, false) => "is down",
            (Self::Down, true) => "are down",
            (Self::Unknown, false) => "has not been checked yet",
            (Self::Unknown, true) => "have not been checked yet",
            (Self::Fenced, false) => "is fenced",
            (Self::Fenced, true) => "are fenced",
            (Self::Full, false) => "is full",
            (Self::Full, true) => "are full",
            (Self::Draining, false) => "is draining",
            (Self::Draining, true) => "are draining",
        }
    }
}

struct Writer<'a> {
    snapshot: &'a Snapshot,
    now: Moment,
}

impl Writer<'_> {
    /// `None` if there is nothing to complain about.
    fn about(&self, subject: &Subject, views: &[&GatewayView], ask: Option<Ask>) -> Option<String> {
        let Subject { name, plural } = subject;
        if views.is_empty() {
            return Some(format!("{name} {} no gateway", if *plural { "have" } else { "has" }));
        }
        let troubled: Vec<_> = views.iter().filter_map(|view| Some((self.trouble(view)?, *view))).collect();
        if troubled.is_empty() {
            return None;
        }
        // in failsafe mode those without trouble may all be waiting for their turn
        let is_troubled = |view: &GatewayView| troubled.iter().any(|(_, other)| std::ptr::eq(*other, view));
        let nobody_is_left = views.iter().all(|view| is_troubled(view) || view.role == Some(Role::Standby));
        let lead = match (nobody_is_left, plural) {
            (true, false) => "has no available gateway",
            (true, true) => "have no available gateway",
            (false, false) => "is degraded",
            (false, true) => "are degraded",
        };
        let causes: Vec<_> =
            Trouble::ALL.iter().filter_map(|kind| self.cause(*kind, &troubled, views.len())).collect();
        let mut sentence = format!("{name} {lead}: {}", causes.join("; "));
        if nobody_is_left && let Some(ask) = ask {
            // asked of the one function that decides, so that this cannot say otherwise
            sentence.push_str(match select(self.snapshot, ask, By::Load, &[], self.now.instant, 0) {
                Ok(_) => "; newcomers are sent to one all the same",
                Err(_) => "; newcomers are turned away",
            });
        }
        if !nobody_is_left && let Some(active) = active_ones(views) {
            let _ = write!(sentence, "; {active}");
        }
        Some(sentence)
    }

    fn trouble(&self, view: &GatewayView) -> Option<Trouble> {
        // one that was taken out on purpose is expected to be down while it is worked on
        if view.is_draining() {
            return Some(Trouble::Draining);
        }
        match view.state() {
            State::Draining => Some(Trouble::Draining),
            State::Unknown => Some(Trouble::Unknown),
            State::Down if view.checks.iter().any(|c| matches!(c.outcome, CheckOutcome::Pass(_))) => {
                Some(Trouble::Down)
            }
            State::Down => Some(Trouble::Unreachable),
            State::Up if view.is_fenced(self.now.instant, self.snapshot.balance.stale_after) => {
                Some(Trouble::Fenced)
            }
            State::Up => self.full(view).map(|_| Trouble::Full),
        }
    }

    fn full(&self, view: &GatewayView) -> Option<Exclusion> {
        full(view, &self.snapshot.balance, self.now.instant)
    }

    /// "1 of 3 gateways is unreachable: gw2 (192.168.200.2:443): connection refused since 12:03:11 UTC"
    fn cause(&self, kind: Trouble, troubled: &[(Trouble, &GatewayView)], of: usize) -> Option<String> {
        let those: Vec<_> = troubled.iter().filter(|(k, _)| *k == kind).map(|(_, view)| *view).collect();
        let who = match (those.len(), of) {
            (0, _) => return None,
            (1, 1) => "its only gateway".into(),
            (count, of) if count == of => format!("all {of} gateways"),
            (count, of) => format!("{count} of {of} gateways"),
        };
        let named: Vec<_> = those.iter().map(|view| self.named(kind, view)).collect();
        Some(format!("{who} {}: {}", kind.predicate(those.len() > 1), named.join(", ")))
    }

    fn named(&self, kind: Trouble, view: &GatewayView) -> String {
        let gateway = &view.gateway;
        let is_native_alone = gateway.vpn_mode == VpnMode::Native;
        let shown = if is_native_alone { &gateway.native_endpoint } else { &gateway.ssl_endpoint };
        let mut text = format!("{} ({shown})", gateway.name);
        let (reason, since) = match kind {
            Trouble::Unknown => return text,
            Trouble::Fenced => {
                let fence = FenceStatus::of(view, &self.snapshot.balance, self.now.instant);
                let words = fence.and_then(|fence| fence.in_words());
                (words.unwrap_or_default(), None)
            }
            // how long it has been full is not kept
            Trouble::Full => (self.full(view).map(|why| why.to_string()).unwrap_or_default(), None),
            Trouble::Draining => match view.draining() {
                Some((reason, since)) => (reason.to_string(), Some(since)),
                None => return text,
            },
            Trouble::Unreachable | Trouble::Down => (view.reason().to_string(), Some(view.since())),
        };
        if !reason.is_empty() {
            let _ = write!(text, ": {reason}");
        }
        if let Some(since) = since {
            let _ = write!(text, " since {}", self.clock(since));
        }
        text
    }

    /// The time of day, with the date where that is not today's.
    fn clock(&self, moment: Moment) -> String {
        let (time, now) = (OffsetDateTime::from(moment.wall), OffsetDateTime::from(self.now.wall));
        let shown = if time.date() == now.date() {
            time.format(format_description!("[hour]:[minute]:[second] UTC"))
        } else {
            time.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC"))
        };
        shown.unwrap_or_default()
    }
}

/// Listeners with the same wish, in the order in which the wishes first appear.
fn by_ask(listeners: &[ListenerStatus]) -> Vec<(Ask, Vec<&ListenerStatus>)> {
    let mut groups: Vec<(Ask, Vec<&ListenerStatus>)> = Vec::new();
    for listener in listeners {
        match groups.iter_mut().find(|(ask, _)| *ask == listener.ask()) {
            Some((_, doors)) => doors.push(listener),
            None => groups.push((listener.ask(), vec![listener])),
        }
    }
    groups
}

/// "a, b and c".
pub(super) fn enumerated(names: &[&str]) -> String {
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).into(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{Farm, check, fenced, listener, refused, report};
    use super::*;
    use crate::fleet::{Observation, Service, VrrpId};

    fn said(farm: &mut Farm, listeners: &[ListenerStatus]) -> String {
        farm.status(listeners).summary
    }

    #[test]
    fn all_gateways_up_is_said_shortly() {
        let mut farm = Farm::new(3);
        farm.up(&["gw1", "gw2", "gw3"]);
        assert_eq!(said(&mut farm, &[listener("portal", 443)]), "All 3 gateways are up.");
        assert_eq!(said(Farm::new(1).up(&["gw1"]), &[]), "The only gateway is up.");
        assert_eq!(said(&mut Farm::new(0), &[]), "There are no gateways.");
    }

    #[test]
    fn a_missing_gateway_is_named_with_its_address_its_reason_and_the_time() {
        let mut farm = Farm::new(3);
        farm.up(&["gw1", "gw2", "gw3"]).at(191).up(&["gw1", "gw3"]).observe("gw2", refused());
        assert_eq!(
            said(farm.at(195), &[listener("portal", 443)]),
            "Portal is degraded: 1 of 3 gateways is unreachable: gw2 (192.168.200.2:443): \
             portal: connection refused since 12:03:11 UTC"
        );
    }

    #[test]
    fn the_date_is_told_when_it_is_not_todays() {
        let mut farm = Farm::new(2);
        farm.up(&["gw1"]).observe("gw2", refused()).at(86_400);
        assert!(said(&mut farm, &[]).ends_with("since 2026-05-02 12:00:00 UTC"));
    }

    #[test]
    fn every_kind_of_trouble_has_its_words() {
        let mut farm = Farm::new(6);
        let half = Observation {
            checks: [
                check("heartbeat", CheckOutcome::Pass("200 OK".into())),
                check("portal", CheckOutcome::Fail("503 Service Unavailable".into())),
            ]
            .into(),
            report: None,
            asked: None,
        };
        farm.up(&["gw1", "gw5"]).observe("gw2", half).observe("gw4", report(1000, Service::Up));
        farm.drain("gw5", "new kernel").observe("gw6", report(1, Service::Draining));
        assert_eq!(
            said(&mut farm, &[listener("portal", 443)]),
            "Portal is degraded: \
             1 of 6 gateways is down: gw2 (192.168.200.2:443): portal: 503 Service Unavailable \
             since 12:00:00 UTC; \
             1 of 6 gateways has not been checked yet: gw3 (192.168.200.3:443); \
             1 of 6 gateways is full: gw4 (192.168.200.4:443): no tunnel left; \
             2 of 6 gateways are draining: gw5 (192.168.200.5:443): new kernel since 12:00:00 UTC, \
             gw6 (192.168.200.6:443): its agent wants no newcomers since 12:00:00 UTC"
        );
    }

    #[test]
    fn a_gateway_that_works_here_and_is_fenced_by_somebody_else_is_a_trouble_of_its_own() {
        let mut farm = Farm::new(2);
        farm.up(&["gw1"]).observe("gw2", fenced(&["front-b"]));
        assert_eq!(
            said(&mut farm, &[listener("portal", 443)]),
            "Portal is degraded: 1 of 2 gateways is fenced: gw2 (192.168.200.2:443): by front-b: portal: refused"
        );
        farm.at(1).observe("gw2", refused());
        assert!(
            said(&mut farm, &[]).contains("1 of 2 gateways is unreachable: gw2"),
            "the worse one is told"
        );
    }

    #[test]
    fn no_available_gateway_is_said_clearly_with_what_happens_to_newcomers() {
        let mut farm = Farm::new(2);
        farm.observe("gw1", refused()).observe("gw2", refused());
        assert_eq!(
            said(&mut farm, &[listener("portal", 443)]),
            "Portal has no available gateway: all 2 gateways are unreachable: gw1 (192.168.200.1:443): \
             portal: connection refused since 12:00:00 UTC, gw2 (192.168.200.2:443): portal: connection \
             refused since 12:00:00 UTC; newcomers are turned away"
        );
        let mut farm = Farm::new(1);
        assert_eq!(
            said(&mut farm, &[listener("portal", 443)]),
            "Portal has no available gateway: its only gateway has not been checked yet: \
             gw1 (192.168.200.1:443); newcomers are turned away"
        );
    }

    #[test]
    fn listeners_with_the_same_gateways_share_a_sentence_and_the_others_have_their_own() {
        let mut farm = Farm::with(4, |i, g| match i {
            3 => g.vrrp_id = VrrpId::new(32),
            4 => g.vpn_mode = VpnMode::Native,
            _ => {}
        });
        farm.up(&["gw1"]).observe("gw2", refused());
        let other = ListenerStatus { vrrp_id: VrrpId::new(32), open: false, ..listener("partners", 8443) };
        let text = said(&mut farm, &[listener("portal", 443), other, listener("raw", 444)]);
        assert_eq!(
            text,
            "Listener partners (62.168.1.203:8443) is not open. \
             Portal and raw are degraded: 1 of 2 gateways is unreachable: gw2 (192.168.200.2:443): \
             portal: connection refused since 12:00:00 UTC. \
             Partners has no available gateway: its only gateway has not been checked yet: \
             gw3 (192.168.200.3:443); newcomers are turned away. \
             The rest of the farm has no available gateway: its only gateway has not been checked yet: \
             gw4 (192.168.200.4:500)"
        );
    }

    #[test]
    fn what_answers_at_several_addresses_is_named_once() {
        let mut farm = Farm::new(2);
        farm.up(&["gw1"]).observe("gw2", refused());
        let text = said(&mut farm, &[listener("dve", 4463), listener("dve", 4464)]);
        assert!(text.starts_with("Dve is degraded: 1 of 2 gateways is unreachable: gw2 "), "{text}");
        let text = said(&mut farm, &[listener("dve", 4463), listener("dve", 4464), listener("portal", 443)]);
        assert!(text.starts_with("Dve and portal are degraded: "), "{text}");
    }

    #[test]
    fn in_failsafe_mode_who_is_active_is_said_and_those_who_wait_help_nobody() {
        let portal = [listener("portal", 443)];
        let mut farm = Farm::failsafe(2);
        farm.up(&["gw1", "gw2"]);
        assert_eq!(said(&mut farm, &portal), "All 2 gateways are up; gw1 is active.");
        farm.observe("gw1", refused());
        assert_eq!(
            said(&mut farm, &portal),
            "Portal is degraded: 1 of 2 gateways is unreachable: gw1 (192.168.200.1:443): portal: connection \
             refused since 12:00:00 UTC; gw2 is active"
        );
        farm.up(&["gw1"]).observe("gw1", report(1000, Service::Up));
        assert_eq!(
            said(&mut farm, &portal),
            "Portal has no available gateway: 1 of 2 gateways is full: gw1 (192.168.200.1:443): no tunnel left; \
             newcomers are turned away"
        );
        farm.observe("gw1", refused()).observe("gw2", refused());
        assert!(said(&mut farm, &portal).starts_with("Portal has no available gateway: all 2 gateways are"));
    }

    #[test]
    fn a_listener_without_gateways_says_so() {
        let lonely = ListenerStatus { vrrp_id: VrrpId::new(99), ..listener("portal", 443) };
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]);
        assert_eq!(said(&mut farm, &[lonely]), "Portal has no gateway");
    }
}
