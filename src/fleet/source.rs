//! Who a connection comes from, as far as limits and affinity go.

use std::net::{IpAddr, Ipv6Addr};

/// The one who is behind an address: an IPv4 address, or the first address of an IPv6 /64, which is what
/// one subscriber has (RFC 6177 §2).
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_subscriber_is_a_64_and_a_mapped_address_is_ipv4() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:1:ffff::2", "2001:db8:0:1::"),
        ] {
            assert_eq!(source(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        }
    }
}
