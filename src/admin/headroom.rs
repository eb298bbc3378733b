//! Whether the rest could take a gateway's tunnels, as figures and as sentences for people.

use std::cmp::Reverse;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::summary::enumerated;
use crate::fleet::{GatewayView, Headroom, NoTelling, Snapshot, headroom};

/// Whether the rest could take one gateway's tunnels if it failed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadroomStatus {
    /// Tunnels that would look for another gateway, those on the way to it with them.
    pub tunnels: u64,
    /// Tunnels that the rest have room for; at least so many.
    pub room: u64,
    /// Whether everybody would find a place; where no other gateway is left, not even newcomers would.
    pub enough: bool,
}

impl HeadroomStatus {
    /// Of the gateway at that place of [`Snapshot::gateways`]; `None`: it cannot be known, or makes no sense.
    pub fn of(snapshot: &Snapshot, index: usize, now: Instant) -> Option<Self> {
        let headroom = headroom(snapshot, index, now).ok()?;
        Some(Self { tunnels: headroom.tunnels, room: headroom.room, enough: headroom.is_enough() })
    }
}

/// Says whose tunnels the others have no room for, and of whom that is not known, and why; or that all is well.
pub fn sentence(snapshot: &Snapshot, now: Instant) -> String {
    let answers = (0..snapshot.gateways.len()).map(|index| (index, headroom(snapshot, index, now)));
    let (mut short, mut unknown, mut well) = (Vec::new(), Vec::new(), 0_usize);
    for (index, answer) in answers {
        let Some(view) = snapshot.gateways.get(index) else { continue };
        match answer {
            Err(NoTelling::Moot) => {}
            Ok(headroom) if headroom.is_enough() => well += 1,
            Ok(headroom) => short.push((view.as_ref(), headroom)),
            Err(why) => unknown.push((view.as_ref(), why)),
        }
    }
    // whoever leaves the most without a place comes first; of gateways of one size that is the same for all
    short.sort_by_key(|(_, headroom)| (headroom.left(), Reverse(headroom.tunnels)));
    let mut sentences: Vec<_> = short_of_room(snapshot, &short).into_iter().collect();
    sentences.extend(not_known(snapshot, &unknown));
    match (sentences.as_slice(), snapshot.gateways.len(), well) {
        ([], 0, _) => "There are no gateways.".into(),
        ([], _, 0) => "No gateway has tunnels that others would have to take.".into(),
        ([], ..) => "Whichever gateway fails, the others can take its tunnels.".into(),
        (sentences, ..) => sentences.join(" "),
    }
}

fn short_of_room(snapshot: &Snapshot, short: &[(&GatewayView, Headroom)]) -> Option<String> {
    let ((worst, headroom), rest) = short.split_first()?;
    let name = &worst.gateway.name;
    let Headroom { tunnels, room, heirs } = headroom;
    let mut text = match heirs.as_slice() {
        [] if *tunnels == 0 => format!("If {name} fails now, there is no other gateway for its clients."),
        [] => format!("If {name} fails now, there is no other gateway for its {}.", counted(*tunnels)),
        [heir] => {
            let heir = named(snapshot, *heir);
            format!("If {name} fails now, {heir} has room for {room} of its {}.", counted(*tunnels))
        }
        _ => format!("If {name} fails now, the others have room for {room} of its {}.", counted(*tunnels)),
    };
    let of = |(view, headroom): &(&GatewayView, Headroom)| {
        format!("{} ({} of {})", view.gateway.name, headroom.room, headroom.tunnels)
    };
    if !rest.is_empty() {
        let told: Vec<_> = rest.iter().take(TOLD).map(of).collect();
        let told: Vec<_> = told.iter().map(String::as_str).collect();
        text.push_str(&format!(" The same goes for {}", enumerated(&told)));
        match rest.len().saturating_sub(TOLD) {
            0 => text.push('.'),
            more => text.push_str(&format!(", and for {more} more.")),
        }
    }
    Some(text)
}

