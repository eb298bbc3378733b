use std::time::{Duration, Instant};

use vestibule::net::firewall::{Block, Connections, Done, Engine, Fence, Firewall, RejectWith};

use super::network::{Client, GATEWAY, Outcome, Tools, alone, lives, until};

fn fence(ports: &[&str], connections: Connections, reject_with: RejectWith) -> Fence {
    Fence {
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        connections,
        reject_with,
        exempt: vec!["127.0.0.0/8".parse().unwrap(), "fd09::3/128".parse().unwrap()],
    }
}

fn block(lease: Duration) -> Block {
    Block { until: Instant::now() + lease, holders: "self, front-a".into() }
}

const LONG: Duration = Duration::from_secs(60);

fn engine(tools: Tools) -> Engine {
    if tools == Tools::Nft { Engine::Nftables } else { Engine::Iptables }
}

/// One test for each engine.
macro_rules! for_each_engine {
    ($($name:ident: $body:path;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn nftables() {
                alone(concat!("fence::", stringify!($name), "::nftables"), Tools::Nft, async || $body(Tools::Nft).await);
            }

            #[test]
            fn iptables() {
                let name = concat!("fence::", stringify!($name), "::iptables");
                alone(name, Tools::Iptables, async || $body(Tools::Iptables).await);
            }

            #[test]
            fn iptables_legacy() {
                let name = concat!("fence::", stringify!($name), "::iptables_legacy");
                alone(name, Tools::Legacy, async || $body(Tools::Legacy).await);
            }
        }
    )*};
}

for_each_engine! {
    a_fence_refuses_newcomers_and_lets_living_connections_be: newcomers_alone;
    a_fence_of_all_connections_cuts_them: all_connections;
    the_kernel_ends_a_block_that_nobody_renews: the_kernels_end;
}

async fn newcomers_alone(tools: Tools) {
    let client = Client::new();
    let ports = ["tcp/443", "udp/443", "udp/500", "udp/4500"];
    let mut firewall = Firewall::new(engine(tools), fence(&ports, Connections::New, RejectWith::TcpReset));
    let mut living = GATEWAY.map(|gateway| client.connect(gateway, 443));
    assert_eq!(firewall.set(None, &[]).await.unwrap(), Done::Written);
    assert_eq!(firewall.set(None, &[]).await.unwrap(), Done::AsItWas);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Open);
    }
    let exempt = ["10.9.0.3".parse().unwrap()];
    let block = block(LONG);
    assert_eq!(firewall.set(Some(&block), &exempt).await.unwrap(), Done::Written);
    assert_eq!(firewall.set(Some(&block), &exempt).await.unwrap(), Done::AsItWas);
    for (gateway, exempt) in GATEWAY.into_iter().zip(["10.9.0.3", "fd09::3"]) {
        assert_eq!(client.tcp(gateway, 443), Outcome::Refused, "{gateway}");
        assert_eq!(client.tcp(gateway, 8080), Outcome::Open, "{gateway}");
        assert_eq!(client.tcp_from(exempt, gateway, 443), Outcome::Open, "{gateway}");
        // DTLS: who comes anew has opened a TCP connection before
        assert_eq!(client.udp(gateway, 443, b"x"), Outcome::Open, "{gateway}");
        assert_eq!(client.udp(gateway, 500, &ike(false, 0)), Outcome::Refused, "{gateway}");
        assert_eq!(client.udp(gateway, 500, &ike(false, 1)), Outcome::Open, "{gateway}");
        assert_eq!(client.udp(gateway, 4500, &ike(true, 0)), Outcome::Refused, "{gateway}");
        assert_eq!(client.udp(gateway, 4500, &ike(true, 1)), Outcome::Open, "{gateway}");
        // an ESP packet, whose SPI is no marker, and a keepalive (RFC 3948 §2.2, §2.3)
        assert_eq!(client.udp(gateway, 4500, &[1; 100]), Outcome::Open, "{gateway}");
        assert_eq!(client.udp(gateway, 4500, &[0xff]), Outcome::Open, "{gateway}");
        assert!(std::net::TcpStream::connect((gateway, 443)).is_ok(), "this host itself");
    }
    assert!(living.iter_mut().all(lives));
    assert_eq!(firewall.set(None, &exempt).await.unwrap(), Done::Written);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Open);
        assert_eq!(client.udp(gateway, 500, &ike(false, 0)), Outcome::Open);
    }
    assert!(living.iter_mut().all(lives));
}

/// The beginning of an IKE message: SPIs, next payload 33, version 2.0, IKE_SA_INIT, initiator, message 0, length 28.
fn ike(marker: bool, responder: u8) -> Vec<u8> {
    let mut message = if marker { vec![0; 4] } else { Vec::new() };
    message.extend([0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x07, 0x18]);
    message.extend([0, 0, 0, 0, 0, 0, 0, responder]);
    message.extend([33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 28]);
    message
}

async fn all_connections(tools: Tools) {
    let client = Client::new();
    for reject_with in [RejectWith::TcpReset, RejectWith::IcmpPortUnreachable] {
        let fence = fence(&["tcp/443", "udp/443"], Connections::All, reject_with);
        let mut firewall = Firewall::new(engine(tools), fence);
        firewall.set(None, &[]).await.unwrap();
        let mut living = GATEWAY.map(|gateway| client.connect(gateway, 443));
        let mut elsewhere = client.connect(GATEWAY[0], 8080);
        assert!(living.iter_mut().all(lives));
        firewall.set(Some(&block(LONG)), &[]).await.unwrap();
        for (connection, gateway) in living.iter_mut().zip(GATEWAY) {
            assert!(!lives(connection), "{gateway}");
            let outcome = client.tcp(gateway, 443);
            let icmpv6 = gateway.contains(':') && reject_with == RejectWith::IcmpPortUnreachable;
            let expected = if icmpv6 { Outcome::RefusedLate } else { Outcome::Refused };
            assert!(outcome == Outcome::Refused || outcome == expected, "{gateway}: {outcome:?}");
            assert_eq!(client.udp(gateway, 443, b"x"), Outcome::Refused, "{gateway}");
        }
        assert!(lives(&mut elsewhere));
        firewall.remove().await.unwrap();
        firewall.remove().await.unwrap();
        for gateway in GATEWAY {
            assert_eq!(client.tcp(gateway, 443), Outcome::Open, "{gateway}");
        }
    }
}

async fn the_kernels_end(tools: Tools) {
    let client = Client::new();
    let fence = fence(&["tcp/443"], Connections::New, RejectWith::TcpReset);
    let mut firewall = Firewall::new(engine(tools), fence);
    let lease = Duration::from_secs(2);
    firewall.set(Some(&block(lease)), &[]).await.unwrap();
    let begun = Instant::now();
    // as if it had been killed
    drop(firewall);
    for gateway in GATEWAY {
        assert_eq!(client.tcp(gateway, 443), Outcome::Refused);
    }
    until("it is open again", || GATEWAY.iter().all(|gateway| client.tcp(gateway, 443) == Outcome::Open));
    let took = begun.elapsed();
    assert!(
        took > lease - Duration::from_millis(100) && took < lease + Duration::from_millis(1200),
        "{took:?}"
    );
}
