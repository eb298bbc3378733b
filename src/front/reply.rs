//! Every answer that a listener gives by itself, made ready as far as can be.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// A whole answer.
pub type Reply = Response<Full<Bytes>>;

/// "Go there". The answer is not to be kept by anyone: the next one may name another gateway.
pub fn redirect(status: StatusCode, location: HeaderValue) -> Reply {
    let mut reply = bare(status);
    reply.headers_mut().insert(header::LOCATION, location);
    reply
}

/// No gateway is available.
pub fn unavailable(retry_after: &HeaderValue) -> Reply {
    let mut reply = page(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE);
    reply.headers_mut().insert(header::RETRY_AFTER, retry_after.clone());
    reply
}

/// What is allowed here (RFC 9110 §9.3.7).
pub fn options() -> Reply {
    let mut reply = bare(StatusCode::NO_CONTENT);
    reply.headers_mut().insert(header::ALLOW, ALLOW);
    reply
}

/// A method that is not (RFC 9110 §15.5.6).
pub fn method_not_allowed() -> Reply {
    let mut reply = page(StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED);
    reply.headers_mut().insert(header::ALLOW, ALLOW);
    reply
}

/// A request whose body holds a password for whoever answers.
pub fn password_comes_first() -> Reply {
    page(StatusCode::FORBIDDEN, PASSWORD_COMES_FIRST)
}

/// A request that never came to its end.
pub fn bad_request() -> Reply {
    bare(StatusCode::BAD_REQUEST)
}

/// A request that could be read in more than one way.
pub fn malformed() -> Reply {
    page(StatusCode::BAD_REQUEST, MALFORMED)
}

/// A method that would show a client what only gateways are to see (RFC 9110 §9.3.8), or that this version of
/// HTTP has no tunnel for.
pub fn not_through_here() -> Reply {
    let mut reply = page(StatusCode::METHOD_NOT_ALLOWED, NOT_THROUGH_HERE);
    reply.headers_mut().insert(header::ALLOW, ALLOW_THROUGH);
    reply
}

/// The rest of a request has not come.
pub fn request_timeout() -> Reply {
    page(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT)
}

/// No gateway has answered as it should. Why stands in the log, and is nobody else's business.
pub fn bad_gateway() -> Reply {
    page(StatusCode::BAD_GATEWAY, BAD_GATEWAY)
}

/// No gateway has answered in time.
pub fn gateway_timeout() -> Reply {
    page(StatusCode::GATEWAY_TIMEOUT, GATEWAY_TIMEOUT)
}

/// Has the connection closed after this answer.
pub fn and_close(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn page(status: StatusCode, html: &'static str) -> Reply {
    let mut reply = bare(status);
    *reply.body_mut() = Full::new(Bytes::from_static(html.as_bytes()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

fn bare(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
const ALLOW_THROUGH: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT");

macro_rules! html {
    ($title:literal, $text:literal) => {
        concat!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
            "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
            $title,
            "</title>\n<h1>",
            $title,
            "</h1>\n<p>",
            $text,
            "</p>\n</html>\n"
        )
    };
}

const UNAVAILABLE: &str = html!(
    "No VPN gateway is available",
    "All gateways are out of service or full at the moment. Please try again in a few seconds. \
     If this does not go away, tell your administrator."
);
const METHOD_NOT_ALLOWED: &str = html!(
    "This is the front door",
    "VPN tunnels end at a gateway. Connect to this address with a browser or a VPN client that follows \
     redirects, and it will be sent to one."
);
const PASSWORD_COMES_FIRST: &str = html!(
    "Please connect to a gateway directly",
    "This VPN client sends its password with its first request, before it knows the gateway. \
     It is not passed on to another host."
);
const MALFORMED: &str =
    html!("This request is not understood", "It could be read in more than one way, so it is not passed on.");
const NOT_THROUGH_HERE: &str =
    html!("This method is not passed on", "The front door does not pass it on to a gateway.");
const REQUEST_TIMEOUT: &str =
    html!("The request is not complete", "The rest of it has not come in time. Please try again.");
const BAD_GATEWAY: &str = html!(
    "The VPN gateway does not answer",
    "It could not be reached, or broke off. Please try again in a few seconds. If this does not go away, tell \
     your administrator."
);
const GATEWAY_TIMEOUT: &str = html!(
    "The VPN gateway does not answer in time",
    "Please try again in a few seconds. If this does not go away, tell your administrator."
);
