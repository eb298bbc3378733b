use std::net::SocketAddr;
use std::time::Instant;

use aws_lc_rs::hmac;

use super::cookie::{self, Cookie};
use super::flood::Flood;
use super::message::Request;
use crate::net::rate::Rate;

/// Keeps what anyone can send under any address from costing us, or whoever has that address, much.
///
/// Normally a request is believed. While there is a flood, or when a source asks more often than its share, it has to
/// bring a cookie. With one it has a share of its own: who only pretends to be there cannot use that up. Cookies themselves
/// are given to all who ask, or he could keep those who are there from getting theirs; they are smaller than what is sent
/// for them.
#[derive(Debug)]
pub struct Guard {
    begun: Instant,
    secret: hmac::Key,
    flood: Flood,
    believed: Rate,
    proven: Rate,
    refused: Rate,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be answered.
    Admitted,
    /// It is to come again with this.
    Challenged(Cookie),
    /// Nothing.
    Dropped,
}

impl Guard {
    /// With a secret that nobody else knows.
    pub fn new(secret: hmac::Key, now: Instant) -> Self {
        let rate = |per_second| Rate::new(per_second, now);
        Self {
            begun: now,
            secret,
            flood: Flood::new(FLOOD_PER_SECOND, now),
            believed: rate(PER_SECOND_AND_SOURCE),
            proven: rate(PER_SECOND_AND_SOURCE),
            refused: rate(REFUSALS_PER_SECOND_AND_SOURCE),
        }
    }

    /// Judges a request.
    pub fn judge(&self, request: &Request<'_>, from: SocketAddr, now: Instant) -> Verdict {
        let is_flood = self.flood.note(now);
        if !is_flood && self.believed.allows(from.ip(), now) {
            return Verdict::Admitted;
        }
        let minute = now.saturating_duration_since(self.begun).as_secs() / 60;
        if !cookie::is_valid(&self.secret, minute, from, request) {
            return Verdict::Challenged(cookie::bake(&self.secret, minute, from, request));
        }
        if self.proven.allows(from.ip(), now) { Verdict::Admitted } else { Verdict::Dropped }
    }

    /// Whether that source may be told that there is nothing for it here; else silence does.
    pub fn may_refuse(&self, from: SocketAddr, now: Instant) -> bool {
        self.refused.allows(from.ip(), now)
    }
}

/// All gateways together take far fewer logins than that.
const FLOOD_PER_SECOND: u32 = 500;
/// An office behind one address after a failure of its line, and more.
const PER_SECOND_AND_SOURCE: u32 = 100;
const REFUSALS_PER_SECOND_AND_SOURCE: u32 = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::samples::sample;
    use super::*;

    fn guard() -> Guard {
        Guard::new(hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), Instant::now())
    }

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// How many of them are admitted, challenged and dropped.
    fn judged(guard: &Guard, request: &Request<'_>, sources: impl Iterator<Item = SocketAddr>) -> [usize; 3] {
        let mut counts = [0; 3];
        for source in sources {
            match guard.judge(request, source, guard.begun) {
                Verdict::Admitted => counts[0] += 1,
                Verdict::Challenged(_) => counts[1] += 1,
                Verdict::Dropped => counts[2] += 1,
            }
        }
        counts
    }

    #[test]
    fn who_asks_too_often_is_asked_for_a_cookie_first() {
        let (guard, datagram) = (guard(), sample("strongswan-500"));
        let request = Request::read(&datagram).unwrap();
        let same = |n| (0..n).map(|i| from(&format!("192.0.2.{i}:500")));
        assert_eq!(judged(&guard, &request, same(250)), [100, 150, 0]);
        assert_eq!(judged(&guard, &request, [from("198.51.100.1:500")].into_iter()), [1, 0, 0]);
    }

    #[test]
    fn who_proves_his_address_is_served_though_somebody_else_uses_up_his_share() {
        let (guard, datagram) = (guard(), sample("strongswan-500"));
        let request = Request::read(&datagram).unwrap();
        let (own, spoofed) = (from("192.0.2.1:500"), from("192.0.2.9:500"));
        judged(&guard, &request, std::iter::repeat_n(spoofed, 10_000));
        let Verdict::Challenged(cookie) = guard.judge(&request, own, guard.begun) else {
            panic!("he cannot prove it")
        };
        judged(&guard, &request, std::iter::repeat_n(spoofed, 10_000));
        let back = Request { cookie: Some(&cookie), ..request };
        assert_eq!(judged(&guard, &back, std::iter::repeat_n(spoofed, 100)), [0, 100, 0]);
        assert_eq!(judged(&guard, &back, std::iter::repeat_n(own, 110)), [100, 0, 10]);
    }

    #[test]
    fn in_a_flood_everybody_needs_a_cookie() {
        let (guard, datagram) = (guard(), sample("strongswan-500"));
        let request = Request::read(&datagram).unwrap();
        let everywhere =
            |n: u32| (0..n).map(|i| SocketAddr::from(((0x0a00_0000 + (i << 8)).to_be_bytes(), 500)));
        assert_eq!(judged(&guard, &request, everywhere(2000)), [500, 1500, 0]);
        let own = from("192.0.2.1:500");
        let Verdict::Challenged(cookie) = guard.judge(&request, own, guard.begun) else { panic!() };
        let back = Request { cookie: Some(&cookie), ..request };
        let later = |seconds| guard.begun + Duration::from_secs(seconds);
        assert_eq!(guard.judge(&back, own, later(1)), Verdict::Admitted);
        assert_eq!(guard.judge(&request, own, later(10)), Verdict::Admitted, "it is over");
    }

    #[test]
    fn refusals_are_fewer() {
        let guard = guard();
        let told = (0..50).filter(|_| guard.may_refuse(from("192.0.2.1:500"), guard.begun)).count();
        assert_eq!(told, 10);
    }
}
