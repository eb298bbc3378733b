//! Who may ask the admin endpoint what.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use crate::net::serve::Peer;

/// The rules of the admin endpoint. Clones share the token, so that a reload can change it under a running
/// server.
///
/// On the Unix socket the file's permissions decide: who can connect is trusted. Over TCP every change
/// needs the token, and so does every look where the endpoint can be reached from other hosts, apart from
/// what monitoring asks for ([`OPEN`]).
#[derive(Clone, Debug)]
pub struct Trust {
    token: Arc<ArcSwapOption<Token>>,
    exposed: bool,
}

/// A bearer token (RFC 6750 §2.1). Never shown.
#[derive(Clone)]
pub struct Token(Box<str>);

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
}

/// What anyone who reaches the endpoint may look at.
pub const OPEN: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

impl Trust {
    /// The rules for an endpoint that listens on `listen`.
    pub fn new(listen: IpAddr, token: Option<Token>) -> Self {
        Self { token: Arc::new(ArcSwapOption::new(token.map(Arc::new))), exposed: !listen.is_loopback() }
    }

    /// Changes the token, for all clones.
    pub fn set_token(&self, token: Option<Token>) {
        self.token.store(token.map(Arc::new));
    }

    /// Whether this request may go on. A request of which nobody says where it comes from is treated like
    /// one over TCP.
    pub fn check(
        &self,
        peer: Option<&Peer>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if peer.is_some_and(|peer| peer.address.is_none()) {
            return Ok(());
        }
        let looks = method == Method::GET || method == Method::HEAD;
        if looks && (!self.exposed || OPEN.contains(&path)) {
            return Ok(());
        }
        match (self.token.load().as_deref(), bearer(headers)) {
            (None, _) => Err(Refusal::NoTokenConfigured),
            (Some(_), None) => Err(Refusal::TokenMissing),
            (Some(token), Some(shown)) if token.is(shown) => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::TokenWrong),
        }
    }
}

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
        let own = self.0.as_bytes();
        let difference = own.iter().zip(shown).fold(0, |d, (a, b)| std::hint::black_box(d | (a ^ b)));
        own.len() == shown.len() && difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1";
    const ANY: &str = "0.0.0.0";

    fn asked(listen: &str, token: Option<&str>, method: Method, path: &str, shown: &str) -> Option<Refusal> {
        let trust = Trust::new(listen.parse().unwrap(), token.and_then(Token::new));
        let mut headers = HeaderMap::new();
        if !shown.is_empty() {
            headers.insert(AUTHORIZATION, shown.parse().unwrap());
        }
        let peer = Peer::nameless(Some(SocketAddr::from(([10, 0, 0, 9], 40_000))));
        trust.check(Some(&peer), &method, path, &headers).err()
    }

    #[test]
    fn on_loopback_anyone_may_look_and_changes_need_the_token() {
        assert_eq!(asked(LOOPBACK, None, Method::GET, "/api/v1/status", ""), None);
        let change = |token, shown| asked(LOOPBACK, token, Method::POST, "/api/v1/reload", shown);
        assert_eq!(change(None, ""), Some(Refusal::NoTokenConfigured));
        assert_eq!(change(None, "Bearer x"), Some(Refusal::NoTokenConfigured));
        assert_eq!(change(Some("secret"), ""), Some(Refusal::TokenMissing));
        assert_eq!(change(Some("secret"), "Basic c2VjcmV0"), Some(Refusal::TokenMissing));
        assert_eq!(change(Some("secret"), "Bearer secre"), Some(Refusal::TokenWrong));
        assert_eq!(change(Some("secret"), "Bearer secret2"), Some(Refusal::TokenWrong));
        assert_eq!(change(Some("secret"), "Bearer Secret"), Some(Refusal::TokenWrong));
        assert_eq!(change(Some("secret"), "Bearer "), Some(Refusal::TokenWrong));
        assert_eq!(change(Some("secret"), "bearer secret"), None);
    }

    #[test]
    fn where_others_can_reach_it_all_but_monitoring_needs_the_token() {
        let look = |path, shown| asked(ANY, Some("secret"), Method::GET, path, shown);
        for path in OPEN {
            assert_eq!(look(path, ""), None);
        }
        assert_eq!(look("/api/v1/status", ""), Some(Refusal::TokenMissing));
        assert_eq!(look("/metrics/../api/v1/status", ""), Some(Refusal::TokenMissing));
        assert_eq!(look("/api/v1/status", "Bearer secret"), None);
        assert_eq!(asked(ANY, None, Method::POST, "/metrics", ""), Some(Refusal::NoTokenConfigured));
    }

    #[test]
    fn the_unix_socket_is_trusted_and_an_unknown_peer_is_not() {
        let trust = Trust::new(ANY.parse().unwrap(), None);
        let socket = Peer::nameless(None);
        let ask = |peer| trust.check(peer, &Method::POST, "/api/v1/reload", &HeaderMap::new());
        assert_eq!(ask(Some(&socket)), Ok(()));
        assert_eq!(ask(None), Err(Refusal::NoTokenConfigured));
    }

    #[test]
    fn a_new_token_holds_for_all_clones() {
        let trust = Trust::new(LOOPBACK.parse().unwrap(), None);
        let clone = trust.clone();
        trust.set_token(Token::new("new"));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer new".parse().unwrap());
        assert_eq!(clone.check(None, &Method::POST, "/", &headers), Ok(()));
    }

    #[test]
    fn a_token_is_one_visible_word_and_is_never_shown() {
        assert!(Token::new(" \n").is_none() && Token::new("two words").is_none());
        let token = Token::new("  secret\n").unwrap();
        assert!(token.is(b"secret") && !format!("{token:?}").contains("secret"));
    }
}
