//! What becomes of a message's head on its way: the request's to the gateway, the response's to the client.
//!
//! Field names keep their case and fields their order (those of one name stand together). What belongs to one
//! connection alone stays behind (RFC 9110 §7.6.1), and what could be read in two ways is refused.

use http::header::{self, Entry};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request};

use super::forwarded::{self, Asker};
use crate::front::settings::Forwarded;

/// What a request asks the connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing else than it is.
    Exchange,
    /// Another protocol (RFC 9110 §7.8).
    Upgrade,
    /// A tunnel (RFC 9110 §9.3.6), whatever the form of its target: VPN clients name a path.
    Connect,
}

impl Wish {
    /// Whether a response with this status grants the wish for a tunnel.
    pub fn is_granted_by(self, status: StatusCode) -> bool {
        match self {
            Self::Exchange => false,
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Connect => status.is_success(),
        }
    }
}

/// Why a request is not taken to any gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112 §3.2, and RFC 9110 §4.2.4 of who asks in the name of somebody.
    #[error("there is not exactly one Host, or it is not one")]
    Host,
    /// RFC 9112 §6.1: any coding but chunked alone.
    #[error("Transfer-Encoding is not 'chunked' alone")]
    TransferEncoding,
    /// A tunnel's request has no body.
    #[error("CONNECT with a body")]
    ConnectWithBody,
    /// RFC 9112 §3.2.4.
    #[error("the target does not fit the method")]
    Target,
}

/// Whether a request can be read in one way alone, as far as its head is still as it came; and what it asks
/// for. `has_body`: whether any follows.
pub fn examine(head: &request::Parts, has_body: bool) -> Result<Wish, Refusal> {
    let headers = &head.headers;
    check_host(head)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Refusal::TransferEncoding);
    }
    if head.method == Method::CONNECT {
        return if has_body { Err(Refusal::ConnectWithBody) } else { Ok(Wish::Connect) };
    }
    if head.uri.path_and_query().is_none() || (head.uri.path() == "*" && head.method != Method::OPTIONS) {
        return Err(Refusal::Target);
    }
    let mut protocols = protocols(headers).peekable();
    let upgrade = protocols.peek().is_some() && protocols.all(is_for_gateways);
    // with a body, where would the new protocol begin? Nobody has to upgrade (RFC 9110 §7.8)
    if upgrade && !has_body && head.version == Version::HTTP_11 && options(headers).any(is(b"upgrade")) {
        return Ok(Wish::Upgrade);
    }
    Ok(Wish::Exchange)
}

fn check_host(head: &request::Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let is_one = |host: &HeaderValue| {
        let bytes = host.as_bytes();
        bytes.is_empty() || Authority::try_from(bytes).is_ok_and(|host| is_host(&host))
    };
    if !head.uri.authority().is_none_or(is_host) {
        return Err(Refusal::Host);
    }
    match (first, second) {
        (Some(host), None) if is_one(host) => Ok(()),
        (None, None) if head.version != Version::HTTP_11 => Ok(()),
        _ => Err(Refusal::Host),
    }
}

/// Whether this is a host, perhaps with a port, and nothing else.
fn is_host(authority: &Authority) -> bool {
    match authority.as_str().strip_prefix(authority.host()) {
        Some("") => true,
        // the crate lets ports be that are none
        Some(rest) => rest
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()),
        None => false,
    }
}

/// The protocols of all Upgrade fields (RFC 9110 §7.8).
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    listed(headers, &header::UPGRADE).filter(|protocol| !protocol.is_empty())
}

/// HTTP/2 without TLS would be a second way in past all checks (RFC 9113 §3.1 has done away with it); TLS
/// within HTTP (RFC 2817) and HTTP within HTTP likewise. The gateway chooses among all that are named, so one
/// of these is one too many.
fn is_for_gateways(protocol: &[u8]) -> bool {
    let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
    !SECOND_WAYS_IN.iter().any(|known| name.eq_ignore_ascii_case(known))
}

const SECOND_WAYS_IN: [&[u8]; 3] = [b"h2c", b"TLS", b"HTTP"];

/// The options of all Connection fields (RFC 9110 §7.6.1).
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    listed(headers, &header::CONNECTION)
}

/// The elements of all fields of this name (RFC 9110 §5.6.1).
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii))
}

