//! HTTP/2 in front of a proxy; gateways speak HTTP/1.1 all the same.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{Running, anyone, connect_with, own_address};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

async fn farm(gateways: &[SocketAddr]) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, |_| {});
    })
    .await
}

async fn connect(farm: &Running) -> SendRequest<Body> {
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect_with(farm.front, "localhost", config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn whole(body: &'static str) -> Body {
    Full::from(body).boxed_unsync()
}

/// A body of so many pieces whose length nobody knows before its end.
struct Streamed(usize);

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; PIECE])))))
    }
}

/// A body of five bytes that tells its length, and its end by itself (RFC 9113 §6.1 lets that be an empty frame).
struct EndsApart(Option<Bytes>);

impl hyper::body::Body for EndsApart {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

const PIECE: usize = 16 * 1024;

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_one_of_http_1_1_would() {
    let gateway = RawGateway::start(|_, _| {
        Then::Answer(
            b"HTTP/1.1 201 Created\r\nConnection: keep-alive, X-Nominated\r\nKeep-Alive: timeout=5\r\nX-Nominated: 1\r\nX-CSTP-Version: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let farm = farm(&[gateway.address]).await;
    let mut sender = connect(&farm).await;
    let request = Request::post("https://vpn.example.com:8443/a?b=c")
        .header("x-cstp-version", "1")
        .header("cookie", "a=1")
        .header("user-agent", "test")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("host", "other.example.com")
        .header("x_forwarded_for", "192.0.2.1")
        .body(whole("question"))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::CREATED, Version::HTTP_2));
    let mut headers: Vec<_> =
        response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    headers.retain(|(name, _)| *name != "date");
    assert_eq!(headers, [("x-cstp-version", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]);
    assert_eq!(text(response).await, "hello");
    assert_eq!(
        gateway.received().concat(),
        "POST /a?b=c HTTP/1.1\r\nX-Cstp-Version: 1\r\nCookie: a=1; b=2\r\nUser-Agent: test\r\nHost: vpn.example.com:8443\r\n\
         Content-Length: 8\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: vpn.example.com:8443\r\n\r\nquestion"
    );
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn several_streams_are_under_way_at_once() {
    let all_have_come = Arc::new(Barrier::new(8));
    let gateway = RawGateway::scripted(move |mut line| {
        let all_have_come = Arc::clone(&all_have_come);
        async move {
            let request = line.request().await.unwrap();
            all_have_come.wait().await;
            line.send(&ok(request.split(' ').nth(1).unwrap())).await;
            line.until_closed().await;
        }
    })
    .await;
    let farm = farm(&[gateway.address]).await;
    let sender = connect(&farm).await;
    let mut streams = JoinSet::new();
    for number in 0..8 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let path = format!("/{number}");
            let request = Request::get(format!("https://x{path}")).body(whole("")).unwrap();
            assert_eq!(text(sender.send_request(request).await.unwrap()).await, path);
        });
    }
    streams.join_all().await;
    drop(sender);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn long_bodies_go_both_ways() {
    const PIECES: usize = 512;
    const LENGTH: usize = PIECES * PIECE;
    let gateway = RawGateway::scripted(move |mut line| async move {
        let head = line.head().await.unwrap();
        assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        let (mut piece, mut sevens) = (vec![0; PIECE], 0);
        while sevens < LENGTH {
            let read = line.read_into(&mut piece).await;
            assert!(read > 0);
            sevens += piece[..read].iter().filter(|b| **b == 7).count();
        }
        line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes()).await;
        line.send(&vec![7; LENGTH]).await;
        line.until_closed().await;
    })
    .await;
    let farm = farm(&[gateway.address]).await;
    let mut sender = connect(&farm).await;
    let request = Request::post("https://x/").body(Streamed(PIECES).boxed_unsync()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], LENGTH.to_string());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body == vec![7; LENGTH]);
    drop(sender);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_refused_on_one_stream_is_nothing_to_the_others() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address]).await;
    let mut sender = connect(&farm).await;
    let get = |uri: &str| Request::get(uri).body(whole("")).unwrap();
    let connect = Request::builder().method(Method::CONNECT).uri("x:443").body(whole("")).unwrap();
    let trace = Request::builder().method(Method::TRACE).uri("https://x/").body(whole("")).unwrap();
    let two_hosts =
        Request::get("https://x/").header("host", "a").header("host", "b").body(whole("")).unwrap();
    for (request, status) in
        [(connect, 405), (trace, 405), (two_hosts, 400), (get("https://x:99999999/"), 400)]
    {
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("connection"), None);
        assert_eq!(text(sender.send_request(get("https://x/")).await.unwrap()).await, "x");
    }
    assert_eq!(gateway.requests(), 4);
    drop(sender);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_cannot_be_reached_is_502_and_the_connection_goes_on() {
    let farm = farm(&[own_address()]).await;
    let mut sender = connect(&farm).await;
    for body in ["", "body"] {
        let request = Request::post("https://x/").body(whole(body)).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 502);
    }
    drop(sender);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn an_upload_whose_end_comes_by_itself_leaves_its_connection_for_the_next() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address]).await;
    let mut client = connect(&farm).await;
    for _ in 0..3 {
        let body = EndsApart(Some(Bytes::from_static(b"hello")));
        let request = Request::post("https://x/").body(body.boxed_unsync()).unwrap();
        assert_eq!(text(client.send_request(request).await.unwrap()).await, "x");
    }
    assert_eq!(gateway.connections(), 1);
    farm.stop().await.unwrap();
}
