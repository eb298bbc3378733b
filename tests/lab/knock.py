#!/usr/bin/env python3
"""Knocks at doors, for the tests of the fence. Each command prints one line a fact, times in seconds.

  once ADDRESS...          one attempt at each ADDRESS, all at once: `RESULT SECONDS` a line
  watch EVERY ADDRESS...   the same again and again until ended: a line a round, `UPTIME RESULT SECONDS ...`,
                           with the clock of /proc/uptime when the round began
  hold ADDRESS             one connection to an echo, used every 50 ms until ended: `UPTIME alive` when it is
                           there, `UPTIME dead REASON` when it no longer works
  echo PORT...             an echo on these TCP and UDP ports, IPv4 and IPv6
  deaf PORT                takes TCP connections there and closes them at once

--from A,B,... before the command: the attempts leave from these addresses by turns, in any order, as from so many
clients: the kernel sends no more than about one ICMP error a second to each.

ADDRESS is tcp/host:port or udp/host:port (IPv6 in brackets). RESULT is open, refused, silent (nothing within
the limit: 1 s for TCP, 0.3 s for UDP) or another error in one word; a UDP port that takes a datagram and
says nothing is silent.
"""

import asyncio
import errno
import itertools
import random
import select
import socket
import sys
import time

LIMITS = {"tcp": 1.0, "udp": 0.3}
REFUSED = {errno.ECONNREFUSED, errno.ECONNRESET}


def uptime():
    """The clock of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def parse(address):
    """protocol, host and port."""
    protocol, rest = address.split("/", 1)
    host, port = rest.rsplit(":", 1)
    return protocol, host.strip("[]"), int(port)


def word(error):
    """An error number as a result."""
    if error == 0:
        return "open"
    return "refused" if error in REFUSED else errno.errorcode.get(error, str(error)).lower()


class Attempt:
    """One attempt, under way."""

    def __init__(self, address, source):
        self.protocol, host, port = parse(address)
        self.result = None
        self.begun = time.monotonic()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM
        self.socket = socket.socket(family, kind)
        self.socket.setblocking(False)
        try:
            if source:
                self.socket.bind((source, 0))
            error = self.socket.connect_ex((host, port))
            if self.protocol == "udp":
                self.socket.send(b"knock")
            elif error != errno.EINPROGRESS:
                self.ends(word(error))
        except OSError as error:
            self.ends(word(error.errno))

    def ends(self, result):
        """With that result."""
        self.result, self.seconds = result, time.monotonic() - self.begun
        self.socket.close()

    def left(self):
        """Until it is given up."""
        return self.begun + LIMITS[self.protocol] - time.monotonic()

    def step(self):
        """Something has happened, or the time is up."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ready = select.select([self.socket] if self.protocol == "udp" else [], [self.socket], [], 0)
        if error:
            self.ends(word(error))
        elif self.protocol == "udp" and ready[0]:
            self.ends("open")
        elif self.protocol == "tcp" and ready[1]:
            self.ends("open")
        elif self.left() <= 0:
            self.ends("silent")


def knock(addresses, sources):
    """All at once; the attempts, ended."""
    attempts = [Attempt(address, next(sources[":" in parse(address)[1]])) for address in addresses]
    while pending := [attempt for attempt in attempts if attempt.result is None]:
        poll = select.poll()
        for attempt in pending:
            poll.register(attempt.socket, select.POLLIN if attempt.protocol == "udp" else select.POLLOUT)
        # An ICMP error that comes while connect() still holds the socket, as it may where both hosts are on one
        # machine, is kept for SO_ERROR and wakes nobody.
        poll.poll(5)
        for attempt in pending:
            attempt.step()
    return attempts


def once(sources, *addresses):
    """See above."""
    for attempt in knock(addresses, sources):
        print(f"{attempt.result} {attempt.seconds:.3f}")


def watch(sources, every, *addresses):
    """See above."""
    due = time.monotonic()
    while True:
        begun = uptime()
        ended = " ".join(f"{a.result} {a.seconds:.3f}" for a in knock(addresses, sources))
        print(f"{begun:.3f} {ended}", flush=True)
        due = max(due + float(every), time.monotonic())
        time.sleep(max(0, due - time.monotonic()))


def hold(sources, address):
    """See above."""
    protocol, host, port = parse(address)
    assert protocol == "tcp"
    connection = socket.create_connection((host, port), 2, (next(sources[":" in host]) or "", 0))
    connection.settimeout(2)
    alive = False
    while True:
        try:
            connection.sendall(b"x")
            reason = None if connection.recv(1) else "closed"
        except OSError as error:
            reason = word(error.errno) if error.errno else "silent"
        if reason:
            print(f"{uptime():.3f} dead {reason}", flush=True)
            return
        if not alive:
            print(f"{uptime():.3f} alive", flush=True)
            alive = True
        time.sleep(0.05)


class UdpEcho(asyncio.DatagramProtocol):
    """Answers each datagram with itself."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def echo_connection(reader, writer):
    """Until the other side closes."""
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def serve(ports, connection, with_udp):
    """Until ended."""
    loop = asyncio.get_running_loop()
    for port in ports:
        await asyncio.start_server(connection, ["0.0.0.0", "::"], port, backlog=1000)
        if with_udp:
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                bound = socket.socket(family, socket.SOCK_DGRAM)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound.bind((host, port))
                await loop.create_datagram_endpoint(UdpEcho, sock=bound)
    await asyncio.Event().wait()


async def close_at_once(_, writer):
    """What a service does that has lost its senses."""
    writer.close()


def main(arguments):
    """See above."""
    sources = [[None], [None]]
    if arguments[0] == "--from":
        given = arguments[1].split(",")
        random.shuffle(given)
        sources = [[a for a in given if (":" in a) == six] or [None] for six in (False, True)]
        arguments = arguments[2:]
    sources = [itertools.cycle(family) for family in sources]
    command, *rest = arguments
    if command == "echo":
        asyncio.run(serve(map(int, rest), echo_connection, True))
    elif command == "deaf":
        asyncio.run(serve(map(int, rest), close_at_once, False))
    else:
        {"once": once, "watch": watch, "hold": hold}[command](sources, *rest)


try:
    main(sys.argv[1:])
except KeyboardInterrupt:
    pass
