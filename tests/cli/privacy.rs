//! What people send is nobody's business: not the log's at any level, not the metrics', not the status'.

use std::sync::Arc;

use rustix::process::Signal;
use rustls::ClientConfig;
use vestibule::net::tls::{self, Trust};

use crate::serve::Place;
use crate::support::{Running, connect, exchange, over_tls};

/// A front door that tells all it can.
fn talkative() -> (Place, Running) {
    let place = Place::new();
    place.configure(&format!("[log]\nlevel = \"trace\"\n{}", place.config()));
    let running = place.ready();
    (place, running)
}

/// Where in a request there is something that nobody else may ever see.
const SECRETS: [&str; 6] = ["path", "query", "cookie", "authorization", "password", "host"];

/// Stops the front door and looks for secrets in everything that it has told; returns the answers that are in
/// the access log.
fn assert_discreet(place: &Place, running: Running) -> Vec<String> {
    let admin = place.admin.to_string();
    let metrics = exchange(
        &mut connect(place.admin),
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert!(metrics.contains("vestibule_redirects_total"), "{metrics}");
    let json = place.folder.run(["status", "--admin", &admin, "--format", "json"]).stdout;
    let text = place.ask("status").stdout;
    assert!(json.contains("\"redirects\"") && text.contains("REDIRECTS"), "{json}{text}");
    running.signal(Signal::TERM);
    let log = running.wait().stderr;
    let answers = log.lines().filter(|line| line.contains(" request client=")).map(|line| {
        line.split_whitespace().find_map(|word| word.strip_prefix("status=")).unwrap().to_owned()
    });
    let answers = answers.collect();
    for (place, told) in [("metrics", metrics), ("status", text), ("status as JSON", json), ("log", log)] {
        let told = told.to_ascii_lowercase();
        for secret in SECRETS {
            let found = told.lines().find(|line| line.contains(&marker(secret)));
            assert_eq!(found, None, "the {secret} is in the {place}");
        }
    }
    answers
}

/// In no word that anyone else would use.
fn marker(secret: &str) -> String {
    format!("zq{secret}qz")
}

fn alpn(protocol: &str) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(tls::client_config(&Trust::Anyone, None).unwrap());
    config.alpn_protocols = vec![protocol.into()];
    Arc::new(config)
}

/// A request with a secret wherever there can be one.
fn request(method: &str, path: &str) -> String {
    let [in_path, query, cookie, authorization, password, host] = SECRETS.map(marker);
    let body = format!("username=alice&password={password}");
    format!(
        "{method} {path}{in_path}?next={query} HTTP/1.1\r\nHost: {host}.example.com\r\n\
         Cookie: webvpn={cookie}\r\nAuthorization: Basic {authorization}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn what_people_send_is_told_nowhere() {
    let (place, running) = talkative();
    let requests = [
        (request("GET", "/"), "302"),
        (request("POST", "/"), "302"),
        (request("POST", "/prx/000/http/localhost/"), "403"),
        (request("OPTIONS", "/"), "204"),
        (request("TRACE", "/"), "405"),
        (request("POST", "/").replace("Content-Length", "Content-Length: x\r\nContent-Length"), "400"),
        (request("GET", "/").replace("?next=", " ?next="), "400"),
    ];
    for (request, status) in &requests {
        let (answer, _) = over_tls(place.door, "vpn.example.com", alpn("http/1.1"), request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        // the password follows a redirect only where the client wants it to
        assert!(!answer.contains(&marker("password")), "{answer}");
    }
    let answer = exchange(&mut connect(place.upgrade), request("POST", "/").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 30"), "{answer}");
    // plain HTTP where TLS is spoken
    exchange(&mut connect(place.door), request("POST", "/").as_bytes());
    // neither do administrators need to know what their monitoring has asked for
    let answer = exchange(&mut connect(place.admin), request("POST", "/").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let answers = assert_discreet(&place, running);
    for (_, status) in &requests[..5] {
        assert!(answers.iter().any(|answer| answer == status), "no {status} in {answers:?}");
    }
}

#[test]
fn what_is_not_a_request_over_http_2_is_told_nowhere_either() {
    let (place, running) = talkative();
    let [path, query, .., host] = SECRETS.map(marker);
    // a path may hold no space, and an authority no second @
    for (authority, path) in [
        ("vpn.example.com", format!("/{path} ?next={query}")),
        (&*format!("{host}@@vpn.example.com"), "/".to_owned()),
    ] {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", &path)];
        over_tls(place.door, "vpn.example.com", alpn("h2"), &http2(&fields, ""));
    }
    assert_discreet(&place, running);
}

#[test]
fn what_people_send_over_http_2_is_told_nowhere() {
    let (place, running) = talkative();
    let [path, query, cookie, authorization, password, host] = SECRETS.map(marker);
    for (method, prefix) in [("GET", "/"), ("POST", "/"), ("POST", "/prx/000/")] {
        let path = format!("{prefix}{path}?next={query}");
        let fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", &format!("{host}.example.com")),
            (":path", &path),
            ("cookie", &format!("webvpn={cookie}")),
            ("authorization", &format!("Basic {authorization}")),
        ];
        let body = format!("username=alice&password={password}");
        over_tls(place.door, "vpn.example.com", alpn("h2"), &http2(&fields, &body));
    }
    assert_eq!(assert_discreet(&place, running), ["302", "302", "403"]);
}

/// All that a client sends for one request (RFC 9113 §3.4 and §6): its preface, settings, a request whose
/// header fields are literals (RFC 7541 §6.2.2), and a goodbye, so that the answer is the last that comes.
fn http2(fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length of one byte");
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    let frame = |kind, flags, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &block),
        frame(DATA, END_STREAM, 1, body.as_bytes()),
        // the last stream of the other side that was seen, and that nothing is wrong
        frame(GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat()
}
