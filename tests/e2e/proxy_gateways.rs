//! Gateways that are not as one would wish: old ones, hasty ones, and some that hang.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule::config::FrontSettings;
use vestibule::front::Proxy;

use crate::client::Client;
use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{Running, anyone};

async fn farm(
    gateways: &[SocketAddr],
    listener: impl FnOnce(&mut FrontSettings),
    change: impl FnOnce(&mut Proxy),
) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, change);
        listener(settings);
    })
    .await
}

/// NTLM and Negotiate log in a connection and not a request.
#[tokio::test]
async fn a_connection_that_was_logged_in_is_not_lent_to_somebody_else() {
    let gateway = RawGateway::scripted(|mut line| async move {
        let mut user = "nobody";
        while let Some(request) = line.request().await {
            if request.contains("Authorization: NTLM TlRMTVNTUAAD") {
                user = "alice";
            }
            line.send(&ok(user)).await;
        }
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}, |_| {}).await;
    let mut alice = Client::connect(&farm).await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: NTLM TlRMTVNTUAAD\r\n\r\n";
    assert_eq!(alice.ask(request).await.text(), "alice");
    let mut mallory = Client::connect(&farm).await;
    assert_eq!(mallory.get("/").await.text(), "nobody");
}

/// A tunnel for HTTP/1.0, and one whose client says close.
#[tokio::test]
async fn tunnels_of_old_and_closing_clients() {
    let gateway = RawGateway::start(|request, _| {
        Then::Echo(match request.starts_with("CONNECT") {
            true => b"HTTP/1.1 200 CONNECTED\r\n\r\n".to_vec(),
            false => {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n".to_vec()
            }
        })
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}, |_| {}).await;
    for request in [
        &b"CONNECT /t HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"CONNECT /t HTTP/1.0\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.0\r\n\r\n",
        b"CONNECT /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /t HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"GET /t HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: x\r\n\r\n",
        b"GET /t HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let mut client = Client::connect(&farm).await;
        client.send(request).await;
        client.head().await;
        client.send(b"hello").await;
        assert_eq!(client.exactly(5).await, b"hello", "{}", request.escape_ascii());
    }
}

/// An old gateway that keeps its connection, and a body of unknown length.
#[tokio::test]
async fn a_chunked_upload_over_a_kept_http_1_0_connection() {
    let gateway = RawGateway::start(|_, _| {
        Then::Answer(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx".to_vec())
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}, |_| {}).await;
    let mut client = Client::connect(&farm).await;
    assert_eq!(client.get("/").await.text(), "x");
    client
        .send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .await;
    let _ = tokio::time::timeout(Duration::from_secs(3), client.answer()).await;
    assert!(gateway.received().concat().contains("hello"));
}

fn gateway_tls() -> std::sync::Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key)
    .unwrap();
    std::sync::Arc::new(config)
}

fn over_tls(proxy: &mut Proxy) {
    proxy.tls =
        Some(vestibule::front::UpstreamTls { config: std::sync::Arc::new(anyone()), server_name: None });
}

/// A gateway that ends a response with its connection, and TLS with nothing.
#[tokio::test]
async fn a_gateway_that_ends_tls_without_close_notify() {
    let gateway =
        RawGateway::open("127.0.0.1:0".parse().unwrap(), Some(gateway_tls()), |mut line| async move {
            line.request().await;
            line.send(b"HTTP/1.1 200 OK\r\n\r\nhello").await;
            // dropped: FIN without close_notify
        })
        .await;
    let farm = farm(&[gateway.address], |_| {}, over_tls).await;
    let mut client = Client::connect(&farm).await;
    assert_eq!(client.get("/").await.text(), "hello");
}

/// A gateway that hangs in the middle of an upload.
#[tokio::test]
async fn a_gateway_that_hangs_leaves_no_socket_behind() {
    let gateway = RawGateway::open("127.0.0.1:0".parse().unwrap(), None, |mut line| async move {
        line.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let farm = farm(
        &[gateway.address],
        |_| {},
        |proxy| {
            proxy.response_timeout = Duration::from_secs(1);
        },
    )
    .await;
    let open = || {
        let port = format!(":{:04X}", gateway.address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        // ours: remote is the gateway, ESTABLISHED
        table
            .lines()
            .filter(|l| {
                let f: Vec<_> = l.split_whitespace().collect();
                f[2].ends_with(&port) && f[3] == "01"
            })
            .count()
    };
    let mut client = Client::connect(&farm).await;
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n").await;
    let piece = vec![0; 65536];
    let sending = async {
        loop {
            if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &piece).await.is_err() {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(4), sending).await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(open(), 0, "sockets to the gateway are still open");
}

/// A request is run once where its answer has come.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_asked_for_again() {
    let many = "A: b\r\n".repeat(200);
    let answer = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n");
    let make = || {
        let answer = answer.clone();
        RawGateway::start(move |_, n| {
            Then::Answer(if n == 0 { ok("x") } else { answer.clone().into_bytes() })
        })
    };
    let gateways = [make().await, make().await, make().await];
    let addresses = gateways.each_ref().map(|g| g.address);
    let farm = farm(&addresses, |_| {}, |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for _ in 0..3 {
        client.get("/").await;
    }
    let before: usize = gateways.iter().map(RawGateway::requests).sum();
    let _ = client.get("/").await;
    let asked = gateways.iter().map(RawGateway::requests).sum::<usize>() - before;
    assert_eq!(asked, 1);
}

/// A gateway that cannot be reached for a moment: who has a session there can come again.
#[tokio::test]
async fn a_known_tunnel_is_not_taken_to_a_gateway_that_does_not_know_it() {
    let answer = |request: &str| match request {
        r if r.starts_with("CONNECT") => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nSet-Cookie: webvpn=abc\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let one = RawGateway::start(move |r, _| Then::AnswerAndClose(answer(r))).await;
    let two = RawGateway::start(move |r, _| Then::AnswerAndClose(answer(r))).await;
    let farm = farm(
        &[one.address, two.address],
        |_| {},
        |proxy| {
            proxy.affinity =
                vestibule::front::Affinity::Session(vestibule::front::Affinity::usual_sessions());
        },
    )
    .await;
    let mut client = Client::connect(&farm).await;
    assert_eq!(client.get("/").await.status(), 200);
    let at_one = one.requests() == 1;
    let (gone, _other) = if at_one { (one, two) } else { (two, one) };
    drop(gone);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer =
        client.ask(b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\nCookie: webvpn=abc\r\n\r\n").await;
    assert!(matches!(answer.status(), 502..=504), "{}", answer.status());
}

/// Two lengths that are one (RFC 9112 §6.3), and a coding that a client must know of (§6.1).
#[tokio::test]
async fn the_framing_of_a_response_is_written_anew() {
    let gateway = RawGateway::start(|request, _| {
        Then::AnswerAndClose(match request.starts_with("GET /list ") {
            true => b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx".to_vec(),
            false => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n".to_vec()
            }
        })
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}, |_| {}).await;
    let answer = farm.exchange(b"GET /list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("Content-Length: 1\r\n"), "{answer}");
    let answer = farm.exchange(b"GET /gzip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("gzip") || answer.starts_with("HTTP/1.1 502 "), "{answer}");
}
