//! The PROXY header before TLS that ends here. (That before TLS which goes through is in `passthrough.rs`.)

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::gateway::{RawGateway, proxy_to};
use crate::support::{Running, anyone, ask, handshake, status};

#[tokio::test]
async fn a_trusted_proxys_word_on_who_comes_is_taken_before_tls() {
    let gateway = RawGateway::named("one").await;
    let address = gateway.address;
    let farm = Running::with(1, |settings| {
        proxy_to(settings, &[address], |proxy| {
            proxy.upstream.accept_proxy_protocol = true;
            proxy.upstream.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        });
    })
    .await;
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.77 198.51.100.1 50000 443\r\n").await.unwrap();
    let mut stream = handshake(stream, "localhost", anyone()).await.expect("TLS after the header");
    assert_eq!(status(&ask(&mut stream).await), 200);
    let received = gateway.received().concat();
    assert!(received.contains("\r\nX-Forwarded-For: 192.0.2.77\r\n"), "{received}");

    let stream = TcpStream::connect(farm.front).await.unwrap();
    assert!(handshake(stream, "localhost", anyone()).await.is_err(), "TLS without a header");
    let failed = "vestibule_connections_rejected_total{listener=\"portal\",reason=\"proxy_header\"}";
    farm.until_metric(failed, 1.0).await;
}
