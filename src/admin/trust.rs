//! Who may ask the admin endpoint what.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

use crate::net::serve::Peer;

/// The rules of the admin endpoint. Clones share them, so that a reload can change them under a running
/// server.
///
/// On the Unix socket the file's permissions decide: who can connect is trusted. Over TCP every change
/// needs the token, and so does every look where the endpoint can be reached from other hosts, apart from
/// what monitoring asks for ([`OPEN`]).
///
/// A browser can be made to ask by any page that its user has open. So on either way a change that a browser asks for
/// has to come from a page of this endpoint (Origin, RFC 6454 §7; Sec-Fetch-Site), and what is asked for has to be
/// asked for under a name of this endpoint (Host): a name that somebody else has made to lead here (DNS rebinding) is
/// none. A program that shows the token as a bearer is no browser that was made to.
#[derive(Clone, Debug)]
pub struct Trust {
    rules: Arc<ArcSwap<Rules>>,
    exposed: bool,
}

#[derive(Debug)]
struct Rules {
    token: Option<Token>,
    hosts: Box<[String]>,
}

/// A token (RFC 6750 §2.1). Never shown.
#[derive(Clone)]
pub struct Token(Box<str>);

/// What is known of a request before anything is done about it. Not to be shown: tokens are in it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Who asks; one of whom nobody says where he comes from is treated like one over TCP.
    pub peer: Option<&'a Peer>,
    /// How.
    pub method: &'a Method,
    /// For what.
    pub path: &'a str,
    /// With what else.
    pub headers: &'a HeaderMap,
    /// The token that was typed into a form of the page.
    pub typed: Option<&'a str>,
}

/// Why a request is refused; the text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It needs a token and comes with none.
    #[error("this needs the token of [admin] token_file: send 'Authorization: Bearer TOKEN'")]
    TokenMissing,
    /// It comes with another one.
    #[error("the token is not that of [admin] token_file")]
    TokenWrong,
    /// It needs a token, and there is none that could be sent.
    #[error(
        "this needs a token, and none is configured: set [admin] token_file and reload, or use the \
         command line on the front door itself, which goes through [admin] socket"
    )]
    NoTokenConfigured,
    /// It was asked for under a name that is none of this endpoint.
    #[error(
        "this endpoint does not go by the name in Host: use its IP address or localhost, or put the name into [admin] \
         hosts"
    )]
    UnknownHost,
    /// A page of somebody else has made a browser ask.
    #[error("a change must come from this endpoint's own page: a proxy before it must leave Host as it is")]
    CrossSite,
}

/// What somebody who looks may change. A request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Anything, as he is: on the Unix socket, or with the token that his browser shows by itself.
    Free,
    /// Anything, with the token.
    Token,
    /// Nothing: there is no token that he could show.
    Nothing,
}

/// What anyone who reaches the endpoint may look at.
pub const OPEN: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

impl Trust {
    /// The rules for an endpoint that listens on `listen`; its users know it as one of `hosts` (lower case), or by its
    /// IP address or as localhost.
    pub fn new(listen: IpAddr, token: Option<Token>, hosts: Vec<String>) -> Self {
        let rules = Rules { token, hosts: hosts.into() };
        Self { rules: Arc::new(ArcSwap::from_pointee(rules)), exposed: !listen.is_loopback() }
    }

    /// Changes the token and the names, for all clones.
    pub fn change(&self, token: Option<Token>, hosts: Vec<String>) {
        self.rules.store(Arc::new(Rules { token, hosts: hosts.into() }));
    }

