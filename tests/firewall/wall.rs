use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use vestibule::net::firewall::{Away, CHECK_MARK, Done, Wall};

use super::network::{Client, Outcome, Tools, alone, run, serve_tcp, until};

const GATEWAY: [&str; 2] = ["10.77.0.1", "fd77::1"];

fn away(until: Instant) -> Vec<Away> {
    let away =
        |ip: &str| Away { to: SocketAddr::new(ip.parse().unwrap(), 443), until, holders: "front-a".into() };
    GATEWAY.map(away).into()
}

/// This host is the front door: between a client and a gateway.
fn farm() -> (Client, Client) {
    let client = Client::new();
    let gateway = Client::joined("v2", &["10.77.0.254/24", "fd77::fe/64"], &["10.77.0.1/24", "fd77::1/64"]);
    run("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    let routes = |ipv4: &str, ipv6: &str| {
        run(&format!("ip route add default via {ipv4}; ip -6 route add default via {ipv6}"));
    };
    client.inside(|| routes("10.9.0.1", "fd09::1"));
    gateway.inside(|| {
        routes("10.77.0.254", "fd77::fe");
        serve_tcp(443);
        serve_tcp(8080);
    });
    for gateway in GATEWAY {
        until("the gateway can be reached", || client.tcp(gateway, 443) == Outcome::Open);
        until("it can be reached from here", || connect(gateway, 443, None).is_ok());
    }
    (client, gateway)
}

fn connect(gateway: &str, port: u16, mark: Option<u32>) -> std::io::Result<TcpStream> {
    let address = SocketAddr::new(gateway.parse().unwrap(), port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if let Some(mark) = mark {
        socket.set_mark(mark).unwrap();
    }
    let begun = Instant::now();
    let result = socket.connect_timeout(&address.into(), Duration::from_secs(3));
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "{gateway}: {result:?} after {:?}",
        begun.elapsed()
    );
    result.map(|()| socket.into())
}

#[test]
fn a_wall_keeps_this_host_and_what_it_forwards_from_a_gateway() {
    alone("wall::a_wall_keeps_this_host_and_what_it_forwards_from_a_gateway", Tools::Nft, async || {
        let (client, _gateway) = farm();
        let mut living: Vec<_> = GATEWAY.map(|gateway| client.connect(gateway, 443)).into();
        living.extend(GATEWAY.map(|gateway| connect(gateway, 443, None).unwrap()));
        for connection in &living {
            connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        }
        let mut wall = Wall::default();
        let block = away(Instant::now() + Duration::from_secs(60));
        assert_eq!(wall.set(&block).await.unwrap(), Done::Written);
        assert_eq!(wall.set(&block).await.unwrap(), Done::AsItWas);
        for gateway in GATEWAY {
            let refused = connect(gateway, 443, None).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{gateway}");
            assert_eq!(client.tcp(gateway, 443), Outcome::Refused, "{gateway}");
            // its own checks, and other ports
            assert!(connect(gateway, 443, Some(CHECK_MARK)).is_ok(), "{gateway}");
            assert!(connect(gateway, 8080, None).is_ok(), "{gateway}");
            assert_eq!(client.tcp(gateway, 8080), Outcome::Open, "{gateway}");
        }
        assert!(living.iter_mut().all(super::network::lives));
        run("nft flush ruleset");
        assert_eq!(wall.set(&block).await.unwrap(), Done::Repaired);
        // one of two is up again
        assert_eq!(wall.set(&block[..1]).await.unwrap(), Done::Written);
        assert!(connect(GATEWAY[0], 443, None).is_err());
        assert!(connect(GATEWAY[1], 443, None).is_ok());
        wall.remove().await.unwrap();
        assert!(connect(GATEWAY[0], 443, None).is_ok());
        assert_eq!(run("nft list tables"), "");
    });
}

#[test]
fn a_wall_ends_by_itself() {
    alone("wall::a_wall_ends_by_itself", Tools::Nft, async || {
        let (client, _gateway) = farm();
        let begun = Instant::now();
        Wall::default().set(&away(begun + Duration::from_millis(1500))).await.unwrap();
        assert_eq!(client.tcp(GATEWAY[0], 443), Outcome::Refused);
        until("it is open again", || GATEWAY.iter().all(|gateway| client.tcp(gateway, 443) == Outcome::Open));
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(1400) && took < Duration::from_millis(2500), "{took:?}");
    });
}
