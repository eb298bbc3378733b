use http::HeaderValue;

use super::settings::ListenerSettings;
use crate::fleet::{Endpoint, Snapshot};

/// The Location of every gateway, made ready. Stays good as long as the snapshot's generation does.
#[derive(Debug)]
pub struct Locations {
    generation: u64,
    /// In the order of the snapshot.
    prepared: Vec<Option<Prepared>>,
}

#[derive(Debug)]
struct Prepared {
    origin: Box<str>,
    /// The origin with `/`.
    root: HeaderValue,
}

impl Locations {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let endpoints = snapshot.gateways.iter().map(|view| &view.gateway.ssl_endpoint);
        Self { generation: snapshot.generation, prepared: endpoints.map(Prepared::of).collect() }
    }

    /// That of one place alone.
    pub fn of_one(endpoint: &Endpoint) -> Self {
        Self { generation: 0, prepared: vec![Prepared::of(endpoint)] }
    }

    /// Whether they are those of the snapshot.
    pub fn fit(&self, snapshot: &Snapshot) -> bool {
        self.generation == snapshot.generation
    }

    /// The Location of the gateway at `index`. It is absolute and begins with `https://` in lower case, and
    /// its host is the configured one whatever the request says; openconnect follows no other form. The
    /// path is the request's only if the listener keeps paths; the query never is, for openconnect starts
    /// over at the front door when there is one.
    pub fn location(&self, index: usize, path: &str, settings: &ListenerSettings) -> Option<HeaderValue> {
        let prepared = self.prepared.get(index)?.as_ref()?;
        if !settings.redirect.keep_path || path.len() <= 1 {
            return Some(prepared.root.clone());
        }
        // a path begins with a slash, so it cannot reach into the host before it; anything else (`*`, an
        // authority) is not one
        if !path.starts_with('/') {
            return Some(prepared.root.clone());
        }
        HeaderValue::try_from(format!("{}{path}", prepared.origin)).ok()
    }
}

impl Prepared {
    /// `None` cannot happen: an endpoint's host is a name of letters, digits and hyphens, or an address.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let origin = endpoint.https_origin();
        let root = HeaderValue::try_from(format!("{origin}/")).ok()?;
        Some(Self { origin: origin.into(), root })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{Ask, Vpn};
    use crate::front::{Limits, Mode, Redirect};

    fn location(keep_path: bool, path: &str) -> String {
        let endpoint = Endpoint::parse("gw1.example.com:8443", 443).unwrap();
        let settings = ListenerSettings {
            name: Arc::from("portal"),
            address: "127.0.0.1:443".parse().unwrap(),
            ask: Ask { vrrp_id: None, vpn: Vpn::Ssl },
            limits: Limits::default(),
            redirect: Redirect { keep_path, ..Redirect::default() },
            mode: Mode::HttpsUpgrade(endpoint.clone()),
        };
        let location = Locations::of_one(&endpoint).location(0, path, &settings).unwrap();
        location.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_path_is_dropped_by_default() {
        assert_eq!(location(false, "/staff"), "https://gw1.example.com:8443/");
    }

    #[test]
    fn the_path_is_kept_on_request() {
        assert_eq!(location(true, "/staff"), "https://gw1.example.com:8443/staff");
        assert_eq!(location(true, "/"), "https://gw1.example.com:8443/");
    }

    #[test]
    fn no_path_changes_the_host() {
        for path in [
            "//evil.example",
            "/\\evil.example",
            "/@evil.example",
            "/.evil.example",
            "*",
            "@evil",
            "",
            "evil:1",
        ] {
            let location = location(true, path);
            assert!(location.starts_with("https://gw1.example.com:8443/"), "{path:?} gave {location:?}");
        }
    }
}
