//! From what stands in [listener.proxy] to its settings.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde_spanned::Spanned;

use super::cookie_key::cookie_key;
use super::files::Files;
use super::front::trust;
use super::front_file::Preset;
use super::proxy_file::{AffinityKind, ProxyTable, UpstreamTlsTable};
use crate::front::{Affinity, AffinityCookie, Proxy, UpstreamTls};
use crate::net::tls;

/// The settings of a proxy whose candidates have these presets. `key` is that of its first certificate, if
/// there is one.
pub fn proxy(
    table: &ProxyTable,
    presets: &[Preset],
    key: Option<&PrivateKeyDer<'_>>,
    files: &Files<'_>,
) -> Option<Proxy> {
    // everything is looked at before the first `?`, so that no problem hides another
    let tls = table.upstream_tls.as_ref().map(|table| upstream_tls(table, files));
    let affinity = match table.affinity {
        AffinityKind::None => Affinity::None,
        AffinityKind::SourceAddress => Affinity::SourceAddress,
        AffinityKind::Session => {
            let given = table.session_cookies.as_ref().map(|names| names.as_slice().into());
            Affinity::Session(given.unwrap_or_else(|| session_cookies(presets)))
        }
        AffinityKind::Cookie => Affinity::Cookie(AffinityCookie {
            name: table.affinity_cookie.clone(),
            key: files.problems().take(&table.affinity_place, cookie_key(key?))?,
        }),
    };
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    let shares_connections = shares_connections(&affinity, presets);
    Some(Proxy { affinity, tls, shares_connections, ..table.settings.clone() })
}

/// Whether a connection to a gateway may serve one client after the other. Whoever wants affinity without an
/// inserted cookie has VPN clients, and their gateways take a connection for a client.
fn shares_connections(affinity: &Affinity, presets: &[Preset]) -> bool {
    match affinity {
        Affinity::Session(_) | Affinity::SourceAddress => false,
        Affinity::None | Affinity::Cookie(_) => !presets.contains(&Preset::Ocserv),
    }
}

/// What the candidates set; all that we know where there is one of which we do not know what it is.
fn session_cookies(presets: &[Preset]) -> Arc<[Box<str>]> {
    let usual = Affinity::usual_sessions();
    if presets.is_empty() || presets.contains(&Preset::None) {
        return usual;
    }
    let is_set = |name: &str| presets.iter().any(|preset| preset.session_cookies().contains(&name));
    usual.iter().filter(|name| is_set(name)).cloned().collect()
}

fn upstream_tls(table: &UpstreamTlsTable, files: &Files<'_>) -> Option<UpstreamTls> {
    let trust = trust(table.verify, table.ca.as_ref(), &table.head, files);
    let server_name = match &table.server_name {
        Some(name) => Some(server_name(name, files)?),
        None => None,
    };
    let config = files.problems().take(&table.head, tls::client_config(&trust?, None))?;
    Some(UpstreamTls { config, server_name })
}

fn server_name(name: &Spanned<String>, files: &Files<'_>) -> Option<ServerName<'static>> {
    let read = ServerName::try_from(name.get_ref().clone());
    let read = read.map_err(|_| "'server_name' must be a host name or an address");
    files.problems().take(&name.span(), read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_shared_only_where_no_vpn_client_is_meant() {
        let cookie = Affinity::Cookie(AffinityCookie { name: "VESTIBULE".into(), key: [0; 32] });
        for (affinity, presets, shared) in [
            (Affinity::Session(Affinity::usual_sessions()), &[Preset::Novell][..], false),
            (Affinity::SourceAddress, &[Preset::None], false),
            (Affinity::None, &[Preset::None, Preset::Novell], true),
            (Affinity::None, &[Preset::None, Preset::Ocserv], false),
            (cookie.clone(), &[Preset::None], true),
            (cookie, &[Preset::Ocserv], false),
        ] {
            assert_eq!(shares_connections(&affinity, presets), shared, "{affinity:?} {presets:?}");
        }
    }

    #[test]
    fn the_sessions_followed_are_those_of_the_products_behind() {
        use Preset::{None, Novell, Ocserv};
        let all = ["webvpncontext", "webvpn", "JSESSIONID"];
        for (presets, cookies) in [
            (&[Ocserv, Ocserv][..], &["webvpncontext", "webvpn"][..]),
            (&[Novell], &["JSESSIONID"]),
            (&[Novell, Ocserv], &all),
            (&[], &all),
            (&[None], &all),
            // it may set anything
            (&[Ocserv, None], &all),
        ] {
            let followed = session_cookies(presets);
            assert_eq!(followed.iter().map(|name| &**name).collect::<Vec<_>>(), cookies, "{presets:?}");
        }
    }
}
