//! How long clients and gateways of a proxy may take.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule::front::{Limits, Proxy};

use crate::client::Client;
use crate::gateway::{RawGateway, proxy_to};
use crate::support::{Running, own_address};

async fn farm(
    gateways: &[SocketAddr],
    limits: impl FnOnce(&mut Limits),
    change: impl FnOnce(&mut Proxy),
) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, change);
        limits(&mut settings.listeners[0].limits);
    })
    .await
}

/// A download that is under way when its listener goes.
#[tokio::test]
async fn a_download_outlives_its_listener() {
    let gateway = RawGateway::scripted(|mut line| async move {
        line.request().await;
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n").await;
        for _ in 0..80 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            line.send(b"x").await;
        }
        line.until_closed().await;
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}, |_| {}).await;
    let mut client = Client::connect(&farm).await;
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.head().await;
    let mut settings = farm.settings();
    settings.listeners[0].address = own_address();
    farm.reload(settings).await.unwrap();
    assert_eq!(client.exactly(80).await.len(), 80);
    farm.stop().await.unwrap();
}
