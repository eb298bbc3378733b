"""What the probes of UDP servers share (dve_probe.py, ike_probe.py): sockets, and what comes of a question."""

import ipaddress
import socket
import struct

IP_PKTINFO = 8


def connected(address, port):
    """A socket that hears that address and port alone."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, port))
    return sock


def ask(sock, asked):
    """What a connected socket hears when this is asked, and nothing; or nothing, and why: silent or unreachable."""
    sock.settimeout(2)
    try:
        sock.send(asked)
        return sock.recv(65535), None
    except socket.timeout:
        return None, "silent"
    except ConnectionRefusedError:
        return None, "unreachable"


def everywhere(network):
    """A socket that hears all of an IPv4 network, how to send from anywhere in it (datagram, number of the address, to
    whom), and how many addresses there are."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("0.0.0.0", 0))
    sock.setblocking(False)
    network = ipaddress.ip_network(network)

    def send(datagram, place, to):
        source = (network.network_address + place % network.num_addresses).packed
        # sent from that address (ipi_spec_dst), by whatever interface
        ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("i4s4s", 0, source, bytes(4)))]
        sock.sendmsg([datagram], ancillary, 0, to)

    return sock, send, network.num_addresses


def heard(sock):
    """All that waits."""
    while True:
        try:
            yield sock.recv(65535)
        except BlockingIOError:
            return
