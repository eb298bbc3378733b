//! What stands in [listener.proxy] and [listener.passthrough], each value typed and, where it can be wrong for
//! the rest of the file, with its place. Pure: no other file is read here.

use std::net::IpAddr;

use rustls::pki_types::DnsName;
use serde_spanned::Spanned;

use super::front_file::{Verify, network};
use super::problem::Span;
use super::section::Section;
use crate::fleet::Policy;
use crate::front::{Affinity, Forwarded, Passthrough, Proxy, ProxyProtocol, Upstream};

/// A listener of mode `proxy`.
pub struct ProxyTable {
    pub head: Span,
    /// But for `affinity` and `tls`, which depend on more than this table.
    pub settings: Proxy,
    pub affinity: AffinityKind,
    pub affinity_place: Span,
    pub session_cookies: Option<Vec<Box<str>>>,
    pub affinity_cookie: Box<str>,
    pub upstream_tls: Option<UpstreamTlsTable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityKind {
    None,
    SourceAddress,
    Session,
    Cookie,
}

pub struct UpstreamTlsTable {
    pub head: Span,
    pub verify: Verify,
    pub ca: Option<Spanned<String>>,
    pub server_name: Option<Spanned<String>>,
}

/// A listener of mode `passthrough`.
pub struct PassthroughTable {
    pub head: Span,
    pub settings: Passthrough,
    pub affinity_place: Span,
}

impl ProxyTable {
    /// What holds where nothing is said; `head` is the listener's.
    pub fn default_at(head: Span) -> Self {
        let settings = Proxy::default();
        Self {
            affinity: AffinityKind::of(&settings.affinity),
            affinity_place: head.clone(),
            session_cookies: None,
            affinity_cookie: AFFINITY_COOKIE.into(),
            upstream_tls: None,
            head,
            settings,
        }
    }

    pub fn read(table: Section<'_>) -> Self {
        let default = Self::default_at(table.span.clone());
        let forwarded = [
            ("x-forwarded", Forwarded::XForwarded),
            ("rfc7239", Forwarded::Rfc7239),
            ("both", Forwarded::Both),
            ("none", Forwarded::None),
        ];
        let idle = table.integer("idle_per_gateway");
        let idle = idle.and_then(|n| usize::try_from(n.into_inner()).ok());
        let retries = table.integer("retries").and_then(|n| u32::try_from(n.into_inner()).ok());
        let response_timeout = table.duration("response_timeout");
        let settings = Proxy {
            upstream: read_upstream(&table, default.settings.upstream),
            persistent_connections: table
                .boolean("persistent_connections")
                .unwrap_or(default.settings.persistent_connections),
            shares_connections: default.settings.shares_connections,
            idle_per_gateway: idle.unwrap_or(default.settings.idle_per_gateway),
            affinity: default.settings.affinity,
            response_timeout: response_timeout.map_or(default.settings.response_timeout, Spanned::into_inner),
            retries: retries.unwrap_or(default.settings.retries),
            forwarded: table.word("forwarded", &forwarded).unwrap_or(default.settings.forwarded),
            tls: None,
        };
        if table.has("idle_per_gateway") && !settings.persistent_connections {
            let message = "'idle_per_gateway' has no effect without persistent_connections";
            table.warning_at(&table.place("idle_per_gateway"), message);
        }
        let affinity = table.word("affinity", &AffinityKind::WORDS);
        let session_cookies = table.parsed_list("session_cookies", cookie_name);
        if table.is_empty_list("session_cookies") {
            table.error_at(&table.place("session_cookies"), "'session_cookies' must not be empty");
        }
        let affinity_cookie = table.parsed("affinity_cookie", cookie_name);
        // one that is not known has been told of already
        let is = affinity.or((!table.has("affinity")).then_some(default.affinity));
        for (key, needed) in
            [("session_cookies", AffinityKind::Session), ("affinity_cookie", AffinityKind::Cookie)]
        {
            if table.has(key) && is.is_some_and(|is| is != needed) {
                let message = format!("'{key}' has no effect without affinity = \"{}\"", needed.as_str());
                table.warning_at(&table.place(key), message);
            }
        }
        let usual = Affinity::usual_sessions();
        let given = session_cookies.iter().flatten().map(Spanned::get_ref);
        if let Some(own) = &affinity_cookie
            && usual.iter().chain(given).any(|session| session == own.get_ref())
        {
            let message = format!(
                "'affinity_cookie' cannot be '{}': that is the name of a gateway's session cookie, which ours would \
                 replace",
                own.get_ref()
            );
            table.error_at(&own.span(), message);
        }
        if is == Some(AffinityKind::SourceAddress) {
            warn_of_policy(&table);
        }
        let proxy = Self {
            head: default.head,
            settings,
            affinity: affinity.unwrap_or(default.affinity),
            affinity_place: table.place("affinity"),
            session_cookies: session_cookies
                .map(|names| names.into_iter().map(Spanned::into_inner).collect()),
            affinity_cookie: affinity_cookie.map_or(default.affinity_cookie, Spanned::into_inner),
            upstream_tls: table.section("upstream_tls").map(UpstreamTlsTable::read),
        };
        table.finish();
        proxy
    }
}

impl AffinityKind {
    const WORDS: [(&str, Self); 4] = [
        (Self::None.as_str(), Self::None),
        (Self::SourceAddress.as_str(), Self::SourceAddress),
        (Self::Session.as_str(), Self::Session),
        (Self::Cookie.as_str(), Self::Cookie),
    ];

