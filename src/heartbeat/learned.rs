//! The addresses that front doors check this gateway from: a block that stopped their checks would hide that
//! its reason has gone. Pure: the time is an argument.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses that pass the block, learned from who asks for reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    /// In the order of the addresses, each once a front door.
    known: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    address: IpAddr,
    of: Arc<str>,
    last_seen: Instant,
}

impl Learned {
    /// Takes note that the front door `of` has asked from the first of these addresses and checks from the
    /// others. Tells whether there is a new one among those that pass.
    ///
    /// What can be no host's address, and loopback, which passes anyway, is left out; so is what goes beyond
    /// [`MOST_OF_ONE`], but for addresses of the same front door that have not been seen for longer, and
    /// beyond [`MOST`].
    pub(super) fn learn(
        &mut self,
        of: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
        now: Instant,
    ) -> bool {
        let before = self.passing(now);
        for address in addresses.into_iter().map(|address| address.to_canonical()).take(MOST_OF_ONE) {
            if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
                continue;
            }
            match self.known.iter_mut().find(|known| known.address == address && &*known.of == of) {
                Some(known) => known.last_seen = now,
                None => self.add(of, address, now),
            }
        }
        self.passing(now) != before
    }

    /// Forgets what nobody has asked from for [`REMEMBERED`]. Tells whether there was any.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.is_remembered(now));
        self.known.len() < before
    }

    /// All of them, in order, each once.
    pub(super) fn passing(&self, now: Instant) -> Vec<IpAddr> {
        let remembered = self.known.iter().filter(|known| known.is_remembered(now));
        let mut addresses: Vec<_> = remembered.map(|known| known.address).collect();
        addresses.dedup();
        addresses
    }

    fn add(&mut self, of: &str, address: IpAddr, now: Instant) {
        self.forget(now);
        let its_own = self.known.iter().enumerate().filter(|(_, known)| &*known.of == of);
        let oldest = its_own.clone().min_by_key(|(_, known)| known.last_seen);
        match oldest {
            Some((oldest, _)) if its_own.count() >= MOST_OF_ONE => {
                self.known.remove(oldest);
            }
            _ if self.known.len() >= MOST => return,
            _ => {}
        }
        self.known.push(Address { address, of: of.into(), last_seen: now });
        self.known.sort();
    }
}

impl Address {
    fn is_remembered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_seen) < REMEMBERED
    }
}

/// The addresses in a `vestibule-checks-from` header: `62.168.1.202, 2001:db8::2`. What is none is left out.
pub(super) fn read(header: &str) -> impl Iterator<Item = IpAddr> {
    header.split(',').filter_map(|address| address.trim().parse().ok())
}

/// Where a front door says where its direct checks leave from.
pub(super) const CHECKS_FROM: &str = "vestibule-checks-from";

const MOST_OF_ONE: usize = 8;
const MOST: usize = 64;
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn those_who_ask_pass_for_an_hour() {
        let (start, mut learned) = (Instant::now(), Learned::default());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert!(learned.learn("front-a", [v4(9), "2001:db8::2".parse().unwrap()], at(0)));
        assert!(learned.learn("front-b", [v4(3), v4(9)], at(10)));
        assert!(!learned.learn("front-b", [v4(3)], at(50)));
        assert_eq!(learned.passing(at(59)), [v4(3), v4(9), "2001:db8::2".parse().unwrap()]);
        assert_eq!(learned.passing(at(60)), [v4(3), v4(9)]);
        assert!(learned.forget(at(70)) && !learned.forget(at(70)));
        assert_eq!(learned.passing(at(70)), [v4(3)]);
        assert!(learned.learn("front-a", [v4(9)], at(80)), "it is new again");
    }

    #[test]
    fn what_is_no_hosts_address_is_not_learned() {
        let mut learned = Learned::default();
        let mut learn = |text: &str| learned.learn("front-a", read(text), Instant::now());
        for text in
            ["", "127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.5", "ff02::1", "192.0.2.1/24", "a, b,,"]
        {
            assert!(!learn(text), "{text}");
        }
        assert!(learn("front-b, ::ffff:192.0.2.1 , x"));
        assert!(!learn("192.0.2.1"), "it is the same address");
        assert!(learn("2001:db8::2,192.0.2.2"));
        assert_eq!(learned.passing(Instant::now()).len(), 3);
    }

    #[test]
    fn a_front_door_has_room_for_eight_and_the_oldest_make_way() {
        let (start, mut learned) = (Instant::now(), Learned::default());
        assert!(learned.learn("front-a", (1..=100).map(v4), start));
        assert_eq!(learned.passing(start), (1..=8).map(v4).collect::<Vec<_>>());
        let later = start + Duration::from_secs(1);
        learned.learn("front-a", (2..=8).map(v4), later);
        assert!(learned.learn("front-a", [v4(9)], later));
        assert_eq!(learned.passing(later), (2..=9).map(v4).collect::<Vec<_>>());
    }

    #[test]
    fn there_is_room_for_sixty_four_of_all() {
        let (start, mut learned) = (Instant::now(), Learned::default());
        for front in 0..9 {
            let addresses = (1..=8).map(|last| v4(front * 8 + last));
            assert_eq!(learned.learn(&format!("front-{front}"), addresses, start), front < 8);
        }
        assert_eq!(learned.passing(start).len(), MOST);
        // a hundred polls change nothing
        assert!(!learned.learn("front-8", [v4(200)], start));
        assert!(learned.learn("front-8", [v4(200)], start + REMEMBERED));
    }
}
