//! Rendezvous hashing: every gateway has a weight for every client, and a client belongs to the gateway with
//! the highest. A gateway that goes leaves its own clients to the others, one that comes takes its share
//! from all, and nobody else moves.

use std::net::IpAddr;

use super::gateway::GatewayName;
use super::source::source;

/// What a gateway weighs for a client: the same in every process, on every host and in every version, so that
/// front doors which stand in for each other agree. (Hence no secret: whoever can choose his address can
/// choose his gateway, as he could by asking it directly.)
///
/// All addresses of one [`source`] are one client.
pub fn weight(name: &GatewayName, client: IpAddr) -> u64 {
    let bits = match source(client) {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (high, low) = ((bits >> 64) as u64, bits as u64);
    mix(mix(fnv_1a(name.as_str().as_bytes()) ^ high) ^ low)
}

/// A step of SplitMix64: each bit of the result depends on each bit of `z`.
pub fn mix(z: u64) -> u64 {
    let mut z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The 64-bit hash of Fowler, Noll and Vo. Alone it would not do: the last bytes of a name hardly reach its
/// upper bits.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::select::tests::{Farm, SSL};
    use super::super::{By, Gateway, GatewayName, WhenNone};
    use super::*;

    const CLIENTS: u32 = 10_000;

    fn client(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    /// A farm of these gateways, all up.
    fn farm(names: &[&str]) -> Farm {
        let define = |i: usize, gateway: &mut Gateway| gateway.name = GatewayName::new(names[i]);
        let mut farm = Farm::with(names.len(), WhenNone::Refuse, define);
        farm.tunnels(&vec![0; names.len()]);
        farm
    }

    /// Where each of the clients belongs.
    fn homes(farm: &mut Farm, client: impl Fn(u32) -> IpAddr) -> Vec<String> {
        let (snapshot, now) = (farm.roster.snapshot(), farm.now().instant);
        let home = |n| {
            let choice = super::super::select(&snapshot, SSL, By::Source(client(n)), &[], now, u64::from(n));
            choice.unwrap().view.gateway.name.to_string()
        };
        (0..CLIENTS).map(home).collect()
    }

    const FOUR: [&str; 4] = ["gw1", "gw2", "gw3", "gw4"];

    #[test]
    fn the_weights_are_the_same_everywhere_and_for_ever() {
        // worked out apart from this program
        for (name, address, expected) in [
            ("gw1", "192.0.2.1", 0x570e_ac88_6b78_7ea9),
            ("gw2", "192.0.2.1", 0x82e4_ad9b_9f8f_aeca),
            ("gw1", "2001:db8:0:1::5", 0x6bbb_93cd_0441_3848),
            ("Zürich", "10.0.0.1", 0xccf4_3bcc_8cf8_6ac4),
        ] {
            let weight = weight(&GatewayName::new(name), address.parse().unwrap());
            assert_eq!(weight, expected, "{name} for {address}: {weight:#x}");
        }
    }

    #[test]
    fn each_gateway_gets_its_share_of_neighbouring_addresses() {
        let prefix = |n: u32| Ipv6Addr::from_bits((0x2001_0db8_0000_0000 + u128::from(n)) << 64).into();
        let far_apart = |n: u32| Ipv4Addr::from_bits(n.wrapping_mul(0x0101_0100)).into();
        for clients in [&client as &dyn Fn(u32) -> IpAddr, &prefix, &far_apart] {
            let homes = homes(&mut farm(&FOUR), clients);
            for name in FOUR {
                let share = homes.iter().filter(|home| *home == name).count();
                assert!((2_350..=2_650).contains(&share), "{name} got {share}");
            }
        }
    }

    #[test]
    fn a_gateway_that_goes_leaves_everyone_else_where_they_were() {
        let before = homes(&mut farm(&FOUR), client);
        // gone from the configuration, or down
        let mut down = farm(&FOUR);
        down.fails(1);
        for mut farm in [farm(&["gw4", "gw1", "gw3"]), down] {
            let after = homes(&mut farm, client);
            let mut moved_to = [0; 3];
            for (old, new) in before.iter().zip(&after) {
                if old == "gw2" {
                    let i = ["gw1", "gw3", "gw4"].iter().position(|name| name == new).unwrap();
                    moved_to[i] += 1;
                } else {
                    assert_eq!(old, new);
                }
            }
            assert!(moved_to.iter().all(|n| (700..=950).contains(n)), "{moved_to:?}");
        }
    }

    #[test]
    fn a_gateway_that_comes_takes_its_share_and_nobody_goes_elsewhere() {
        let before = homes(&mut farm(&FOUR), client);
        let after = homes(&mut farm(&["new", "gw1", "gw2", "gw3", "gw4"]), client);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
        assert!(moved.iter().all(|(_, new)| *new == "new"));
        assert!((1_850..=2_150).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn load_pending_assignments_and_slow_start_move_nobody() {
        let before = homes(&mut farm(&FOUR), client);
        let mut busy = farm(&FOUR);
        busy.fails(1).tunnels(&[999, 0, 500, 1000]);
        let snapshot = busy.roster.snapshot();
        assert!(snapshot.gateways[1].filling_since.is_some());
        (0..50).for_each(|_| snapshot.gateways[0].assigned.add());
        assert_eq!(homes(&mut busy, client), before);
    }

    #[test]
    fn all_addresses_of_a_subscriber_lead_to_the_same_gateway() {
        let name = GatewayName::new("gw1");
        let of = |address: &str| weight(&name, address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8:0:1::"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::"), of("2001:db8:0:2::"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
