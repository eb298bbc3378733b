//! What happens to a request before anybody works on it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::page;
use super::reply::refused;
use super::trust::{Asked, Refusal, Trust, basic};
use crate::net::seldom::Seldom;
use crate::net::serve::Peer;

/// Holds requests to the rules.
#[derive(Clone)]
pub struct Guard {
    trust: Trust,
    refused: Arc<Seldom>,
}

/// What is noted of whoever asks: `uid 0`, an address, or `alice at 10.0.0.9` where he gives a name. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By(pub Arc<str>);

/// What a form of the page says. A request extension, where one was sent.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Form {
    /// The token.
    #[serde(default)]
    token: String,
    /// Who changes something, for the log.
    #[serde(default)]
    name: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Where forms of the page go; everything else takes JSON, which no form can send.
pub const FORMS: &str = "/gateways/";

/// A reason of 200 characters, each written with an escape, is a tenth of it.
pub const MAX_BODY_BYTES: usize = 16 << 10;

/// Of a form, which is sent at once. Whoever sends it has shown no token yet.
const FORM_TIME: Duration = Duration::from_secs(5);

impl fmt::Debug for Form {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token: _, name, reason } = self;
        f.debug_struct("Form").field("name", name).field("reason", reason).finish_non_exhaustive()
    }
}

impl Guard {
    /// By these rules.
    pub fn new(trust: Trust) -> Self {
        Self { trust, refused: Arc::new(Seldom::new("admin request refused", "admin requests refused")) }
    }

    fn tell(&self, request: &Request, refusal: Refusal) {
        let client = request.extensions().get::<Peer>().and_then(|peer| peer.address);
        if self.refused.note(Instant::now(), client, refusal) {
            let client = client.map(tracing::field::display);
            tracing::warn!(client, method = %request.method(), reason = %refusal, "admin request refused");
        }
    }
}

/// Lets a request go on, or answers it.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // whoever asks next brings it to light: monitoring, if nobody else
    if let Some(line) = guard.refused.sum(Instant::now()) {
        tracing::warn!("{line}");
    }
    let is_page_form = request.method() == Method::POST && request.uri().path().starts_with(FORMS);
    let (mut request, form) = match is_page_form {
        true => match with_form(request).await {
            Ok((request, form)) => (request, Some(form)),
            Err(answer) => return answer,
        },
        false => (request, None),
    };
    let peer = request.extensions().get::<Peer>();
    let typed = form.as_ref().map(|form| form.token.as_str());
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    if let Err(refusal) = guard.trust.check(Asked { peer, method, path, headers, typed }) {
        guard.tell(&request, refusal);
        return if is_page_form {
            page::refused(status(refusal, true), &refusal.to_string())
        } else {
            answer(refusal, page::for_people(request.headers()))
        };
    }
    let (by, rights) = (who(peer, headers, form.as_ref()), guard.trust.rights(peer, headers));
    request.extensions_mut().insert(by);
    request.extensions_mut().insert(rights);
    if let Some(form) = form {
        request.extensions_mut().insert(form);
    }
    next.run(request).await
}

/// Reads the form that a request carries; no request without one goes on.
async fn with_form(request: Request) -> Result<(Request, Form), Response> {
    let is_form = |headers: &HeaderMap| {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    };
    if !is_form(request.headers()) {
        let text = "this takes a form of the page; programs use /api/v1/gateways/NAME/drain";
        return Err(page::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let (head, body) = request.into_parts();
    let Ok(bytes) = timeout(FORM_TIME, to_bytes(body, MAX_BODY_BYTES)).await else {
        return Err(page::refused(StatusCode::REQUEST_TIMEOUT, "the form did not come to its end in time"));
    };
    let Ok(bytes) = bytes else {
        return Err(page::refused(StatusCode::PAYLOAD_TOO_LARGE, "the form is too long"));
    };
    let Ok(form) = serde_urlencoded::from_bytes(&bytes) else {
        return Err(page::refused(StatusCode::BAD_REQUEST, "the form cannot be read"));
    };
    Ok((Request::from_parts(head, Body::empty()), form))
}

fn answer(refusal: Refusal, for_people: bool) -> Response {
    let (status, text) = (status(refusal, false), refusal.to_string());
    let mut response = if for_people { page::refused(status, &text) } else { refused(status, &text) };
    if status == StatusCode::UNAUTHORIZED {
        // a program shows it in one way, and a browser asks its user for it in the other
        for challenge in ["Bearer realm=\"vestibule\"", "Basic realm=\"vestibule\", charset=\"UTF-8\""] {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
    response
}

fn status(refusal: Refusal, is_typed: bool) -> StatusCode {
    match refusal {
        Refusal::TokenMissing | Refusal::TokenWrong if is_typed => StatusCode::FORBIDDEN,
        Refusal::TokenMissing | Refusal::TokenWrong => StatusCode::UNAUTHORIZED,
        // no authentication would help (RFC 9110 §15.5.4)
        Refusal::NoTokenConfigured | Refusal::CrossSite => StatusCode::FORBIDDEN,
        Refusal::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
    }
}

fn who(peer: Option<&Peer>, headers: &HeaderMap, form: Option<&Form>) -> By {
    let place = match peer {
        Some(Peer { user: Some(user), .. }) => format!("uid {user}"),
        Some(Peer { address: Some(address), .. }) => address.ip().to_canonical().to_string(),
        _ => "unknown".into(),
    };
    let typed = form.and_then(|form| name(&form.name));
    let name = typed.or_else(|| name(&basic(headers)?.name));
    By(name.map_or(place.clone(), |name| format!("{name} at {place}")).into())
}

/// What somebody calls himself, which nobody can prove: short, and of one line.
fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name =
        !text.is_empty() && text.chars().count() <= MOST_CHARACTERS && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned())
}

const MOST_CHARACTERS: usize = 40;
