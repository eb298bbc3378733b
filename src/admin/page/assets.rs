//! The files that pages name.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

/// A file that is part of the program.
pub struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
    /// Of the content, so that one that has changed has another address.
    hash: u64,
}

/// How the pages look.
pub static CSS: Asset =
    Asset::new("/assets/page.css", "text/css; charset=utf-8", include_str!("assets/page.css"));
/// How they follow what happens.
pub static JS: Asset =
    Asset::new("/assets/page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js"));
/// What stands in a browser's tab.
pub static ICON: Asset = Asset::new("/assets/icon.svg", "image/svg+xml", include_str!("assets/icon.svg"));

impl Asset {
    const fn new(path: &'static str, kind: &'static str, content: &'static str) -> Self {
        Self { path, kind, content, hash: fnv_1a(content.as_bytes()) }
    }

    /// Where it is.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// How pages name it.
    pub fn url(&self) -> String {
        format!("{}?{:016x}", self.path, self.hash)
    }

    /// It may be kept: what has changed is asked for at another address.
    pub fn response(&'static self) -> Response {
        let kept = HeaderValue::from_static("private, max-age=31536000, immutable");
        ([(CONTENT_TYPE, HeaderValue::from_static(self.kind)), (CACHE_CONTROL, kept)], self.content)
            .into_response()
    }
}

/// <http://www.isthe.com/chongo/tech/comp/fnv/>
const fn fnv_1a(mut bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let Some((byte, rest)) = bytes.split_first() {
        hash = (hash ^ *byte as u64).wrapping_mul(0x100_0000_01b3);
        bytes = rest;
    }
    hash
}
