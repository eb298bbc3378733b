//! A reload under those who are being served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use vestibule::config::FrontSettings;
use vestibule::fleet::{Endpoint, Gateway, VrrpId};
use vestibule::front::{ListenerSettings, Mode};
use vestibule::net::check::{Check, Get, Kind, StatusRange};

use crate::support::{
    PATIENCE, Running, anyone, ask, connect_with, handshake, header, own_address, read_to_end, status,
};

#[tokio::test]
async fn a_listener_comes_and_goes_and_the_others_stay() {
    let farm = Running::farm(1).await;
    let mut kept = farm.connect().await;
    assert_eq!(status(&ask(&mut kept).await), 302);

    let before = farm.settings();
    let mut with_another = before.clone();
    let another = another_listener(&before);
    with_another.listeners.push(another.clone());
    farm.reload(with_another).await.unwrap();
    let mut kept_there = connect(another.address).await;
    assert_eq!(status(&ask(&mut kept_there).await), 302);
    farm.wait_until(|status| status.listeners.len() == 2 && status.listeners.iter().all(|l| l.open)).await;
    assert_eq!(redirects(&farm, "another").await, 1);
    assert_eq!(status(&ask(&mut kept).await), 302);

    farm.reload(before).await.unwrap();
    until_refused(another.address).await;
    assert_eq!(read_to_end(&mut kept_there).await, "", "who was there is told goodbye");
    assert_eq!(farm.wait_until(|_| true).await.listeners.len(), 1);
    assert_eq!(farm.metric("vestibule_connections{listener=\"another\"}").await, None);
    assert_eq!(status(&ask(&mut kept).await), 302);
    assert_eq!(farm.gateway_chosen().await, Some(0));
}

#[tokio::test]
async fn a_listener_changes_what_it_does_and_its_name_where_it_is() {
    let farm = Running::farm(1).await;
    let mut kept_tls = farm.connect().await;
    assert_eq!(status(&ask(&mut kept_tls).await), 302);

    let redirect = farm.settings();
    let mut upgrade = redirect.clone();
    let listener = &mut upgrade.listeners[0];
    listener.name = "portal-http".into();
    listener.mode = Mode::HttpsUpgrade(Endpoint::parse("vpn.example.com", 443).unwrap());
    listener.redirect.status = StatusCode::PERMANENT_REDIRECT;
    farm.reload(upgrade).await.unwrap();
    let mut kept_plain = eventually("it never speaks plain HTTP", async || {
        let mut stream = TcpStream::connect(farm.front).await.unwrap();
        let answer = try_ask(&mut stream).await?;
        assert_eq!(status(&answer), 308);
        assert_eq!(header(&answer, "Location"), Some("https://vpn.example.com/"));
        Some(stream)
    })
    .await;
    let entry = farm.wait_until(|_| true).await.listeners.remove(0);
    assert_eq!((&*entry.name, &*entry.mode, entry.open), ("portal-http", "https-upgrade", true));
    assert_eq!(entry.address, farm.front);
    assert_eq!(entry.redirects, 0, "what another listener has done is not its merit");
    assert_eq!(farm.metric("vestibule_responses_total{listener=\"portal\",class=\"3xx\"}").await, None);
    assert_eq!(status(&ask(&mut kept_tls).await), 302, "who came over TLS stays there");

    let mut back = redirect;
    back.listeners[0].name = "portal-again".into();
    farm.reload(back).await.unwrap();
    eventually("it never speaks TLS again", async || {
        let mut stream = try_connect(farm.front).await?;
        (status(&ask(&mut stream).await) == 302).then_some(())
    })
    .await;
    let entry = farm.wait_until(|_| true).await.listeners.remove(0);
    assert_eq!((&*entry.name, &*entry.mode, entry.redirects), ("portal-again", "redirect", 1));
    assert_eq!(status(&ask(&mut kept_plain).await), 308, "who came without TLS is answered so");
    assert_eq!(status(&ask(&mut kept_tls).await), 302);
}