    fn of(affinity: &Affinity) -> Self {
        match affinity {
            Affinity::None => Self::None,
            Affinity::SourceAddress => Self::SourceAddress,
            Affinity::Session(_) => Self::Session,
            Affinity::Cookie(_) => Self::Cookie,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SourceAddress => "source-address",
            Self::Session => "session",
            Self::Cookie => "cookie",
        }
    }
}

impl UpstreamTlsTable {
    fn read(table: Section<'_>) -> Self {
        let verify = [("none", Verify::None), ("ca", Verify::Ca)];
        let tls = Self {
            head: table.span.clone(),
            verify: table.word("verify", &verify).unwrap_or(Verify::Ca),
            ca: table.text("ca"),
            server_name: table.text("server_name"),
        };
        table.finish();
        tls
    }
}

impl PassthroughTable {
    /// What holds where nothing is said; `head` is the listener's.
    pub fn default_at(head: Span) -> Self {
        Self { affinity_place: head.clone(), head, settings: Passthrough::default() }
    }

    pub fn read(table: Section<'_>) -> Self {
        let default = Passthrough::default();
        let affinities = [AffinityKind::None, AffinityKind::SourceAddress].map(|kind| (kind.as_str(), kind));
        let affinity = table.word("affinity", &affinities);
        let server_names = table.parsed_list("server_names", server_name);
        let passthrough = Self {
            head: table.span.clone(),
            settings: Passthrough {
                upstream: read_upstream(&table, default.upstream),
                source_affinity: affinity
                    .map_or(default.source_affinity, |kind| kind == AffinityKind::SourceAddress),
                server_names: server_names.map_or(default.server_names, |names| {
                    names.into_iter().map(Spanned::into_inner).collect()
                }),
            },
            affinity_place: table.place("affinity"),
        };
        if passthrough.settings.source_affinity {
            warn_of_policy(&table);
        }
        let upstream = &passthrough.settings.upstream;
        if !upstream.trusted_proxies.is_empty() && !upstream.accept_proxy_protocol {
            let message = "without accept_proxy_protocol 'trusted_proxies' does no more than free them of \
                           connections_per_source";
            table.warning_at(&table.place("trusted_proxies"), message);
        }
        table.finish();
        passthrough
    }
}

/// Who is led by his address is not led by a policy.
fn warn_of_policy(table: &Section<'_>) {
    if table.has("policy") {
        let message =
            "'policy' has no effect with affinity = \"source-address\", which chooses by the address alone";
        table.warning_at(&table.place("policy"), message);
    }
}

/// The keys that a proxy and a passthrough share.
fn read_upstream(table: &Section<'_>, default: Upstream) -> Upstream {
    let policies = [("round-robin", Policy::RoundRobin), ("least-loaded", Policy::LeastLoaded)];
    let versions = [("none", None), ("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2))];
    let connect_timeout = table.duration("connect_timeout");
    let tunnel_idle_timeout = table.duration("tunnel_idle_timeout");
    let trusted_proxies = table.parsed_list("trusted_proxies", network);
    for everybody in trusted_proxies.iter().flatten().filter(|network| network.get_ref().prefix_len() == 0) {
        let message = format!(
            "'trusted_proxies' {} is everybody: any client could claim to be at any address",
            everybody.get_ref()
        );
        table.warning_at(&everybody.span(), message);
    }
    let upstream = Upstream {
        policy: table.word("policy", &policies).unwrap_or(default.policy),
        connect_timeout: connect_timeout.map_or(default.connect_timeout, Spanned::into_inner),
        tunnel_idle_timeout: tunnel_idle_timeout.map_or(default.tunnel_idle_timeout, Spanned::into_inner),
        send_proxy_protocol: table
            .word("send_proxy_protocol", &versions)
            .unwrap_or(default.send_proxy_protocol),
        accept_proxy_protocol: table
            .boolean("accept_proxy_protocol")
            .unwrap_or(default.accept_proxy_protocol),
        trusted_proxies: trusted_proxies.map_or(default.trusted_proxies, |networks| {
            networks.into_iter().map(Spanned::into_inner).collect()
        }),
    };
    let nobody = !table.has("trusted_proxies") || table.is_empty_list("trusted_proxies");
    if upstream.accept_proxy_protocol && nobody {
        let message =
            "'accept_proxy_protocol' needs 'trusted_proxies': without them no header would be believed";
        table.error_at(&table.place("accept_proxy_protocol"), message);
    }
    upstream
}

/// The name of a cookie of our own, unless told otherwise.
const AFFINITY_COOKIE: &str = "VESTIBULE";

/// A token (RFC 6265 §4.1.1, RFC 9110 §5.6.2).
fn cookie_name(text: &str) -> Result<Box<str>, &'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err("must be the name of a cookie (letters, digits and !#$%&'*+-.^_`|~)");
    }
    Ok(text.into())
}

/// A name as it stands in a ClientHello, in lower case, or `*.` and a domain.
fn server_name(text: &str) -> Result<Box<str>, &'static str> {
    let name = text.to_ascii_lowercase();
    let domain = name.strip_prefix("*.").unwrap_or(&name);
    // neither an address nor a dot at the end is ever asked for (RFC 6066 §3)
    let plain = domain.parse::<IpAddr>().is_err() && !domain.ends_with('.');
    if !plain || DnsName::try_from(domain).is_err() {
        return Err(
            "must be a host name, or '*.' and a domain, like \"vpn.example.com\" or \"*.example.com\"",
        );
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_is_a_network_or_an_address() {
        let shown = |text| network(text).map(|network| network.to_string());
        assert_eq!(shown("10.0.0.0/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(shown("192.0.2.1").as_deref(), Ok("192.0.2.1/32"));
        assert_eq!(shown("2001:db8::/32").as_deref(), Ok("2001:db8::/32"));
        assert_eq!(shown("2001:db8::1").as_deref(), Ok("2001:db8::1/128"));
        // as a listener on [::] sees it
        assert_eq!(shown("::ffff:192.0.2.1").as_deref(), Ok("192.0.2.1/32"));
        for text in ["", "10.0.0.0/33", "10.0.0", "10.0.0.1:443", "proxy.example.com", "10.0.0.0/8 "] {
            assert!(shown(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn the_name_of_a_cookie_is_a_token() {
        for text in ["webvpncontext", "JSESSIONID", "__Host-vestibule", "a!#$%&'*+-.^_`|~9"] {
            assert_eq!(cookie_name(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a=b", "a;b", "a,b", "\"a\"", "a\r\nb", "ä", "a\t", "(a)", "a/b", "{a}"] {
            assert!(cookie_name(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_server_name_is_a_host_or_a_wildcard_in_lower_case() {
        for (text, name) in [
            ("vpn.example.com", "vpn.example.com"),
            ("VPN.Example.com", "vpn.example.com"),
            ("*.Example.com", "*.example.com"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(server_name(text).as_deref(), Ok(name));
        }
        for text in [
            "",
            "*",
            "*.",
            "a.*.example.com",
            "*a.example.com",
            "**.example.com",
            "*.*.example.com",
            "vpn.example.com.",
        ] {
            assert!(server_name(text).is_err(), "{text:?} was taken");
        }
        for text in [
            "192.0.2.1",
            "*.192.0.2.1",
            "2001:db8::1",
            "a b",
            "vpn.example.com:443",
            "https://a",
            "-a",
            "ä.de",
        ] {
            assert!(server_name(text).is_err(), "{text:?} was taken");
        }
    }
}
