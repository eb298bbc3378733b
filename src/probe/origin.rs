use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::net::check::Check;

/// The addresses of this host that connections to where these checks go would leave from, as far as the names are
/// known; no more than an agent takes. The routing table is asked, and nothing is sent.
pub fn origins(checks: &[Check]) -> Vec<IpAddr> {
    let mut origins = Vec::new();
    for address in checks.iter().flat_map(|check| check.site.known_addresses()) {
        if origins.len() == MOST {
            break;
        }
        if let Ok(origin) = origin(address)
            && !origins.contains(&origin)
        {
            origins.push(origin);
        }
    }
    origins
}

fn origin(to: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // of a datagram socket this sends nothing
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Endpoint;
    use crate::net::check::Kind;

    fn check(address: &str) -> Check {
        let site = Endpoint::parse(address, 443).unwrap().into();
        Check { name: "portal".into(), site, kind: Kind::Tcp }
    }

    #[test]
    fn each_origin_is_told_once_and_a_name_that_was_never_found_tells_none() {
        let checks = ["127.0.0.1:443", "127.0.0.2:80", "never.invalid"].map(check);
        assert_eq!(origins(&checks), [IpAddr::from([127, 0, 0, 1])]);
        assert!(origins(&[]).is_empty());
    }
}
