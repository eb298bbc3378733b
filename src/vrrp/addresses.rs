//! Which addresses this host has, and when they may have changed: rtnetlink (RFC 3549).

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rustix::io::Errno;
use rustix::net;

use crate::net::words::in_words;

/// The addresses of this host. The kernel's notices only say when to look: what is so is read anew each time, so
/// that a lost notice leaves nothing wrong for longer than until the next one.
pub struct Addresses {
    socket: TokioSocket,
    /// What was read last.
    datagram: Vec<u8>,
    /// Of the last question.
    sequence: u32,
    /// Whether something may have changed since the last look began.
    stale: bool,
}

impl Addresses {
    /// Listens for the kernel's notices. Needs no privilege.
    pub fn open() -> Result<Self, AddressesError> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(AddressesError::Open)?;
        // before the first look, so that nothing falls between
        let notices = SocketAddr::new(0, NOTICES);
        socket.socket_mut().bind(&notices).map_err(AddressesError::Open)?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM), sequence: 0, stale: true })
    }

    /// Reads all addresses that may be used. Not to be abandoned half-way: the kernel answers one such question at a
    /// time. After an error the socket is of no use.
    pub async fn look(&mut self) -> Result<HashSet<IpAddr>, AddressesError> {
        Ok(self.look_at_all().await?.iter().map(|own| own.network.addr()).collect())
    }

    async fn look_at_all(&mut self) -> Result<HashSet<Own>, AddressesError> {
        let look = tokio::time::timeout(PATIENCE, self.ask_until_sure());
        look.await.map_err(|_| AddressesError::Silent)?
    }

    /// Returns when it is time to look again. May be abandoned.
    pub async fn changed(&mut self) -> Result<(), AddressesError> {
        while !self.stale {
            self.receive().await?;
        }
        Ok(())
    }

    async fn ask_until_sure(&mut self) -> Result<HashSet<Own>, AddressesError> {
        let mut seen = HashSet::new();
        for _ in 0..ATTEMPTS {
            let (addresses, is_interrupted) = self.ask().await?;
            if !is_interrupted {
                return Ok(addresses);
            }
            // it may lack an address that has been there all the time
            seen.extend(addresses);
        }
        self.stale = true;
        Ok(seen)
    }

    /// The addresses, and whether they have changed while the kernel told them.
    async fn ask(&mut self) -> Result<(HashSet<Own>, bool), AddressesError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.stale = false;
        let question = question(self.sequence);
        self.socket.send_to(&question, &SocketAddr::new(0, 0)).await.map_err(AddressesError::Failed)?;
        let (mut addresses, mut is_interrupted) = (HashSet::new(), false);
        loop {
            self.receive().await?;
            let part = read(&self.datagram, self.sequence, &mut addresses)?;
            is_interrupted |= part.is_interrupted;
            if part.is_last {
                return Ok((addresses, is_interrupted));
            }
        }
    }

    /// Takes one datagram. One that is no answer is a notice, and leaves nothing to be read.
    async fn receive(&mut self) -> Result<(), AddressesError> {
        self.datagram.clear();
        match self.socket.recv_from(&mut self.datagram).await {
            Ok(sender) if sender.port_number() == 0 && sender.multicast_groups() == 0 => Ok(()),
            Ok(sender) => {
                self.datagram.clear();
                self.stale |= sender.port_number() == 0;
                Ok(())
            }
            // there were more notices than the socket could hold, and the kernel has dropped the others
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                self.stale = true;
                Ok(())
            }
            Err(error) => Err(AddressesError::Failed(error)),
        }
    }
}

/// The addresses that each of these interfaces has, in their order; an interface that is not there is left out.
pub async fn own_addresses(interfaces: &[&str]) -> Result<BTreeMap<String, Vec<IpNet>>, AddressesError> {
    let all = Addresses::open()?.look_at_all().await?;
    // any socket does
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::DGRAM, None);
    let socket = socket.map_err(|error| AddressesError::Open(error.into()))?;
    let of_one = |name: &&str| {
        let index = net::netdevice::name_to_index(&socket, name).ok()?;
        let mut own: Vec<_> =
            all.iter().filter(|own| own.interface == index).map(|own| own.network).collect();
        own.sort();
        Some(((*name).to_owned(), own))
    };
    Ok(interfaces.iter().filter_map(of_one).collect())
}

