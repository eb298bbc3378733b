//! What a client proves with that it receives what is sent to its address (RFC 7296 §2.6), while nothing is kept of it
//! here. Pure: the secret and the time are arguments.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::message::Request;

/// The version of the secret, and a MAC of who may bring the cookie back and with what.
pub type Cookie = [u8; 1 + MAC_BYTES];

/// The cookie for a request from there. `minute`: how many have passed since the secret was drawn; as it is part of
/// what the MAC is of, each minute has a secret of its own.
pub fn bake(secret: &hmac::Key, minute: u64, from: SocketAddr, request: &Request<'_>) -> Cookie {
    let mut mac = hmac::Context::with_key(secret);
    mac.update(&minute.to_be_bytes());
    // the length of what follows is fixed for each family, but for the nonce, which comes last
    match from.ip().to_canonical() {
        IpAddr::V4(address) => {
            mac.update(&[4]);
            mac.update(&address.octets());
        }
        IpAddr::V6(address) => {
            mac.update(&[6]);
            mac.update(&address.octets());
        }
    }
    mac.update(&from.port().to_be_bytes());
    mac.update(&request.spi);
    mac.update(request.nonce);
    let mac = mac.sign();
    let mut cookie = [version(minute); 1 + MAC_BYTES];
    cookie.iter_mut().skip(1).zip(mac.as_ref()).for_each(|(to, from)| *to = *from);
    cookie
}

/// Whether a request brings the cookie that it was given in this minute or the one before.
pub fn is_valid(secret: &hmac::Key, minute: u64, from: SocketAddr, request: &Request<'_>) -> bool {
    let Some(cookie) = request.cookie else { return false };
    let minutes = [Some(minute), minute.checked_sub(1)].into_iter().flatten();
    let of_its_version = minutes.filter(|minute| cookie.first() == Some(&version(*minute)));
    of_its_version
        .map(|minute| bake(secret, minute, from, request))
        .any(|baked| verify_slices_are_equal(&baked, cookie).is_ok())
}

/// Which of the last 256 secrets it is.
fn version(minute: u64) -> u8 {
    minute as u8
}

/// Half of a SHA-256: nobody can try so many in two minutes.
const MAC_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::samples::{basics, message_of, notify, sample};
    use super::*;

    fn secret(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_request_from_its_address_and_for_no_other() {
        let here = from("192.0.2.1:500");
        let datagram = sample("strongswan-500");
        let request = Request::read(&datagram).unwrap();
        let cookie = bake(&secret(1), 7, here, &request);
        let back = Request { cookie: Some(&cookie), ..request };
        let is_good = |request: &Request<'_>, from| is_valid(&secret(1), 7, from, request);
        assert!(is_good(&back, here));
        assert!(is_good(&back, from("[::ffff:192.0.2.1]:500")), "however the socket tells it");
        assert!(is_good(&Request { has_marker: true, ..back }, here));
        for other in ["192.0.2.2:500", "192.0.2.1:501", "[2001:db8::1]:500"] {
            assert!(!is_good(&back, from(other)));
        }
        assert!(!is_good(&Request { spi: [1; 8], ..back }, here));
        assert!(!is_good(&Request { nonce: &[1; 32], ..back }, here));
        assert!(!is_good(&request, here), "none");
        assert!(!is_valid(&secret(2), 7, here, &back));
        for cut in 0..cookie.len() {
            assert!(!is_good(&Request { cookie: Some(&cookie[..cut]), ..back }, here));
            let mut changed = cookie;
            changed[cut] ^= 1;
            assert!(!is_good(&Request { cookie: Some(&changed), ..back }, here));
        }
        let longer = [&cookie[..], &[0]].concat();
        assert!(!is_good(&Request { cookie: Some(&longer), ..back }, here));
    }

    #[test]
    fn a_cookie_keeps_for_one_to_two_minutes() {
        let here = from("[2001:db8::1]:4500");
        let datagram = message_of([1; 8], &basics());
        let request = Request::read(&datagram).unwrap();
        let good_in = |baked: u64| {
            let cookie = bake(&secret(1), baked, here, &request);
            let back = Request { cookie: Some(&cookie), ..request };
            (0..1000).filter(|now| is_valid(&secret(1), *now, here, &back)).collect::<Vec<_>>()
        };
        assert_eq!(good_in(0), [0, 1]);
        assert_eq!(good_in(255), [255, 256], "and not again when its version comes round");
        assert_eq!(good_in(256), [256, 257]);
    }

    #[test]
    fn a_cookie_comes_back_as_it_was_given() {
        let here = from("192.0.2.1:500");
        let asked = message_of([1; 8], &basics());
        let cookie = bake(&secret(1), 3, here, &Request::read(&asked).unwrap());
        let back = message_of([1; 8], &[vec![notify(16390, &cookie)], basics()].concat());
        assert!(is_valid(&secret(1), 3, here, &Request::read(&back).unwrap()));
    }
}
