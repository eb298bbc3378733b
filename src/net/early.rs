//! Sockets for addresses that this host may not have yet.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// A socket for one family alone that can be bound before its address is here (IP_FREEBIND, IPV6_FREEBIND), so that a
/// standby is ready when the virtual address comes. Not bound yet; its calls do not block.
pub fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The same for a TCP listener.
pub fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // connections of an earlier run may still be in TIME_WAIT
    socket.set_reuse_address(true)?;
    Ok(socket)
}