fn is(option: &'static [u8]) -> impl Fn(&[u8]) -> bool {
    move |other| other.eq_ignore_ascii_case(option)
}

/// The target that the gateway is asked for: without the host, which stands in Host (RFC 9112 §3.2.1); that
/// of CONNECT as it came.
pub fn target(head: &request::Parts) -> Uri {
    if head.method == Method::CONNECT || head.uri.authority().is_none() {
        return head.uri.clone();
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}

/// How a request is changed for a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Who asks.
    pub asker: &'a Asker,
    /// In which headers the gateway is told of that.
    pub forwarded: Forwarded,
    /// What it asks for.
    pub wish: Wish,
    /// Of the body; `None`: one of unknown length follows.
    pub length: Option<u64>,
    /// Whether it has none, and whoever asks like this says so.
    pub says_empty: bool,
    /// A cookie that is ours and not the gateway's.
    pub own_cookie: Option<&'a str>,
    /// Where there is no Host: the gateway's.
    pub host: &'a HeaderValue,
}

/// The headers that the gateway gets.
pub fn for_gateway(head: &request::Parts, change: &Change<'_>) -> HeaderMap {
    let headers = &head.headers;
    let mut out = HeaderMap::with_capacity(headers.len() + 6);
    // RFC 9112 §3.2.2: an absolute target's host goes before the Host field
    let host = head.uri.authority().filter(|_| head.method != Method::CONNECT);
    let host = host.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let asked = host.as_ref().or_else(|| headers.get(header::HOST));
    let host = asked.unwrap_or(change.host);
    if !headers.contains_key(header::HOST) {
        out.insert(header::HOST, host.clone());
    }
    // RFC 9113 §8.2.3: HTTP/2 may cut them in pieces
    let joins_cookies = change.own_cookie.is_some() || has_several(headers, &header::COOKIE);
    let mut cookies = Vec::new();
    let hop = Hop::of(headers);
    for (name, value) in headers {
        if hop.keeps(name) || *name == header::EXPECT || is_trailer(name) {
            continue;
        }
        match *name {
            header::HOST => {
                out.insert(header::HOST, host.clone());
            }
            header::COOKIE if joins_cookies => {
                if !out.contains_key(header::COOKIE) {
                    out.insert(header::COOKIE, HeaderValue::from_static(""));
                }
                join_cookies(&mut cookies, value.as_bytes(), change.own_cookie);
            }
            // the framing is written anew: a number may look strange, and may stand there twice
            header::CONTENT_LENGTH => {
                if let Some(length) = change.length {
                    out.insert(header::CONTENT_LENGTH, length.into());
                }
            }
            _ if forwarded::is_forwarding(name)
                && !forwarded::is_believed(name, change.asker, change.forwarded) => {}
            _ => {
                out.append(name.clone(), value.clone());
            }
        }
    }
    if joins_cookies && let Entry::Occupied(mut entry) = out.entry(header::COOKIE) {
        match HeaderValue::from_maybe_shared(bytes::Bytes::from(cookies)) {
            Ok(cookies) if !cookies.is_empty() => {
                entry.insert(cookies);
            }
            _ => {
                entry.remove();
            }
        }
    }
    if change.wish == Wish::Upgrade {
        pass_upgrade_on(headers, &mut out);
    }
    if change.length.is_none() {
        out.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    } else if change.says_empty && !out.contains_key(header::CONTENT_LENGTH) {
        out.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    forwarded::tell(&mut out, asked, change.asker, change.forwarded);
    out
}

/// Whether a request logs its connection in, as Windows servers have it (MS-NTHT, RFC 4559): whatever follows on
/// that connection is taken for the same user's.
pub fn logs_connection_in(headers: &HeaderMap) -> bool {
    let scheme = |value: &HeaderValue| {
        let scheme = value.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"NTLM") || scheme.eq_ignore_ascii_case(b"Negotiate")
    };
    headers.get_all(header::AUTHORIZATION).iter().any(scheme)
}

/// Whether it is known where a response ends: any transfer coding but chunked would be lost here, and what
/// follows would be taken for the content.
pub fn is_understood(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| {
        codings.next().is_none() && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
    })
}

