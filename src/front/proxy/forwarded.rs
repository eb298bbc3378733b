//! Who asks: what gateways are told of it, and what trusted proxies say.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::headers::same_field;
use crate::front::settings::Forwarded;

/// Who asks, as gateways are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client.
    pub client: SocketAddr,
    /// Its address, as it stands in X-Forwarded-For.
    address: HeaderValue,
    /// Whether the host that has connected to us may say who the client is.
    pub is_trusted: bool,
}

impl Asker {
    /// A client; `is_trusted` as above.
    pub fn new(client: SocketAddr, is_trusted: bool) -> Self {
        let address = HeaderValue::try_from(client.ip().to_canonical().to_string());
        // an address has no character that a header may not have
        Self { client, address: address.unwrap_or(HeaderValue::from_static("unknown")), is_trusted }
    }
}

/// The client as trusted proxies name it: of those that a request came through by its own account, the last
/// one that is not trusted itself. What stands before that may be anybody's invention. `None`: nobody is named.
///
/// Those are believed whose headers gateways are told in: a proxy that keeps the others lets them through as its
/// own clients have sent them.
pub fn origin(
    headers: &HeaderMap,
    forwarded: Forwarded,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let list = |name: &HeaderName| headers.get_all(name).iter().rev().filter_map(|value| value.to_str().ok());
    let x_forwarded = list(&X_FORWARDED_FOR).flat_map(|value| value.rsplit(',')).map(node);
    let rfc7239 = list(&header::FORWARDED).flat_map(|value| value.rsplit(',')).map(|element| {
        let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
        node(pairs.find(|(key, _)| key.eq_ignore_ascii_case("for"))?.1)
    });
    let is_origin = |node: &Option<IpAddr>| !node.is_some_and(&is_trusted);
    let (mut x_forwarded, mut rfc7239) = (x_forwarded, rfc7239);
    match forwarded {
        Forwarded::Rfc7239 => rfc7239.find(is_origin)?,
        Forwarded::XForwarded | Forwarded::Both | Forwarded::None => x_forwarded.find(is_origin)?,
    }
}

/// An address with or without a port, as both kinds of list have it (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0));
    let parsed = bare.unwrap_or(text).parse().ok();
    let address = parsed.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

/// Whether a field tells gateways who the client is.
pub fn is_forwarding(name: &HeaderName) -> bool {
    // most names do not even begin like one
    let may_be = matches!(name.as_str().as_bytes().first(), Some(b'x' | b'f' | b't'));
    may_be && FORWARDING.iter().any(|known| same_field(name, known))
}

/// Whether such a field is passed on: a trusted proxy's, in the form that gateways are told in.
pub fn is_believed(name: &HeaderName, asker: &Asker, forwarded: Forwarded) -> bool {
    let is_rfc7239 = *name == header::FORWARDED;
    let is_x_forwarded = !is_rfc7239 && !name.as_str().contains('_');
    asker.is_trusted
        && match forwarded {
            Forwarded::XForwarded => is_x_forwarded,
            Forwarded::Rfc7239 => is_rfc7239,
            Forwarded::Both | Forwarded::None => is_x_forwarded || is_rfc7239,
        }
}

const FORWARDING: [&str; 12] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Adds who asks, and for which host if that was said. What a trusted proxy has said stays, and it is added to
/// the list of those it came through.
pub fn tell(out: &mut HeaderMap, asked: Option<&HeaderValue>, asker: &Asker, forwarded: Forwarded) {
    let client = asker.client.ip().to_canonical();
    let (x_forwarded, rfc7239) = match forwarded {
        Forwarded::XForwarded => (true, false),
        Forwarded::Rfc7239 => (false, true),
        Forwarded::Both => (true, true),
        Forwarded::None => (false, false),
    };
    if x_forwarded {
        add_to_list(out, X_FORWARDED_FOR, &asker.address);
        if !out.contains_key(X_FORWARDED_PROTO) {
            out.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        }
        if let Some(host) = asked.filter(|host| !host.is_empty() && !out.contains_key(X_FORWARDED_HOST)) {
            out.insert(X_FORWARDED_HOST, host.clone());
        }
    }
    if rfc7239 {
        // RFC 7239 §6: an IPv6 address stands in brackets, and what has a colon in quotes
        let by = match client {
            IpAddr::V4(address) => format!("for={address}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        };
        let element = match asked.map(HeaderValue::to_str) {
            Some(Ok(host)) if !host.is_empty() && !host.contains(['"', '\\']) => {
                format!("{by};host=\"{host}\";proto=https")
            }
            _ => format!("{by};proto=https"),
        };
        // nothing in it that a header may not have
        if let Ok(element) = HeaderValue::try_from(element) {
            add_to_list(out, header::FORWARDED, &element);
        }
    }
}

fn add_to_list(out: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    let mut list = Vec::new();
    for value in out.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        out.insert(name, element.clone());
        return;
    }
    list.extend_from_slice(element.as_bytes());
    if let Ok(list) = HeaderValue::from_maybe_shared(bytes::Bytes::from(list)) {
        out.insert(name, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let fields = text.split('|').map(|field| field.split_once(": ").unwrap());
        fields.map(|(name, value)| (name.parse().unwrap(), value.parse::<HeaderValue>().unwrap())).collect()
    }

    #[test]
    fn the_client_is_the_last_one_whose_word_is_not_taken() {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        for (said, client) in [
            ("a: 1", None),
            ("x-forwarded-for: 192.0.2.1", Some("192.0.2.1")),
            ("x-forwarded-for: 6.6.6.6, 192.0.2.1, 10.0.0.1", Some("192.0.2.1")),
            ("x-forwarded-for: 6.6.6.6|x-forwarded-for: 192.0.2.1, 10.0.0.1", Some("192.0.2.1")),
            ("x-forwarded-for: 10.0.0.2, 10.0.0.1", None),
            ("x-forwarded-for: 192.0.2.1, nonsense", None),
            ("x-forwarded-for: 192.0.2.1:1234", Some("192.0.2.1")),
            ("x-forwarded-for: 2001:db8::1", Some("2001:db8::1")),
            (
                "forwarded: for=6.6.6.6, For=\"[2001:db8::1]:1234\";proto=https, for=10.0.0.1",
                Some("2001:db8::1"),
            ),
            ("forwarded: for=6.6.6.6, proto=https", None),
            ("forwarded: for=_hidden", None),
        ] {
            let expected = client.map(|client: &str| client.parse().unwrap());
            let told = if said.starts_with("forwarded") { Forwarded::Rfc7239 } else { Forwarded::XForwarded };
            assert_eq!(origin(&headers(said), told, is_trusted), expected, "{said}");
        }
        let both = headers("x-forwarded-for: 6.6.6.6|forwarded: for=192.0.2.1");
        let told = |forwarded| origin(&both, forwarded, is_trusted).map(|address| address.to_string());
        assert_eq!(told(Forwarded::Rfc7239).as_deref(), Some("192.0.2.1"), "the other is anybody's");
        assert_eq!(told(Forwarded::XForwarded).as_deref(), Some("6.6.6.6"));
    }
}
