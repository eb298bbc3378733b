//! TLS between a proxy and its gateways.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use vestibule::certs::{self, Named};
use vestibule::front::{Proxy, UpstreamTls};
use vestibule::net::tls::{Trust, client_config, identity, server_config};

use crate::client::Client;
use crate::gateway::{Line, RawGateway, ok, proxy_to};
use crate::support::Running;

/// A gateway's TLS, whose certificate is for `gw1` and 127.0.0.1, and a client that trusts its authority.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let gateway = Named { name: "gw1".into(), addresses: vec![Ipv4Addr::LOCALHOST.into()] };
    let request = certs::Request {
        server_names: vec!["portal".into()],
        fronts: vec![Named { name: "front".into(), addresses: vec![] }],
        gateways: vec![gateway],
    };
    let made = certs::make(&request, SystemTime::now()).unwrap();
    let (_, pair) = &made.gateways[0];
    let identity = identity(vec![pair.certificate.clone()], pair.key.clone_key()).unwrap();
    let trust = Trust::Authorities(vec![made.authority.certificate.clone()]);
    (server_config(&identity).unwrap(), client_config(&trust, None).unwrap())
}

async fn gateway(tls: Option<Arc<ServerConfig>>) -> RawGateway {
    let script = |mut line: Line| async move {
        while line.request().await.is_some() {
            line.send(&ok("x")).await;
        }
    };
    RawGateway::open("127.0.0.1:0".parse().unwrap(), tls, script).await
}

async fn farm(gateway: &RawGateway, config: Arc<ClientConfig>, name: Option<&str>) -> Running {
    let server_name = name.map(|name| ServerName::try_from(name.to_owned()).unwrap());
    let change = |proxy: &mut Proxy| {
        proxy.upstream.connect_timeout = Duration::from_secs(1);
        proxy.tls = Some(UpstreamTls { config, server_name });
    };
    Running::with(1, |settings| {
        settings.workers = 1;
        proxy_to(settings, &[gateway.address], change);
    })
    .await
}

#[tokio::test]
async fn a_gateway_is_asked_over_tls_only_if_it_is_the_one_that_is_meant() {
    let (server, trusting) = tls();
    let (_, of_others) = tls();
    let anyone = client_config(&Trust::Anyone, None).unwrap();
    for (config, name, status) in [
        (&trusting, Some("gw1"), 200),
        // without a name, it is the address that counts
        (&trusting, None, 200),
        (&trusting, Some("gw2"), 502),
        (&of_others, Some("gw1"), 502),
        (&anyone, Some("gw2"), 200),
    ] {
        let gateway = gateway(Some(Arc::clone(&server))).await;
        let farm = farm(&gateway, Arc::clone(config), name).await;
        let mut client = Client::connect(&farm).await;
        for _ in 0..3 {
            let answer = client.get("/").await;
            assert_eq!(answer.status(), status, "{name:?}");
            if status == 502 {
                assert!(!answer.text().contains("certificate"), "why is nobody else's business");
            }
        }
        if status == 200 {
            assert_eq!((gateway.connections(), gateway.requests()), (1, 3), "TLS is kept as well");
        } else {
            assert_eq!(gateway.requests(), 0);
            let failed = "vestibule_upstream_requests_total{gateway=\"gw1\",result=\"connect_failed\"}";
            farm.until_metric(failed, 3.0).await;
        }
        drop(client);
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_that_speaks_no_tls_is_502_and_one_that_is_silent_504() {
    let (_, trusting) = tls();
    let plain = RawGateway::scripted(|mut line: Line| async move {
        line.read().await;
        line.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let silent = RawGateway::scripted(|mut line: Line| async move { line.until_closed().await }).await;
    for (gateway, status) in [(plain, 502), (silent, 504)] {
        let farm = farm(&gateway, Arc::clone(&trusting), Some("gw1")).await;
        assert_eq!(Client::connect(&farm).await.get("/").await.status(), status);
        assert_eq!(gateway.requests(), 0, "nothing is said in the clear");
        farm.stop().await.unwrap();
    }
}