    /// What whoever asks in this way may change.
    pub fn rights(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Rights {
        let rules = self.rules.load();
        if peer.is_some_and(|peer| peer.address.is_none()) {
            return Rights::Free;
        }
        let remembered = basic(headers).map(|credentials| credentials.token);
        match scheme(headers, b"bearer ").or(remembered.as_deref()) {
            _ if rules.token.is_none() => Rights::Nothing,
            Some(shown) if rules.is_token(shown) => Rights::Free,
            _ => Rights::Token,
        }
    }

    /// Whether this request may go on.
    pub fn check(&self, asked: Asked<'_>) -> Result<(), Refusal> {
        let rules = self.rules.load();
        let Asked { peer, method, path, headers, typed } = asked;
        let is_local = peer.is_some_and(|peer| peer.address.is_none());
        let looks = method == Method::GET || method == Method::HEAD;
        let is_open = looks && self.exposed && OPEN.contains(&path);
        let bearer = scheme(headers, b"bearer ");
        let is_program = bearer.is_some_and(|shown| rules.is_token(shown));
        if !is_open && !is_program && !rules.is_host(headers, is_local) {
            return Err(Refusal::UnknownHost);
        }
        if !looks && is_cross_site(headers) {
            return Err(Refusal::CrossSite);
        }
        if is_local || (looks && !self.exposed) || is_open {
            return Ok(());
        }
        let Some(token) = &rules.token else { return Err(Refusal::NoTokenConfigured) };
        let remembered = basic(headers);
        let typed = typed.filter(|typed| !typed.is_empty()).map(str::as_bytes);
        // a browser sends by itself what its user has typed once: it has to say from where
        if !looks && typed.is_none() && remembered.is_some() && !says_from_where(headers) {
            return Err(Refusal::CrossSite);
        }
        let remembered = remembered.map(|credentials| credentials.token);
        match typed.or(bearer).or(remembered.as_deref()) {
            None => Err(Refusal::TokenMissing),
            Some(shown) if token.is(shown) => Ok(()),
            Some(_) => Err(Refusal::TokenWrong),
        }
    }
}

impl Rules {
    fn is_token(&self, shown: &[u8]) -> bool {
        self.token.as_ref().is_some_and(|token| token.is(shown))
    }

    fn is_host(&self, headers: &HeaderMap, is_local: bool) -> bool {
        let mut values = headers.get_all(HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            // browsers say where they mean to be, once
            return headers.get(HOST).is_none();
        };
        let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
        let Some(authority) = authority else { return false };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        // nobody else can make an address, or localhost (RFC 6761 §6.3), lead here; nor, as a rule, a name without a dot,
        // which programs put into Host where there is no host, as on a socket
        is_address
            || host == "localhost"
            || host.ends_with(".localhost")
            || (is_local && !host.contains('.'))
            || self.hosts.contains(&host)
    }
}

/// Whether a browser says that a page of somebody else asks. Both headers are its own to set.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let by_fetch = headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none");
    let origin = headers.get(ORIGIN);
    by_fetch || origin.is_some_and(|origin| !is_own(origin.to_str().unwrap_or_default(), headers))
}

/// Whether it is the origin of a page that was asked for under the same Host.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok()) else {
        return false;
    };
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (origin.scheme_str(), origin.authority()) else { return false };
    let port =
        |authority: &Authority| authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    authority.host().eq_ignore_ascii_case(host.host()) && port(authority) == port(&host)
}

fn says_from_where(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

/// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>
const SEC_FETCH_SITE: &str = "sec-fetch-site";

impl Token {
    /// Takes the content of a token file, without the white space around it; `None` if that is not one
    /// word of visible ASCII, which is all that fits in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The value of an Authorization header that shows it.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Takes the same time wherever the two differ, so that the time does not help with guessing. The
    /// length is no secret.
    fn is(&self, shown: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), shown).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a browser sends by itself once its user has typed it (RFC 7617): any name, with the token as the password.
pub struct Credentials {
    /// The name.
    pub name: String,
    token: Vec<u8>,
}

/// The credentials of a browser, if it shows any.
pub fn basic(headers: &HeaderMap) -> Option<Credentials> {
    let decoded = BASE64.decode(scheme(headers, b"basic ")?).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, token) = decoded.split_at_checked(colon)?;
    Some(Credentials { name: String::from_utf8(name.to_vec()).ok()?, token: token.get(1..)?.to_vec() })
}

