//! A listener in mode `proxy`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{Running, read_head, status};

#[tokio::test]
async fn requests_go_to_the_gateways_one_after_the_other_and_their_names_keep_case_and_order() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let addresses = gateways.each_ref().map(|gateway| gateway.address);
    let farm = Running::with(2, |settings| proxy_to(settings, &addresses, |_| {})).await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let request = b"GET /a?b HTTP/1.1\r\nX-CSTP-Version: 1\r\nHost: vpn.example.com\r\nuser-AGENT: x\r\nConnection: close, X-Odd\r\nX-Odd: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        let answer = farm.exchange(request).await;
        assert_eq!(status(&answer), 200, "{answer}");
        bodies.push(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
    }
    assert_eq!(bodies, ["one", "two", "one", "two"]);
    let received = gateways[0].received().concat();
    let first = received.split("\r\n\r\n").next().unwrap();
    assert_eq!(
        first,
        "GET /a?b HTTP/1.1\r\nX-CSTP-Version: 1\r\nHost: vpn.example.com\r\nuser-AGENT: x\r\nX-Forwarded-For: \
         127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: vpn.example.com"
    );
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_carries_what_comes_after_the_gateways_consent_and_nothing_before() {
    let gateway = RawGateway::start(|request, _| {
        assert!(request.starts_with("CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\n"), "{request}");
        Then::Echo(b"HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\n\r\nhello".to_vec())
    })
    .await;
    let address = gateway.address;
    let farm = Running::with(1, |settings| proxy_to(settings, &[address], |_| {})).await;
    let mut client = farm.connect().await;
    client
        .write_all(b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\nCookie: webvpn=1\r\n\r\nearly")
        .await
        .unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\n"), "{head}");
    let mut greeting = [0; 10];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"helloearly");
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    let _ = ok("");
    farm.stop().await.unwrap();
}