/// Why the addresses of this host are not known.
#[derive(Debug, thiserror::Error)]
pub enum AddressesError {
    /// There is no socket for it.
    #[error("the kernel cannot be asked (netlink): {}; where a sandbox forbids it, allow AF_NETLINK", in_words(.0))]
    Open(#[source] io::Error),
    /// The socket does not work.
    #[error("the kernel cannot be asked (netlink): {}", in_words(.0))]
    Failed(#[source] io::Error),
    /// The kernel refuses.
    #[error("the kernel does not tell: {}", in_words(.0))]
    Refused(#[source] io::Error),
    /// The kernel has said something else.
    #[error("what the kernel tells is not understood: {0}")]
    Malformed(#[from] DecodeError),
    /// The kernel says nothing.
    #[error("the kernel does not answer")]
    Silent,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Own {
    /// The number of the interface that has it.
    interface: u32,
    /// The address, with the length of its network's prefix.
    network: IpNet,
}

/// What a datagram was of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    /// Nothing comes after it.
    is_last: bool,
    /// Something has changed while the kernel was telling.
    is_interrupted: bool,
}

/// For the addresses of all families.
fn question(sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(ask));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Reads what a datagram holds of the answer to that question, which is several messages as a rule.
fn read(mut datagram: &[u8], sequence: u32, addresses: &mut HashSet<Own>) -> Result<Part, AddressesError> {
    let mut part = Part::default();
    while !part.is_last && !datagram.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)?;
        let NetlinkHeader { length, flags, sequence_number, .. } = message.header;
        // each begins at a multiple of four
        let next = usize::try_from(length).ok().and_then(|length| length.checked_next_multiple_of(4));
        datagram = next.and_then(|next| datagram.get(next..)).unwrap_or_default();
        if sequence_number != sequence {
            continue;
        }
        part.is_interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                addresses.extend(usable(&address));
            }
            NetlinkPayload::Done(done) if done.code < 0 => {
                let error = io::Error::from_raw_os_error(done.code.saturating_neg());
                return Err(AddressesError::Refused(error));
            }
            NetlinkPayload::Done(_) => part.is_last = true,
            NetlinkPayload::Error(error) => return Err(AddressesError::Refused(error.to_io())),
            _ => {}
        }
    }
    Ok(part)
}

/// The address of this host, unless it may turn out to be somebody else's (duplicate address detection, RFC 4862 §5.4).
fn usable(message: &AddressMessage) -> Option<Own> {
    let doubtful = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    if message.header.flags.intersects(doubtful) {
        return None;
    }
    let own = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    // where both are told, this one is the other end of the link
    let address = own.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let network = IpNet::new(address, message.header.prefix_len).ok()?;
    Some(Own { interface: message.header.index, network })
}

/// Notices of IPv4 and of IPv6 addresses: RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
const NOTICES: u32 = 0x10 | 0x100;

/// No datagram of the kernel is longer: 32 KiB since Linux 4.9.
const DATAGRAM: usize = 64 * 1024;

/// So many answers during which something has changed are not to be relied on; what was in any of them is taken then.
const ATTEMPTS: usize = 8;