fn not_known(snapshot: &Snapshot, unknown: &[(&GatewayView, NoTelling)]) -> Option<String> {
    let ((first, why), rest) = unknown.split_first()?;
    let name = &first.gateway.name;
    let why = match why {
        NoTelling::Moot => return None,
        NoTelling::NotSeenYet => "it has no good check yet".to_owned(),
        NoTelling::Tunnels => "no fresh report tells how many it has".to_owned(),
        NoTelling::Room(of) => {
            let names: Vec<_> = of.iter().take(TOLD).map(|index| named(snapshot, *index)).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("no fresh report tells how much room {} has", enumerated(&names))
        }
    };
    let rest = match rest.len() {
        0 => String::new(),
        1 => " Nor is it of one more gateway.".to_owned(),
        more => format!(" Nor is it of {more} more gateways."),
    };
    Some(format!("Whether the others could take the tunnels of {name} is not known: {why}.{rest}"))
}

fn named(snapshot: &Snapshot, index: usize) -> String {
    snapshot.gateways.get(index).map(|view| view.gateway.name.to_string()).unwrap_or_default()
}

fn counted(tunnels: u64) -> String {
    if tunnels == 1 { "one tunnel".into() } else { format!("{tunnels} tunnels") }
}

/// So many are named; a large farm has too many for a sentence.
const TOLD: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::status::tests::{Farm, refused, report};
    use super::*;
    use crate::fleet::Service;

    fn said(farm: &mut Farm) -> String {
        let now = farm.now.instant;
        sentence(&farm.roster.snapshot(), now)
    }

    fn farm(tunnels: &[u64]) -> Farm {
        let mut farm = Farm::new(u8::try_from(tunnels.len()).unwrap());
        for (i, count) in tunnels.iter().enumerate() {
            farm.observe(&format!("gw{}", i + 1), report(*count, Service::Up));
        }
        farm
    }

    #[test]
    fn where_there_is_room_one_sentence_says_so() {
        assert_eq!(said(&mut farm(&[400, 300])), "Whichever gateway fails, the others can take its tunnels.");
        assert_eq!(said(&mut farm(&[])), "There are no gateways.");
    }

    #[test]
    fn whoever_leaves_the_most_without_a_place_is_said_first() {
        let short = said(&mut farm(&[400, 860, 900]));
        assert_eq!(
            short,
            "If gw3 fails now, the others have room for 740 of its 900 tunnels. \
             The same goes for gw2 (700 of 860) and gw1 (240 of 400)."
        );
        assert_eq!(
            said(&mut farm(&[1, 1000])),
            "If gw2 fails now, gw1 has room for 999 of its 1000 tunnels. The same goes for gw1 (0 of 1)."
        );
        let many = said(&mut farm(&[1000; 8]));
        assert!(many.ends_with("gw5 (0 of 1000) and gw6 (0 of 1000), and for 2 more."), "{many}");
    }

    #[test]
    fn where_nobody_is_left_it_says_so_even_without_a_tunnel() {
        let mut two = farm(&[12, 0]);
        two.observe("gw2", refused());
        assert_eq!(said(&mut two), "If gw1 fails now, there is no other gateway for its 12 tunnels.");
        assert_eq!(said(&mut farm(&[0])), "If gw1 fails now, there is no other gateway for its clients.");
        two.observe("gw1", refused());
        assert_eq!(said(&mut two), "No gateway has tunnels that others would have to take.");
    }

    #[test]
    fn what_is_not_known_is_said_with_the_reason() {
        let mut new = Farm::new(1);
        assert_eq!(
            said(&mut new),
            "Whether the others could take the tunnels of gw1 is not known: it has no good check yet."
        );
        let mut old = farm(&[400, 300, 200]);
        old.at(60);
        assert_eq!(
            said(&mut old),
            "Whether the others could take the tunnels of gw1 is not known: no fresh report tells how many it has. \
             Nor is it of 2 more gateways."
        );
        old.observe("gw1", report(400, Service::Up));
        let told = said(&mut old);
        assert!(
            told.contains("tunnels of gw1 is not known: no fresh report tells how much room gw2 and gw3 has"),
            "{told}"
        );
    }

    #[test]
    fn the_figures_are_told_where_they_are_known() {
        let mut farm = farm(&[400, 900]);
        let now = farm.now.instant;
        let of = |farm: &mut Farm, index| HeadroomStatus::of(&farm.roster.snapshot(), index, now);
        assert_eq!(of(&mut farm, 0), Some(HeadroomStatus { tunnels: 400, room: 100, enough: false }));
        assert_eq!(of(&mut farm, 1), Some(HeadroomStatus { tunnels: 900, room: 600, enough: false }));
        farm.observe("gw1", refused());
        assert_eq!(of(&mut farm, 0), None);
    }
}