/// The scheme is case-insensitive (RFC 9110 §11.1).
fn scheme<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, shown) = value.split_at_checked(name.len())?;
    scheme.eq_ignore_ascii_case(name).then(|| shown.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::header::HeaderName;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1";
    const ANY: &str = "0.0.0.0";

    /// One who asks over TCP, or over the socket, with these headers.
    struct Asker {
        trust: Trust,
        peer: Peer,
        headers: HeaderMap,
    }

    impl Asker {
        fn new(listen: &str, token: Option<&str>) -> Self {
            let hosts = vec!["front-a.example.com".to_owned()];
            let trust = Trust::new(listen.parse().unwrap(), token.and_then(Token::new), hosts);
            let peer = Peer::nameless(Some(SocketAddr::from(([10, 0, 0, 9], 40_000))));
            Self { trust, peer, headers: HeaderMap::new() }
        }

        fn on_the_socket(mut self) -> Self {
            self.peer = Peer::nameless(None);
            self
        }

        fn with(mut self, name: &'static str, value: &str) -> Self {
            self.headers.append(HeaderName::from_static(name), value.parse().unwrap());
            self
        }

        fn asks(&self, method: Method, path: &str, typed: Option<&str>) -> Option<Refusal> {
            let (peer, headers) = (Some(&self.peer), &self.headers);
            self.trust.check(Asked { peer, method: &method, path, headers, typed }).err()
        }

        fn looks(&self) -> Option<Refusal> {
            self.asks(Method::GET, "/api/v1/status", None)
        }

        fn changes(&self) -> Option<Refusal> {
            self.asks(Method::POST, "/api/v1/reload", None)
        }

        fn types(&self, token: &str) -> Option<Refusal> {
            self.asks(Method::POST, "/gateways/gw1/drain", Some(token))
        }
    }

    /// `anybody:secret`
    const BASIC: &str = "Basic YW55Ym9keTpzZWNyZXQ=";

    #[test]
    fn on_loopback_anyone_may_look_and_changes_need_the_token() {
        assert_eq!(Asker::new(LOOPBACK, None).looks(), None);
        let change = |token, shown| Asker::new(LOOPBACK, token).with("authorization", shown).changes();
        assert_eq!(Asker::new(LOOPBACK, None).changes(), Some(Refusal::NoTokenConfigured));
        assert_eq!(change(None, "Bearer x"), Some(Refusal::NoTokenConfigured));
        assert_eq!(Asker::new(LOOPBACK, Some("secret")).changes(), Some(Refusal::TokenMissing));
        assert_eq!(change(Some("secret"), "Digest secret"), Some(Refusal::TokenMissing));
        for wrong in ["Bearer secre", "Bearer secret2", "Bearer Secret", "Bearer "] {
            assert_eq!(change(Some("secret"), wrong), Some(Refusal::TokenWrong), "{wrong}");
        }
        assert_eq!(change(Some("secret"), "bearer secret"), None);
    }

    #[test]
    fn where_others_can_reach_it_all_but_monitoring_needs_the_token() {
        let asker = Asker::new(ANY, Some("secret")).with("host", "front-a.monitoring:9463");
        for path in OPEN {
            assert_eq!(asker.asks(Method::GET, path, None), None);
        }
        let asker = Asker::new(ANY, Some("secret"));
        assert_eq!(asker.looks(), Some(Refusal::TokenMissing));
        let detour = asker.asks(Method::GET, "/metrics/../api/v1/status", None);
        assert_eq!(detour, Some(Refusal::TokenMissing));
        assert_eq!(asker.with("authorization", "Bearer secret").looks(), None);
        assert_eq!(Asker::new(ANY, Some("secret")).with("authorization", BASIC).looks(), None);
        let change = Asker::new(ANY, None).asks(Method::POST, "/metrics", None);
        assert_eq!(change, Some(Refusal::NoTokenConfigured));
    }

    #[test]
    fn the_unix_socket_is_trusted_and_an_unknown_peer_is_not() {
        let asker = Asker::new(ANY, None).on_the_socket();
        assert_eq!((asker.looks(), asker.changes()), (None, None));
        let Asker { trust, headers, .. } = &asker;
        let (method, path) = (&Method::POST, "/api/v1/reload");
        let unknown = trust.check(Asked { peer: None, method, path, headers, typed: None });
        assert_eq!(unknown, Err(Refusal::NoTokenConfigured));
    }

    #[test]
    fn a_name_that_somebody_else_has_made_to_lead_here_is_refused() {
        for host in [
            "evil.example",
            "evil.example:9463",
            "front-a.example.com.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            for asker in [
                Asker::new(LOOPBACK, None),
                Asker::new(ANY, Some("secret")),
                Asker::new(LOOPBACK, None).on_the_socket(),
            ] {
                let asker = asker.with("host", host);
                assert_eq!(asker.looks(), Some(Refusal::UnknownHost), "{host}");
                assert_eq!(asker.types("secret"), Some(Refusal::UnknownHost), "{host}");
            }
        }
        let own = [
            "127.0.0.1:9463",
            "[::1]:9463",
            "10.0.0.1",
            "localhost:8080",
            "LOCALHOST",
            "front.localhost",
            "front-a.example.com",
            "Front-A.example.com.:9463",
        ];
        for host in own {
            assert_eq!(Asker::new(LOOPBACK, None).with("host", host).looks(), None, "{host}");
        }
        let twice = Asker::new(LOOPBACK, None).with("host", "localhost").with("host", "evil.example");
        assert_eq!(twice.looks(), Some(Refusal::UnknownHost));
        // on a socket programs write there what they like
        assert_eq!(Asker::new(LOOPBACK, None).on_the_socket().with("host", "vestibule").looks(), None);
        // a browser is not made to show a token that it does not know
        let program = Asker::new(LOOPBACK, Some("secret"))
            .with("host", "front-a.lan")
            .with("authorization", "Bearer secret");
        assert_eq!((program.looks(), program.changes()), (None, None));
    }

    #[test]
    fn a_page_of_somebody_else_changes_nothing_though_the_browser_knows_the_token() {
        let doors = [
            || Asker::new(ANY, Some("secret")).with("authorization", BASIC),
            || Asker::new(LOOPBACK, Some("secret")).on_the_socket(),
        ];
        for asker in doors {
            let at = || asker().with("host", "10.0.0.1:9463");
            let others = [
                "https://evil.example",
                "http://10.0.0.1",
                "http://10.0.0.1:9464",
                "null",
                "",
                "http://10.0.0.1:9463@evil.example",
            ];
            for origin in others {
                assert_eq!(at().with("origin", origin).changes(), Some(Refusal::CrossSite), "{origin}");
                assert_eq!(at().with("origin", origin).types("secret"), Some(Refusal::CrossSite), "{origin}");
            }
            for site in ["cross-site", "same-site"] {
                assert_eq!(at().with("sec-fetch-site", site).changes(), Some(Refusal::CrossSite), "{site}");
            }
            let own = at().with("origin", "http://10.0.0.1:9463").with("sec-fetch-site", "same-origin");
            assert_eq!(own.changes(), None);
        }
        let silent = Asker::new(ANY, Some("secret")).with("authorization", BASIC);
        assert_eq!(silent.changes(), Some(Refusal::CrossSite), "it does not say from where");
        let behind =
            Asker::new(ANY, Some("secret")).with("authorization", BASIC).with("host", "front-a.example.com");
        assert_eq!(
            behind.with("origin", "https://front-a.example.com").changes(),
            None,
            "a proxy with TLS before it"
        );
    }

    #[test]
    fn a_token_that_is_typed_is_one_that_is_shown() {
        let asker = || {
            Asker::new(LOOPBACK, Some("secret"))
                .with("host", "127.0.0.1:9463")
                .with("origin", "http://127.0.0.1:9463")
        };
        assert_eq!(asker().types("secret"), None);
        assert_eq!(asker().types("secre"), Some(Refusal::TokenWrong));
        assert_eq!(asker().types(""), Some(Refusal::TokenMissing));
        assert_eq!(asker().with("authorization", BASIC).types(""), None);
        assert_eq!(
            asker().with("authorization", BASIC).types("other"),
            Some(Refusal::TokenWrong),
            "what is typed counts"
        );
    }

    #[test]
    fn other_rules_hold_for_all_clones() {
        let asker =
            Asker::new(LOOPBACK, None).with("authorization", "Bearer new").with("host", "other.example");
        let other = asker.trust.clone();
        assert_eq!(asker.looks(), Some(Refusal::UnknownHost));
        other.change(Token::new("new"), vec!["other.example".into()]);
        assert_eq!((asker.looks(), asker.changes()), (None, None));
    }

    #[test]
    fn a_token_is_one_visible_word_and_is_never_shown() {
        assert!(Token::new(" \n").is_none() && Token::new("two words").is_none());
        let token = Token::new("  secret\n").unwrap();
        assert!(token.is(b"secret") && !format!("{token:?}").contains("secret"));
    }

    #[test]
    fn credentials_that_are_none_are_no_token() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            basic(&headers).map(|credentials| (credentials.name, credentials.token))
        };
        assert_eq!(read(BASIC), Some(("anybody".to_owned(), b"secret".to_vec())));
        // ":a:b" and "no colon"
        assert_eq!(read("basic OmE6Yg=="), Some((String::new(), b"a:b".to_vec())));
        for none in ["Basic bm8gY29sb24=", "Basic !", "Basic", "Bearer OmE6Yg=="] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
