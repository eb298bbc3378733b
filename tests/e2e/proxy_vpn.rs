//! What VPN clients and their gateways need of a proxy, as ocserv and openconnect were seen to behave.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use vestibule::fleet::BalanceMode;
use vestibule::front::{Affinity, Proxy};

use crate::client::Client;
use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{Running, own_address};

/// With the affinity that is the default, and connections of one's own.
async fn farm(gateways: &[RawGateway]) -> Running {
    farm_behind(gateways, &[]).await
}

/// The same behind these proxies.
async fn farm_behind(gateways: &[RawGateway], trusted_proxies: &[IpNet]) -> Running {
    let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.address).collect();
    let settle = |proxy: &mut Proxy| {
        proxy.affinity = Affinity::Session(Affinity::usual_sessions());
        proxy.shares_connections = false;
        proxy.upstream.trusted_proxies = trusted_proxies.into();
    };
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        settings.fleet.balance.slow_start = Duration::ZERO;
        proxy_to(settings, &addresses, settle);
    })
    .await
}

/// Like ocserv: whoever asks over a connection that somebody has logged in over is that somebody.
async fn by_connection() -> RawGateway {
    RawGateway::scripted(|mut line| async move {
        let mut user = "nobody".to_owned();
        while let Some(request) = line.request().await {
            if let Some(name) = request.split("/login/").nth(1) {
                user = name.split(' ').next().unwrap().to_owned();
            }
            line.send(&ok(&user)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_to_a_gateway_is_one_clients_and_kept_for_him() {
    let gateway = by_connection().await;
    let gateways = [gateway];
    let farm = farm(&gateways).await;
    let mut alice = Client::connect(&farm).await;
    assert_eq!(alice.get("/login/alice").await.text(), "alice");
    assert_eq!(alice.get("/").await.text(), "alice");
    assert_eq!(gateways[0].connections(), 1, "kept between two requests");
    assert_eq!(Client::connect(&farm).await.get("/").await.text(), "nobody");
    drop(alice);
    gateways[0].until_all_over().await;
    assert_eq!(Client::connect(&farm).await.get("/").await.text(), "nobody");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn clients_whom_a_trusted_proxy_brings_over_one_connection_are_not_taken_for_one() {
    let gateways = [by_connection().await, by_connection().await];
    let farm = farm_behind(&gateways, &["127.0.0.0/8".parse().unwrap()]).await;
    let mut proxy = Client::connect(&farm).await;
    for (client, path, who) in [
        ("192.0.2.1", "/login/alice", "alice"),
        ("192.0.2.1", "/", "alice"),
        ("192.0.2.2", "/", "nobody"),
        ("192.0.2.2", "/login/bob", "bob"),
        ("192.0.2.1", "/", "nobody"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n");
        assert_eq!(proxy.ask(request.as_bytes()).await.text(), who, "{client} {path}");
    }
    assert_eq!([gateways[0].connections(), gateways[1].connections()], [2, 1], "each has a turn of his own");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_without_a_cookie_stays_with_the_gateway_that_has_answered_him() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let farm = farm(&gateways).await;
    let mut firsts = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(&farm).await;
        let first = client.get("/").await.text().to_owned();
        assert_eq!(client.post("/auth", "name").await.text(), first);
        assert_eq!(client.post("/auth", "password").await.text(), first);
        firsts.push(first);
    }
    assert_eq!(firsts, ["one", "two", "one", "two"], "each login is one turn");
    farm.stop().await.unwrap();
}

const CONNECT: &[u8] = b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\nCookie: webvpn=theirs\r\n\r\n";

/// A gateway that knows no session: it says so, or breaks off as ocserv does.
async fn stranger(says_so: bool) -> RawGateway {
    RawGateway::start(move |_, _| {
        let answer =
            if says_so { &b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"[..] } else { b"" };
        Then::AnswerAndClose(answer.to_vec())
    })
    .await
}

#[tokio::test]
async fn a_tunnel_whose_session_nobody_remembers_finds_the_gateway_that_knows_it() {
    for says_so in [true, false] {
        let knows = RawGateway::start(|_, _| Then::Echo(b"HTTP/1.1 200 CONNECTED\r\n\r\n".to_vec())).await;
        // whoever has the first turn, the one that knows it comes last
        let gateways = [stranger(says_so).await, stranger(says_so).await, knows];
        let farm = farm(&gateways).await;
        for _ in 0..3 {
            let mut client = Client::connect(&farm).await;
            client.send(CONNECT).await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 CONNECTED\r\n"));
            client.send(b"through").await;
            assert_eq!(client.exactly(7).await, b"through");
        }
        let asked = gateways[0].requests() + gateways[1].requests();
        assert!(asked <= 2, "{asked}: from the first time on it is known");
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_nobody_remembers_is_looked_for_at_gateways_too_that_take_no_newcomers() {
    for mode in [BalanceMode::Failsafe { failback: true }, BalanceMode::LoadBalancing] {
        let knows = RawGateway::start(|_, _| Then::Echo(b"HTTP/1.1 200 CONNECTED\r\n\r\n".to_vec())).await;
        let gateways = [stranger(true).await, knows];
        let farm = Running::with(2, |settings| {
            settings.fleet.balance.mode = mode;
            let settle = |proxy: &mut Proxy| proxy.affinity = Affinity::Session(Affinity::usual_sessions());
            proxy_to(settings, &[gateways[0].address, gateways[1].address], settle);
        })
        .await;
        if mode == BalanceMode::LoadBalancing {
            farm.post("/api/v1/gateways/gw2/drain", "").await;
        }
        // who has no session there is a newcomer
        let mut client = Client::connect(&farm).await;
        client.send(b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
        let mut client = Client::connect(&farm).await;
        client.send(CONNECT).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 CONNECTED\r\n"), "{mode:?}");
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_a_gateway_out_of_reach_may_know_is_not_refused() {
    let knows_nobody = stranger(true).await;
    let farm = Running::with(2, |settings| {
        settings.workers = 1;
        settings.fleet.balance.slow_start = Duration::ZERO;
        settings.fleet.thresholds.fall = NonZeroU32::MAX;
        let settle = |proxy: &mut Proxy| proxy.affinity = Affinity::Session(Affinity::usual_sessions());
        proxy_to(settings, &[own_address(), knows_nobody.address], settle);
    })
    .await;
    // whoever has the first turn
    for _ in 0..2 {
        let mut client = Client::connect(&farm).await;
        client.send(CONNECT).await;
        assert!(client.head().await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    }
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_that_no_gateway_knows_is_refused_as_they_refuse_it() {
    let gateways = [stranger(true).await, stranger(true).await];
    let farm = farm(&gateways).await;
    let mut client = Client::connect(&farm).await;
    client.send(CONNECT).await;
    assert!(client.head().await.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
    assert_eq!([gateways[0].requests(), gateways[1].requests()], [1, 1], "each is asked once");
    // without a session there is nothing to look for
    let mut client = Client::connect(&farm).await;
    client.send(b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
    assert_eq!(gateways[0].requests() + gateways[1].requests(), 3);
    farm.stop().await.unwrap();
}
