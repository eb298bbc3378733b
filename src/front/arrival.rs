//! Who has come, and to which address.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::door::Door;
use super::limit::Place;
use super::proxy_protocol::{self, Decoded, Ends};

/// Finds out both ends of a connection. Where they are told by a PROXY header, its place is charged to who is
/// behind the proxy from now on. `None`: the connection is to be closed, and is counted already.
pub async fn ends(stream: &mut TcpStream, peer: SocketAddr, door: &Door, place: &mut Place) -> Option<Ends> {
    let settings = &door.plan.settings;
    let Some(upstream) = settings.mode.upstream() else {
        return Some(Ends { client: peer, local: settings.address });
    };
    let own = Ends { client: peer, local: local(stream, settings.address) };
    if !upstream.expects_header(peer.ip()) {
        return Some(own);
    }
    let limits = &settings.limits;
    let ends = match tokio::time::timeout(limits.handshake_timeout, header(stream)).await {
        Ok(Ok(Some(ends))) => ends,
        // the proxy speaks for itself, and is no source that is limited
        Ok(Ok(None)) => return Some(own),
        Ok(Err(why)) => {
            // who says nothing at all only looks whether somebody listens
            if let Some(why) = why.in_words() {
                door.refuse_headerless(peer, why);
            }
            return None;
        }
        Err(_) => {
            door.refuse_headerless(peer, "none has come in time");
            return None;
        }
    };
    match place.charge(ends.client.ip(), limits) {
        Ok(()) => Some(ends),
        Err(rejection) => {
            door.meter.rejected(rejection);
            None
        }
    }
}

/// The address that a connection came to: the listener's, unless that stands for many.
fn local(stream: &TcpStream, listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() { stream.local_addr().unwrap_or(listener) } else { listener }
}

/// Why there is no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// The connection has ended without a byte.
    Nothing,
    /// It has ended in the middle.
    BrokenOff,
    /// There is something else.
    NoHeader,
}

impl Missing {
    fn in_words(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::BrokenOff => Some("it breaks off"),
            Self::NoHeader => Some("the connection begins with something else"),
        }
    }
}

impl From<io::Error> for Missing {
    fn from(_: io::Error) -> Self {
        Self::BrokenOff
    }
}

/// Reads a PROXY header, and not a byte more: what follows it is looked at before it is read, so that TLS finds
/// its bytes where it expects them.
async fn header(stream: &mut TcpStream) -> Result<Option<Ends>, Missing> {
    let mut header = Vec::new();
    loop {
        let read = header.len();
        header.resize(read + AT_A_TIME, 0);
        let seen = stream.peek(header.get_mut(read..).unwrap_or_default()).await?;
        header.truncate(read + seen);
        match proxy_protocol::decode(&header) {
            Decoded::Header { length, ends } => {
                stream.read_exact(header.get_mut(read..length).unwrap_or_default()).await?;
                return Ok(ends);
            }
            // all that is there belongs to the header
            Decoded::Incomplete if seen > 0 && header.len() < proxy_protocol::MAX_LENGTH => {
                stream.read_exact(header.get_mut(read..).unwrap_or_default()).await?;
            }
            Decoded::Incomplete if header.is_empty() => return Err(Missing::Nothing),
            Decoded::Incomplete if seen == 0 => return Err(Missing::BrokenOff),
            Decoded::Incomplete | Decoded::Invalid => return Err(Missing::NoHeader),
        }
    }
}

/// Longer than any header without extras.
const AT_A_TIME: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::super::relay::trial::tcp;
    use super::*;
    use crate::front::ProxyProtocol;

    fn told() -> Ends {
        Ends { client: "192.0.2.1:50000".parse().unwrap(), local: "192.0.2.203:443".parse().unwrap() }
    }

    /// Both versions, and one with more after the addresses than is looked at in one go.
    fn headers() -> [Vec<u8>; 3] {
        let Ends { client, local } = told();
        let [one, two] =
            [ProxyProtocol::V1, ProxyProtocol::V2].map(|v| proxy_protocol::encode(v, client, local));
        let mut long = two.clone();
        long.extend_from_slice(&[0x04, 3, 0xe8]);
        long.resize(long.len() + 1000, b'\n');
        [long[14], long[15]] = (12u16 + 3 + 1000).to_be_bytes();
        [one, two, long]
    }

    #[tokio::test]
    async fn a_header_is_read_and_not_a_byte_more() {
        for header in headers() {
            let (mut proxy, mut ours) = tcp().await;
            proxy.write_all(&[&header[..], b"\x16\x03\x01"].concat()).await.unwrap();
            assert_eq!(super::header(&mut ours).await.unwrap(), Some(told()));
            proxy.shutdown().await.unwrap();
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"\x16\x03\x01");
        }
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        for header in headers() {
            let (mut proxy, mut ours) = tcp().await;
            let dribble = async {
                for byte in header.iter().chain(b"rest") {
                    proxy.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (ends, ()) = tokio::join!(super::header(&mut ours), dribble);
            assert_eq!(ends.unwrap(), Some(told()));
            let mut rest = [0; 4];
            ours.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"rest");
        }
    }

    #[tokio::test]
    async fn who_sends_none_or_stops_half_way_is_found_out_at_once() {
        for (bytes, missing) in [
            (&b"\x16\x03\x01\x02\x00"[..], Missing::NoHeader),
            (b"PROXY TCP4 192.0.2.1", Missing::BrokenOff),
            (b"", Missing::Nothing),
        ] {
            let (mut proxy, mut ours) = tcp().await;
            proxy.write_all(bytes).await.unwrap();
            proxy.shutdown().await.unwrap();
            let ends = tokio::time::timeout(Duration::from_secs(5), super::header(&mut ours)).await;
            assert_eq!(ends.unwrap(), Err(missing), "{bytes:?}");
        }
    }
}
