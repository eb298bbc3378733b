//! TLS at the door.

use rustls::HandshakeKind;
use rustls::client::Resumption;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vestibule::net::tls::any_certificate;

use crate::support::{Running, anyone, connect_with, read_to_end, status};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    let farm = Running::farm(1).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(any_certificate())
            .with_no_client_auth();
        let mut stream = connect_with(farm.front, "localhost", config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        stream.write_all(GET).await.unwrap();
        assert_eq!(status(&read_to_end(&mut stream).await), 302);
    }
    for version in ["1.2", "1.3"] {
        let sample = format!(
            "vestibule_tls_handshakes_total{{listener=\"portal\",resumed=\"false\",result=\"ok\",version=\"{version}\"}}"
        );
        let plain = format!(
            "vestibule_tls_handshakes_total{{listener=\"portal\",result=\"ok\",version=\"{version}\",resumed=\"false\"}}"
        );
        assert_eq!(farm.metric(&sample).await.or(farm.metric(&plain).await), Some(1.0), "TLS {version}");
    }
}

#[tokio::test]
async fn the_suite_is_the_lightest_that_the_client_knows() {
    use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
    let farm = Running::farm(1).await;
    for (known, agreed) in [
        (vec![TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256], TLS13_AES_128_GCM_SHA256),
        (vec![TLS13_AES_256_GCM_SHA384], TLS13_AES_256_GCM_SHA384),
    ] {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let suite = |wanted| *provider.cipher_suites.iter().find(|suite| suite.suite() == wanted).unwrap();
        provider.cipher_suites = known.iter().map(|wanted| suite(*wanted)).collect();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(any_certificate())
            .with_no_client_auth();
        let stream = connect_with(farm.front, "localhost", config).await.unwrap();
        assert_eq!(stream.get_ref().1.negotiated_cipher_suite().unwrap().suite(), agreed);
    }
}

#[tokio::test]
async fn alpn_is_never_required() {
    let farm = Running::farm(1).await;
    for (offered, agreed) in [
        (vec![], None),
        (vec![&b"h2"[..], b"http/1.1"], Some(&b"h2"[..])),
        (vec![&b"http/1.1"[..]], Some(&b"http/1.1"[..])),
    ] {
        let mut config = anyone();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let stream = connect_with(farm.front, "localhost", config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
    }
    let mut config = anyone();
    config.alpn_protocols = vec![b"http/1.0".to_vec(), b"vpn/7".to_vec()];
    let mut stream = connect_with(farm.front, "localhost", config).await.expect("no alert");
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&read_to_end(&mut stream).await), 302);
}

#[tokio::test]
async fn a_session_is_resumed_and_gets_one_ticket() {
    let farm = Running::farm(1).await;
    let mut config = anyone();
    config.resumption = Resumption::in_memory_sessions(8);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        // the clone shares the store of sessions
        let mut stream = connect_with(farm.front, "localhost", config.clone()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        assert_eq!(status(&read_to_end(&mut stream).await), 302);
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 1);
        kinds.push(stream.get_ref().1.handshake_kind());
    }
    assert_eq!(kinds[1], Some(HandshakeKind::Resumed), "{kinds:?}");
}

#[tokio::test]
async fn plain_http_and_nonsense_on_the_tls_port_are_cut_off_and_counted() {
    let farm = Running::farm(1).await;
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    let sample =
        "vestibule_tls_handshakes_total{listener=\"portal\",result=\"error\",version=\"\",resumed=\"\"}";
    farm.until_metric(sample, 1.0).await;
    assert_eq!(farm.gateway_chosen().await, Some(0));
}
