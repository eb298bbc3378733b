//! Cookies as far as affinity needs them (RFC 6265 §4).

use http::{HeaderMap, header};

/// The cookies of a request, by name and value.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = headers.get_all(header::COOKIE).into_iter();
    fields.flat_map(|field| field.as_bytes().split(|b| *b == b';')).filter_map(pair)
}

/// The cookies that a response sets, by name and value.
pub fn set_cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = headers.get_all(header::SET_COOKIE).into_iter();
    fields.filter_map(|field| pair(field.as_bytes().split(|b| *b == b';').next()?))
}

/// The value of the request's cookie of this name.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    cookies(headers).find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

/// `name=value`; the quotes that may stand around a value are no part of it.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == b'=')?;
    let (name, value) = text.split_at_checked(at)?;
    let value = value.get(1..)?.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    Some((name.trim_ascii(), value))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands() {
        let headers = headers(header::COOKIE, &["a=1; webvpn=7@8=", "c=\"3\";d"]);
        assert_eq!(find(&headers, "a"), Some(&b"1"[..]));
        assert_eq!(find(&headers, "webvpn"), Some(&b"7@8="[..]), "a value may hold what ends a name");
        assert_eq!(find(&headers, "c"), Some(&b"3"[..]));
        assert_eq!(find(&headers, "d"), None);
        assert_eq!(find(&headers, "WEBVPN"), None, "case counts");
    }

    #[test]
    fn what_a_response_sets_is_read_without_its_attributes() {
        let headers = headers(header::SET_COOKIE, &["webvpncontext=xy; Max-Age=300; Secure", "webvpn=;x=y"]);
        let set: Vec<_> = set_cookies(&headers).collect();
        assert_eq!(set, [(&b"webvpncontext"[..], &b"xy"[..]), (&b"webvpn"[..], &b""[..])]);
    }
}