#[tokio::test]
async fn who_is_connected_stays_and_who_comes_next_finds_the_new_settings() {
    let farm = Running::farm(2).await;
    farm.set_tunnels(0, 10).await;
    let mut kept = farm.connect().await;
    assert_eq!(header(&ask(&mut kept).await, "Location"), Some(&*format!("https://{}/", farm.pages[0])));

    let mut settings = farm.settings();
    settings.listeners[0].redirect.status = StatusCode::TEMPORARY_REDIRECT;
    settings.fleet.gateways.remove(0);
    settings.probes.remove(0);
    farm.reload(settings).await.unwrap();
    // the farm is as it is for everyone
    let answer = ask(&mut kept).await;
    assert_eq!(status(&answer), 302);
    assert_eq!(header(&answer, "Location"), Some(&*format!("https://{}/", farm.pages[1])));
    eventually("the new settings are not in force", async || {
        let answer = ask(&mut farm.connect().await).await;
        assert_eq!(header(&answer, "Location"), Some(&*format!("https://{}/", farm.pages[1])));
        (status(&answer) == 307).then_some(())
    })
    .await;
    assert_eq!(status(&ask(&mut kept).await), 302);
}

#[tokio::test]
async fn reload_after_reload_nobody_is_turned_away() {
    const RELOADS: usize = 40;
    let farm = Arc::new(Running::with(2, |settings| settings.workers = 2).await);
    let before = farm.settings();
    let mut other = before.clone();
    other.listeners[0].name = "renamed".into();
    other.listeners[0].redirect.status = StatusCode::TEMPORARY_REDIRECT;
    other.listeners.push(another_listener(&before));
    other.fleet.gateways.remove(1);
    other.probes.remove(1);

    let over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (farm, over) = (Arc::clone(&farm), Arc::clone(&over));
        let mut kept = farm.connect().await;
        clients.spawn(async move {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                if number % 2 == 0 {
                    assert_eq!(status(&ask(&mut kept).await), 302, "on a connection that is kept");
                } else {
                    let answer =
                        farm.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
                    assert!(matches!(status(&answer), 302 | 307), "to a newcomer: {answer}");
                }
                answers += 1;
            }
            answers
        });
    }
    for number in 0..RELOADS {
        if number % 2 == 0 {
            farm.reload(other.clone()).await.unwrap();
        } else {
            farm.reload(before.clone()).await.unwrap();
            let refused = TcpStream::connect(other.listeners[1].address).await;
            assert!(refused.is_err(), "a reload is done when what it closes is closed");
        }
        assert!(clients.try_join_next().is_none(), "a client has failed");
    }
    over.store(true, Ordering::Relaxed);
    for answers in clients.join_all().await {
        assert!(answers > 0);
    }
    let reloads = farm.metric("vestibule_config_reloads_total{result=\"ok\"}").await;
    assert_eq!(reloads, Some(RELOADS as f64));
}

#[tokio::test]
async fn a_reload_that_cannot_have_an_address_changes_nothing() {
    let farm = Running::farm(2).await;
    farm.set_tunnels(0, 10).await;
    let mut kept = farm.connect().await;
    assert_eq!(status(&ask(&mut kept).await), 302);

    let before = farm.settings();
    let held = TcpListener::bind(own_address()).await.unwrap();
    let (free, mut taken) = (another_listener(&before), another_listener(&before));
    (taken.name, taken.address) = ("taken".into(), held.local_addr().unwrap());
    let mut settings = before.clone();
    settings.listeners[0].name = "renamed".into();
    settings.listeners[0].redirect.status = StatusCode::TEMPORARY_REDIRECT;
    settings.listeners.extend([free.clone(), taken.clone()]);
    settings.fleet.gateways.remove(0);
    settings.probes.remove(0);
    settings.admin.token = None;
    let problems = farm.reload(settings).await.unwrap_err();
    let told = format!("cannot listen on {} (taken): address already in use", taken.address);
    assert!(problems.len() == 1 && problems[0].starts_with(&told), "{problems:?}");

    assert!(TcpStream::connect(free.address).await.is_err(), "the listener before it is not open either");
    let mut newcomer = farm.connect().await;
    for stream in [&mut kept, &mut newcomer] {
        let answer = ask(stream).await;
        assert_eq!(status(&answer), 302);
        assert_eq!(header(&answer, "Location"), Some(&*format!("https://{}/", farm.pages[0])));
    }
    let status = farm.wait_until(|_| true).await;
    let listeners: Vec<_> = status.listeners.iter().map(|l| (&*l.name, l.open)).collect();
    assert_eq!(listeners, [("portal", true)]);
    assert_eq!(status.gateways.len(), 2);
    // the gateway that was to go is still asked
    farm.set_tunnels(0, 20).await;
    farm.until_metric("vestibule_config_reloads_total{result=\"error\"}", 1.0).await;
    // with the token of before: and once the address is free, all of it comes about
    drop(held);
    let mut settings = before;
    settings.listeners.extend([free.clone(), taken.clone()]);
    farm.reload(settings).await.unwrap();
    for address in [free.address, taken.address] {
        assert_eq!(crate::support::status(&ask(&mut connect(address).await).await), 302);
    }
}