/// Turns a response's headers into what the client gets. `length`: that of its body, as it was understood;
/// `has_tunnel`: the connection becomes a tunnel.
pub fn for_client(headers: &HeaderMap, length: Option<u64>, has_tunnel: bool, must_close: bool) -> HeaderMap {
    // where both stand, the length is what is wrong (RFC 9112 §6.3); a tunnel has neither (§9.3.6)
    let no_length = has_tunnel || headers.contains_key(header::TRANSFER_ENCODING);
    let mut out = HeaderMap::with_capacity(headers.len() + 2);
    let hop = Hop::of(headers);
    for (name, value) in headers {
        if hop.keeps(name) || (*name == header::CONTENT_LENGTH && no_length) {
            continue;
        }
        match length {
            Some(length) if *name == header::CONTENT_LENGTH => {
                out.insert(header::CONTENT_LENGTH, length.into());
            }
            _ => _ = out.append(name.clone(), value.clone()),
        }
    }
    if has_tunnel && headers.contains_key(header::UPGRADE) {
        pass_upgrade_on(headers, &mut out);
    } else if must_close {
        out.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    out
}

/// Asks for, or grants, the same upgrade on the next connection (RFC 9110 §7.8).
fn pass_upgrade_on(headers: &HeaderMap, out: &mut HeaderMap) {
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    for value in headers.get_all(header::UPGRADE) {
        out.append(header::UPGRADE, value.clone());
    }
}

fn has_several(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

/// What of a message is for this connection alone (RFC 9110 §7.6.1).
struct Hop<'a> {
    headers: &'a HeaderMap,
    /// Whether its Connection fields name others, which is rare.
    names_others: bool,
}

impl<'a> Hop<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let usual: [&[u8]; 4] = [b"", b"close", b"keep-alive", b"upgrade"];
        let is_usual = |option: &[u8]| usual.iter().any(|usual| option.eq_ignore_ascii_case(usual));
        Self { headers, names_others: options(headers).any(|option| !is_usual(option)) }
    }

    /// Whether a field stays here: by its name, or because a Connection field names it. What a message cannot
    /// do without is not to be taken away like that.
    fn keeps(&self, name: &HeaderName) -> bool {
        match *name {
            header::CONNECTION | header::TE | header::TRANSFER_ENCODING | header::UPGRADE => true,
            header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE | header::COOKIE => false,
            header::AUTHORIZATION | header::SET_COOKIE | header::LOCATION => false,
            _ if *name == "keep-alive" || *name == "proxy-connection" => true,
            // some gateways take an underscore for a hyphen; framing is not to be had in disguise
            _ if same_field(name, "content-length") || same_field(name, "transfer-encoding") => true,
            _ if !self.names_others => false,
            _ => options(self.headers).any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes())),
        }
    }
}

/// What stands after a body gets lost here, as it may (RFC 9110 §6.5.1), so nobody is to wait for it.
fn is_trailer(name: &HeaderName) -> bool {
    *name == header::TRAILER
}