/// The kernel answers while it is asked; it needs longer only where the whole host stands still.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// A message: its type, its flags, the question that it answers, and what it says.
    fn message(kind: u16, flags: u16, sequence: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + content.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        // who had asked
        bytes.extend(4711_u32.to_ne_bytes());
        bytes.extend(content);
        bytes
    }

    /// RTM_NEWADDR: family, prefix length, flags, scope, the third interface, and attributes.
    fn address(family: u8, prefix: u8, flags: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut content = vec![family, prefix, flags, 0];
        content.extend(3_u32.to_ne_bytes());
        for (kind, value) in attributes {
            content.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            content.extend(kind.to_ne_bytes());
            content.extend(*value);
        }
        message(NEW_ADDRESS, MULTI, 7, &content)
    }

    fn read_all(datagram: &[u8]) -> (Result<Part, AddressesError>, Vec<String>) {
        let mut addresses = HashSet::new();
        let part = read(datagram, 7, &mut addresses);
        let mut addresses: Vec<_> = addresses.iter().map(|own| own.network.to_string()).collect();
        addresses.sort();
        (part, addresses)
    }

    fn six(last: u8) -> [u8; 16] {
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
    }

    const NEW_ADDRESS: u16 = 20;
    const MULTI: u16 = 2;
    /// IFA_ADDRESS, IFA_LOCAL.
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    /// AF_INET, AF_INET6.
    const INET: u8 = 2;
    const INET6: u8 = 10;
    /// IFA_F_*.
    const DADFAILED: u8 = 0x08;
    const DEPRECATED: u8 = 0x20;
    const TENTATIVE: u8 = 0x40;
    const PERMANENT: u8 = 0x80;

    fn several() -> Vec<u8> {
        [
            address(INET, 24, PERMANENT, &[(ADDRESS, &[10, 0, 0, 1]), (LOCAL, &[10, 0, 0, 1])]),
            // the other end of a link is not this host
            address(INET, 32, PERMANENT, &[(ADDRESS, &[10, 0, 0, 9]), (LOCAL, &[10, 0, 0, 2])]),
            address(INET6, 64, PERMANENT, &[(ADDRESS, &six(1))]),
            address(INET6, 64, PERMANENT, &[(ADDRESS, &six(9)), (LOCAL, &six(2))]),
            // keepalived gives its IPv6 addresses no preferred lifetime
            address(INET6, 128, PERMANENT | DEPRECATED, &[(ADDRESS, &six(3))]),
        ]
        .concat()
    }

    #[test]
    fn the_hosts_own_addresses_are_read() {
        let (part, addresses) = read_all(&several());
        assert_eq!(part.unwrap(), Part::default());
        let mut interfaces = HashSet::new();
        read(&several(), 7, &mut interfaces).unwrap();
        assert!(interfaces.iter().all(|own| own.interface == 3));
        assert_eq!(
            addresses,
            ["10.0.0.1/24", "10.0.0.2/32", "2001:db8::1/64", "2001:db8::2/64", "2001:db8::3/128"]
        );
        let done = message(3, MULTI, 7, &0_i32.to_ne_bytes());
        let (part, addresses) = read_all(&done);
        assert!(part.unwrap().is_last && addresses.is_empty());
    }

    #[test]
    fn an_address_that_may_be_somebody_elses_is_not_ours() {
        for flags in [TENTATIVE, TENTATIVE | DADFAILED, DADFAILED | PERMANENT] {
            let datagram = address(INET6, 64, flags, &[(ADDRESS, &six(1))]);
            assert_eq!(read_all(&datagram).1, [""; 0], "with the flags {flags:#x}");
        }
    }

    #[test]
    fn the_answer_to_another_question_is_left_alone() {
        let done = message(3, MULTI, 6, &0_i32.to_ne_bytes());
        let mut datagram = [done, several()].concat();
        assert_eq!(read_all(&datagram).1.len(), 5);
        // the question that the second message answers
        datagram[20 + 8] = 6;
        assert_eq!(read_all(&datagram).1.len(), 4);
    }

    #[test]
    fn a_change_while_the_kernel_tells_is_seen() {
        let interrupted = message(3, MULTI | NLM_F_DUMP_INTR, 7, &0_i32.to_ne_bytes());
        let (part, _) = read_all(&interrupted);
        assert_eq!(part.unwrap(), Part { is_last: true, is_interrupted: true });
    }

    #[test]
    fn a_refusal_is_an_error() {
        // EPERM, and the question's head
        let refusal = message(2, 0, 7, &[&(-1_i32).to_ne_bytes()[..], &[0; 16]].concat());
        let error = read_all(&refusal).0.unwrap_err();
        assert_eq!(error.to_string(), "the kernel does not tell: operation not permitted");
    }

    #[test]
    fn an_answer_that_the_kernel_gives_up_is_not_a_whole_one() {
        // EMSGSIZE
        let given_up = message(3, MULTI, 7, &(-90_i32).to_ne_bytes());
        let (part, _) = read_all(&[several(), given_up].concat());
        assert_eq!(part.unwrap_err().to_string(), "the kernel does not tell: message too long");
    }

    #[test]
    fn a_datagram_that_was_cut_is_an_error_or_a_part_of_it() {
        let whole = several();
        let all = read_all(&whole).1;
        for length in 0..whole.len() {
            let (_, addresses) = read_all(&whole[..length]);
            assert!(addresses.iter().all(|address| all.contains(address)), "cut at {length}");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[place] = value;
                let _ = read_all(&changed);
            }
        }
    }

    #[test]
    fn the_question_is_for_all_addresses() {
        // RTM_GETADDR; NLM_F_REQUEST, NLM_F_DUMP; for the kernel's own port; any family
        let expected = message(22, 0x301, 7, &[0; 8]);
        let mut question = question(7);
        question[12..16].copy_from_slice(&4711_u32.to_ne_bytes());
        assert_eq!(question, expected);
    }
}