#[tokio::test]
async fn a_gateway_that_comes_with_its_listener_is_known_to_whoever_comes_first() {
    let (checked, release) = slow_to_be_checked().await;
    let mut second = None;
    let farm = Running::with(2, |settings| {
        second = settings.fleet.gateways.pop().zip(settings.probes.pop());
    })
    .await;
    let (gateway, mut probe) = second.unwrap();
    let mut settings = farm.settings();
    let mut another = another_listener(&settings);
    another.ask.vrrp_id = VrrpId::new(2);
    settings.listeners.push(another.clone());
    let gateway = Gateway { vrrp_id: VrrpId::new(2), ..Gateway::clone(&gateway) };
    settings.fleet.gateways.push(Arc::new(gateway));
    probe.timeout = PATIENCE;
    let get = Get { path: "/".into(), expect: StatusRange::usual() };
    let site = Endpoint::parse(&checked.to_string(), 80).unwrap().into();
    probe.checks = vec![Check { name: "slow".into(), site, kind: Kind::Http(get) }];
    settings.probes.push(probe);

    let reloading = farm.reload(settings);
    let coming = async {
        // the socket is open before the gateway has been asked
        let stream =
            eventually("nobody listens", async || TcpStream::connect(another.address).await.ok()).await;
        let asking = async { ask(&mut handshake(stream, "localhost", anyone()).await.unwrap()).await };
        let mut asking = std::pin::pin!(asking);
        // this is not waiting for something but giving the fault its time to show
        let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
        assert!(early.is_err(), "answered before anything is known of the gateway: {early:?}");
        release.send_replace(true);
        tokio::time::timeout(PATIENCE, asking).await.expect("an answer in time")
    };
    let (reloaded, answer) = tokio::join!(reloading, coming);
    reloaded.unwrap();
    assert_eq!(status(&answer), 302);
    assert_eq!(header(&answer, "Location"), Some(&*format!("https://{}/", farm.pages[1])));
}

/// A web server that answers no one until it may.
async fn slow_to_be_checked() -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (release, released) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut released = released.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                if released.wait_for(|released| *released).await.is_ok() {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    });
    (address, release)
}

/// One more listener like the first one, elsewhere.
fn another_listener(settings: &FrontSettings) -> ListenerSettings {
    let first = settings.listeners[0].clone();
    ListenerSettings { name: "another".into(), address: own_address(), ..first }
}

async fn connect(address: SocketAddr) -> TlsStream<TcpStream> {
    connect_with(address, "localhost", anyone()).await.unwrap()
}

async fn try_connect(address: SocketAddr) -> Option<TlsStream<TcpStream>> {
    connect_with(address, "localhost", anyone()).await.ok()
}

/// The answer's head; `None` from who does not take the request for one.
async fn try_ask(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
    let mut answer = vec![0; 4096];
    let read =
        tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer in time").ok()?;
    answer.truncate(read);
    answer.starts_with(b"HTTP/").then(|| String::from_utf8(answer).unwrap())
}

/// How many a listener has sent on.
async fn redirects(farm: &Running, name: &str) -> u64 {
    let status = farm.wait_until(|_| true).await;
    status.listeners.iter().find(|listener| listener.name == name).unwrap().redirects
}

/// A worker takes up its listeners a moment after the reload has been confirmed.
async fn eventually<T>(complaint: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(Instant::now() < deadline, "{complaint}");
        tokio::task::yield_now().await;
    }
}

async fn until_refused(address: SocketAddr) {
    eventually("the listener never closes", async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}