/// The same name, for gateways that take an underscore for a hyphen, too.
pub fn same_field(name: &HeaderName, known: &str) -> bool {
    let name = name.as_str();
    name.len() == known.len()
        && name.bytes().zip(known.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

/// Adds the cookies of one field to the one that the gateway gets, all but our own.
fn join_cookies(cookies: &mut Vec<u8>, value: &[u8], own: Option<&str>) {
    let pieces = value.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let is_own = |piece: &&[u8]| {
        let name = piece.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        own.is_some_and(|own| name == own.as_bytes())
    };
    for piece in pieces.filter(|piece| !piece.is_empty() && !is_own(piece)) {
        if !cookies.is_empty() {
            cookies.extend_from_slice(b"; ");
        }
        cookies.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use http::Request;

    use super::*;

    /// A request's head from its text, with `|` for a line's end.
    fn request(text: &str) -> request::Parts {
        let mut lines = text.split('|');
        let [method, target, version] = lines.next().unwrap().split(' ').collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        let version = match version {
            "1.0" => Version::HTTP_10,
            "1.1" => Version::HTTP_11,
            _ => Version::HTTP_2,
        };
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn text(headers: &HeaderMap) -> String {
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        headers.iter().map(line).collect::<Vec<_>>().join("|")
    }

    fn headers(text: &str) -> HeaderMap {
        request(&format!("GET / 1.1|{text}")).headers
    }

    static GATEWAY: HeaderValue = HeaderValue::from_static("gw1:443");

    /// No forwarding headers, no body, nothing out of the ordinary.
    fn change() -> Change<'static> {
        static ASKER: LazyLock<Asker> =
            LazyLock::new(|| Asker::new("192.0.2.7:1234".parse().unwrap(), false));
        let asker = &*ASKER;
        let forwarded = Forwarded::None;
        let length = Some(0);
        Change {
            asker,
            forwarded,
            wish: Wish::Exchange,
            length,
            says_empty: false,
            own_cookie: None,
            host: &GATEWAY,
        }
    }

    #[test]
    fn a_request_is_understood_in_one_way_or_refused() {
        let wish = |text, has_body| examine(&request(text), has_body);
        for (text, has_body, expected) in [
            ("GET / 1.1|Host: x", false, Ok(Wish::Exchange)),
            ("GET / 1.0", false, Ok(Wish::Exchange)),
            ("GET https://x/ 2", false, Ok(Wish::Exchange)),
            ("OPTIONS * 1.1|Host: x", false, Ok(Wish::Exchange)),
            ("POST / 1.1|Host: x|Transfer-Encoding: Chunked", true, Ok(Wish::Exchange)),
            ("GET / 1.1", false, Err(Refusal::Host)),
            ("GET / 1.1|Host: x|Host: x", false, Err(Refusal::Host)),
            ("GET / 1.1|Host: u@x", false, Err(Refusal::Host)),
            ("GET / 1.1|Host: x:80@x:80", false, Err(Refusal::Host)),
            ("GET / 1.1|Host: x:+80", false, Err(Refusal::Host)),
            ("GET / 1.1|Host: x:65536", false, Err(Refusal::Host)),
            ("GET http://u@x/ 1.1|Host: x", false, Err(Refusal::Host)),
            ("GET https://u@x/ 2", false, Err(Refusal::Host)),
            ("CONNECT u@x:443 1.1|Host: x", false, Err(Refusal::Host)),
            ("POST / 1.1|Host: x|Transfer-Encoding: gzip, chunked", true, Err(Refusal::TransferEncoding)),
            ("POST / 1.1|Host: x|Transfer-Encoding: identity", false, Err(Refusal::TransferEncoding)),
            (
                "POST / 1.1|Host: x|Transfer-Encoding: chunked|Transfer-Encoding: chunked",
                true,
                Err(Refusal::TransferEncoding),
            ),
            ("GET * 1.1|Host: x", false, Err(Refusal::Target)),
            ("GET x:443 1.1|Host: x", false, Err(Refusal::Target)),
            ("CONNECT /tunnel 1.1|Host: x", false, Ok(Wish::Connect)),
            ("CONNECT x:443 1.1|Host: x:443", false, Ok(Wish::Connect)),
            ("CONNECT /tunnel 1.1|Host: x", true, Err(Refusal::ConnectWithBody)),
            ("GET / 1.1|Host: x|Connection: a, UPGRADE|Upgrade: b", false, Ok(Wish::Upgrade)),
            ("GET / 1.1|Host: x|Connection: upgrade|Upgrade: IF-T/TLS 1.0", false, Ok(Wish::Upgrade)),
            ("GET / 1.1|Host: x|Upgrade: b", false, Ok(Wish::Exchange)),
            ("GET / 1.1|Host: x|Connection: upgrade", false, Ok(Wish::Exchange)),
            ("GET / 1.1|Host: x|Connection: upgrade|Upgrade: ,", false, Ok(Wish::Exchange)),
            ("POST / 1.1|Host: x|Connection: upgrade|Upgrade: b", true, Ok(Wish::Exchange)),
            ("GET / 1.0|Connection: upgrade|Upgrade: b", false, Ok(Wish::Exchange)),
            ("GET / 1.1|Host: x|Connection: upgrade|Upgrade: b, H2C", false, Ok(Wish::Exchange)),
            ("GET / 1.1|Host: x|Connection: upgrade|Upgrade: b|Upgrade: tls/1.0", false, Ok(Wish::Exchange)),
            ("GET / 1.1|Host: x|Connection: upgrade|Upgrade: HTTP/2.0", false, Ok(Wish::Exchange)),
        ] {
            assert_eq!(wish(text, has_body), expected, "{text}");
        }
    }

    #[test]
    fn only_what_was_asked_for_is_granted() {
        let granted = |wish: Wish| {
            [101, 200, 204, 302, 404].map(|s| wish.is_granted_by(StatusCode::from_u16(s).unwrap()))
        };
        assert_eq!(granted(Wish::Exchange), [false; 5]);
        assert_eq!(granted(Wish::Upgrade), [true, false, false, false, false]);
        assert_eq!(granted(Wish::Connect), [false, true, true, false, false]);
    }

    #[test]
    fn the_target_is_without_its_host_unless_that_is_all_there_is() {
        for (text, expected) in [
            ("GET /a?b 1.1", "/a?b"),
            ("GET https://x:8443/a?b 2", "/a?b"),
            ("GET http://x 1.1", "/"),
            ("OPTIONS * 1.1", "*"),
            ("CONNECT x:443 1.1", "x:443"),
            ("CONNECT /tunnel 1.1", "/tunnel"),
        ] {
            assert_eq!(target(&request(text)).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_belongs_to_the_connection_stays_behind() {
        for (sent, arrives) in [
            ("host: x|a: 1|b: 2", "host: x|a: 1|b: 2"),
            ("a: 1|host: x|b: 2", "a: 1|host: x|b: 2"),
            ("host: x|connection: close, A|a: 1|b: 2", "host: x|b: 2"),
            ("host: x|connection: a|connection: b|a: 1|b: 2|c: 3", "host: x|c: 3"),
            (
                "host: x|te: trailers|keep-alive: 1|proxy-connection: 1|upgrade: a|trailer: b|expect: c",
                "host: x",
            ),
            ("host: x|transfer_encoding: chunked|content_length: 5|transfer-encoding: chunked", "host: x"),
            (
                "connection: host, cookie, content-type, authorization|host: x|cookie: a=1|content-type: b|authorization: c",
                "host: x|cookie: a=1|content-type: b|authorization: c",
            ),
            ("a: 1", "host: gw1:443|a: 1"),
        ] {
            let out = for_gateway(&request(&format!("GET / 1.1|{sent}")), &change());
            assert_eq!(text(&out), arrives, "{sent}");
        }
    }

    #[test]
    fn the_framing_is_written_anew() {
        for (sent, length, says_empty, arrives) in [
            ("content-length: 007", Some(7), false, "content-length: 7"),
            ("content-length: 7|content-length: 7", Some(7), false, "content-length: 7"),
            ("content-length: 7", None, false, "transfer-encoding: chunked"),
            ("transfer-encoding: chunked", None, false, "transfer-encoding: chunked"),
            ("a: 1", Some(0), true, "a: 1|content-length: 0"),
            ("a: 1", Some(0), false, "a: 1"),
        ] {
            let out = for_gateway(
                &request(&format!("POST / 1.1|host: x|{sent}")),
                &Change { length, says_empty, ..change() },
            );
            assert_eq!(text(&out), format!("host: x|{arrives}"), "{sent}");
        }
    }

    #[test]
    fn cookies_stand_in_one_field_and_ours_is_not_among_them() {
        for (sent, own, arrives) in [
            ("cookie: a=1", None, "|cookie: a=1"),
            ("cookie: a=1;b=2;", None, "|cookie: a=1;b=2;"),
            ("cookie: a=1|b: 2|cookie: c=3; d=4", None, "|cookie: a=1; c=3; d=4|b: 2"),
            ("cookie: a=1; V=9; b=2", Some("V"), "|cookie: a=1; b=2"),
            ("cookie: V=9|cookie: a=1|cookie: V=8", Some("V"), "|cookie: a=1"),
            ("cookie: VV=9; v=8", Some("V"), "|cookie: VV=9; v=8"),
            ("cookie: V=9", Some("V"), ""),
            ("cookie: V=9; V", Some("V"), ""),
        ] {
            let head = request(&format!("GET / 1.1|host: x|{sent}"));
            let out = for_gateway(&head, &Change { own_cookie: own, ..change() });
            assert_eq!(text(&out), format!("host: x{arrives}"), "{sent}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_in_our_own_name() {
        let head = request("GET / 1.1|host: x|upgrade: a|connection: upgrade, b|b: 1|upgrade: c");
        let out = for_gateway(&head, &Change { wish: Wish::Upgrade, ..change() });
        assert_eq!(text(&out), "host: x|connection: Upgrade|upgrade: a|upgrade: c");
    }

    #[test]
    fn gateways_are_told_who_asks() {
        let x = |client, host| {
            format!("x-forwarded-for: {client}|x-forwarded-proto: https|x-forwarded-host: {host}")
        };
        for (client, host, forwarded, told) in [
            ("192.0.2.7:1", "x:1", Forwarded::XForwarded, x("192.0.2.7", "x:1")),
            ("[2001:db8::7]:1", "x", Forwarded::XForwarded, x("2001:db8::7", "x")),
            ("[::ffff:192.0.2.7]:1", "x", Forwarded::XForwarded, x("192.0.2.7", "x")),
            (
                "192.0.2.7:1",
                "x:1",
                Forwarded::Rfc7239,
                "forwarded: for=192.0.2.7;host=\"x:1\";proto=https".into(),
            ),
            (
                "[2001:db8::7]:1",
                "[::1]",
                Forwarded::Rfc7239,
                "forwarded: for=\"[2001:db8::7]\";host=\"[::1]\";proto=https".into(),
            ),
            ("192.0.2.7:1", "x", Forwarded::None, String::new()),
        ] {
            for lies in [
                "",
                "|x-forwarded-for: 1|x_forwarded_for: 2|x-forwarded_for: 3|forwarded: 4|x-real-ip: 5|x_real_ip: 6",
                "|x-forwarded-proto: 1|x-forwarded-host: 2|x-forwarded-port: 3|x-client-ip: 4|true-client-ip: 5",
            ] {
                let asker = &Asker::new(client.parse().unwrap(), false);
                let head = request(&format!("GET / 1.1|host: {host}{lies}"));
                let out = for_gateway(&head, &Change { asker, forwarded, ..change() });
                let expected = format!("host: {host}|{told}");
                assert_eq!(text(&out), expected.trim_end_matches('|'), "{client} {lies}");
            }
        }
        let nameless = for_gateway(&request("GET / 1.0"), &Change { forwarded: Forwarded::Both, ..change() });
        let told = "x-forwarded-for: 192.0.2.7|x-forwarded-proto: https|forwarded: for=192.0.2.7;proto=https";
        assert_eq!(
            text(&nameless),
            format!("host: gw1:443|{told}"),
            "nobody has asked for the gateway's name"
        );
    }

    #[test]
    fn what_a_trusted_proxy_has_said_stays() {
        let asker = &Asker::new(change().asker.client, true);
        let head = request(
            "GET / 1.1|host: x|x-forwarded-for: 1.1.1.1, 2.2.2.2|x-forwarded-for: 3.3.3.3|x-forwarded-proto: http|x-forwarded-host: y|forwarded: for=1.1.1.1|x-real-ip: 1.1.1.1",
        );
        let out = for_gateway(&head, &Change { asker, forwarded: Forwarded::Both, ..change() });
        assert_eq!(
            text(&out),
            "host: x|x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7|x-forwarded-proto: http|x-forwarded-host: y|forwarded: for=1.1.1.1, for=192.0.2.7;host=\"x\";proto=https|x-real-ip: 1.1.1.1"
        );
    }

    #[test]
    fn a_response_is_told_as_it_came_but_for_what_belongs_to_the_connection() {
        for (sent, has_tunnel, must_close, told) in [
            ("a: 1|content-length: 5|a: 2", false, false, "a: 1|a: 2|content-length: 5"),
            ("connection: a, close|a: 1|keep-alive: 5|te: b|upgrade: h2c|b: 2", false, false, "b: 2"),
            (
                "connection: set-cookie, location|set-cookie: a|location: b",
                false,
                false,
                "set-cookie: a|location: b",
            ),
            ("content-length: 5|transfer-encoding: chunked|a: 1", false, false, "a: 1"),
            ("a: 1", false, true, "a: 1|connection: close"),
            ("a: 1|upgrade: b", false, true, "a: 1|connection: close"),
            ("upgrade: b|connection: upgrade|a: 1", true, false, "a: 1|connection: Upgrade|upgrade: b"),
            ("content-length: 0|transfer-encoding: chunked|a: 1", true, false, "a: 1"),
        ] {
            assert_eq!(text(&for_client(&headers(sent), None, has_tunnel, must_close)), told, "{sent}");
        }
    }
}
