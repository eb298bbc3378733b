#!/usr/bin/env python3
"""Speaks DVE/1 without checking signatures, for the tests of the responder and its client.

  ask ADDRESS PORT        one request over a socket that is connected there, so that only answers from that very
                          address count: `STATUS BYTES ANSWER-BYTES ENDPOINT...`, STATUS being ok, unavailable, standby,
                          unsupported, malformed, silent or unreachable
  shapes NETWORK ADDRESS PORT
                          requests of every size from 0 to 1500 bytes and of many shapes, from all over NETWORK so that
                          no limit per source meets them: `REQUESTS ANSWERS LONGER WRONG`: answers with more bytes
                          than their request; requests that got no answer and should have, or the other way round
  flood SECONDS RATE NETWORK ADDRESS PORT
                          RATE a second from all over NETWORK, for so long or until it is told to end: `REQUESTS BYTES
                          ANSWERS ANSWER-BYTES LONGER SECONDS`
  between PORT ADDRESS PORT FOREIGN-ADDRESS PORT
                          a man in the middle who answers first: with garbage, with what he has of before, with the true
                          answer cut, changed and grown, and with one that a foreign server has signed; the true one
                          comes last. `REQUEST n` and `FORGED n` on standard output for each request
  late SECONDS PORT ADDRESS PORT
                          one who holds back each answer for so long

NETWORK is an IPv4 one that is routed here. Options before the command: --size N, --accept N, --vpn N, --vrrp-id N.
"""

import argparse
import collections
import ipaddress
import os
import random
import select
import signal
import socket
import struct
import sys
import time

import datagrams
from datagrams import connected, everywhere, heard

STATUS = ["ok", "unavailable", "standby", "unsupported", "malformed"]
SHORTEST, LONGEST, USUAL = 128, 1232, 576
# signature, index, depth, key id; for an answer that is alone in its batch
PROOF = 64 + 1 + 1 + 4
# has room for a Merkle path, and more than one endpoint
ROOMY = 400


def request(options, size=None, nonce=None, magic=b"DVE1", kind=1, vpn=None, accept=None):
    """A request, as long as asked for."""
    vpn = options.vpn if vpn is None else vpn
    accept = options.accept if accept is None else accept
    head = magic + struct.pack("!BBBB", kind, vpn, options.vrrp_id, accept) + (nonce or os.urandom(16))
    size = options.size if size is None else size
    return (head + bytes(size))[:size]


def read(answer):
    """Status word, nonce, and endpoints of an answer."""
    magic, kind, status, _, nonce, _, count = struct.unpack("!4sBBH16sQB", answer[:33])
    assert (magic, kind) == (b"DVE1", 2) and status < len(STATUS) and count <= 3, "not an answer"
    endpoints, at = [], 33
    for _ in range(count):
        form, long, port = struct.unpack("!BBH", answer[at : at + 4])
        host = answer[at + 4 : at + 4 + long]
        assert len(host) == long, "an endpoint that does not fit"
        text = host.decode() if form == 1 else str(ipaddress.ip_address(host))
        endpoints.append("[%s]:%d" % (text, port) if form == 6 else "%s:%d" % (text, port))
        at += 4 + long
    depth = answer[at + 4]
    assert len(answer) == at + PROOF + 32 * depth, "a wrong length"
    return STATUS[status], nonce, endpoints


def ask(options):
    """One request."""
    asked = request(options)
    answer, nothing = datagrams.ask(connected(options.address, options.port), asked)
    if nothing:
        return print(nothing, len(asked), 0)
    status, nonce, endpoints = read(answer)
    assert nonce == asked[8:24], "an answer to another request"
    print(status, len(asked), len(answer), *endpoints)


def shapes(options):
    """Whatever comes back is not longer than what was sent, and comes where it should."""
    sock, send, _ = everywhere(options.network)
    expected = {}  # request -> whether it is to be answered
    for size in range(0, 1501):
        expected[request(options, size)] = SHORTEST <= size <= LONGEST
    for accept in range(0, 256):
        expected[request(options, accept=accept)] = True
    for vpn in range(0, 256):
        expected[request(options, vpn=vpn)] = True
    for kind in (0, 2, 3, 255):
        expected[request(options, kind=kind)] = False
    for magic in (b"DVE0", b"dve1", bytes(4), b"\xff" * 4):
        expected[request(options, magic=magic)] = False
    for _ in range(200):
        expected[os.urandom(random.randrange(0, 1501))] = False
    sent, longer, answered = {asked[8:24]: asked for asked in expected if len(asked) >= 24}, 0, collections.Counter()

    def hear():
        nonlocal longer
        for answer in heard(sock):
            asked = sent[read(answer)[1]]
            answered[asked] += 1
            longer += len(answer) > len(asked)

    for place, asked in enumerate(expected):
        # each from another /24, as long as there are some
        send(asked, place * 256 + 1, (options.address, options.port))
        if SHORTEST <= len(asked) < ROOMY:
            # in a batch its answer may not fit
            select.select([sock], [], [], 0.1 if expected[asked] else 0.005)
        elif place % 20 == 0:
            time.sleep(0.002)
        hear()
    end = time.monotonic() + 0.7
    while (left := end - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
        hear()
    wrong = [asked for asked, want in expected.items() if answered[asked] != want]
    for asked in wrong[:5]:
        print("wrong: %d bytes, %s, %d answers" % (len(asked), asked[:8].hex(), answered[asked]), file=sys.stderr)
    print(len(expected), sum(answered.values()), longer, len(wrong))


def flood(options):
    """Many requests."""
    sock, send, _ = everywhere(options.network)
    requests = request_bytes = answers = answer_bytes = longer = 0
    told_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.append(True))
    begun = time.monotonic()
    while (gone := time.monotonic() - begun) < options.seconds and not told_to_end:
        while requests < gone * options.rate:
            asked = request(options)
            send(asked, random.randrange(1, 1 << 30), (options.address, options.port))
            requests += 1
            request_bytes += len(asked)
        for answer in heard(sock):
            answers += 1
            answer_bytes += len(answer)
            longer += len(answer) > options.size
        time.sleep(0.001)
    time.sleep(0.3)
    for answer in heard(sock):
        answers += 1
        answer_bytes += len(answer)
        longer += len(answer) > options.size
    print(requests, request_bytes, answers, answer_bytes, longer, "%.1f" % gone)


def fetch(address, port, asked):
    """What a server answers; nothing if it does not."""
    sock = connected(address, port)
    sock.settimeout(1)
    try:
        sock.send(asked)
        return sock.recv(65535)
    except OSError:
        return b""


def forgeries(true, foreign, before):
    """What somebody could make of a true answer, of one signed with another key, and of those of before."""
    yield b""
    yield os.urandom(len(true))
    yield from before
    yield from (true[:length] for length in range(1, len(true), 7))
    yield true + b"\0"
    if foreign:
        yield foreign
        # signed with another key, under the name of the true one
        yield foreign[:-PROOF] + true[-PROOF : -PROOF + 4] + foreign[-PROOF + 4 :]
        # what the foreign server says, with the true signature
        yield foreign[:-PROOF] + true[-PROOF:]
    for place in range(4, len(true)):
        changed = bytearray(true)
        changed[place] ^= 1 << random.randrange(8)
        yield bytes(changed)


def between(options):
    """The man in the middle."""
    sock = listening(options.listen)
    before = collections.deque(maxlen=3)
    requests = 0
    while True:
        asked, client = sock.recvfrom(65535)
        requests += 1
        true = fetch(options.address, options.port, asked)
        foreign = fetch(options.foreign_address, options.foreign_port, asked)
        forged = 0
        if true:
            for forgery in forgeries(true, foreign, list(before)):
                sock.sendto(forgery, client)
                forged += 1
            # the true one must not be lost because the others have filled the client's queue
            time.sleep(0.05)
            sock.sendto(true, client)
            before.append(true)
        print("REQUEST %d FORGED %d FOREIGN %d" % (requests, forged, len(foreign)), flush=True)


def late(options):
    """The slow one."""
    sock = listening(options.listen)
    waiting = []
    while True:
        timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([sock], [], [], timeout)[0]:
            asked, client = sock.recvfrom(65535)
            print("REQUEST", flush=True)
            answer = fetch(options.address, options.port, asked)
            waiting.append((time.monotonic() + options.seconds, answer, client))
        while waiting and waiting[0][0] <= time.monotonic():
            _, answer, client = waiting.pop(0)
            sock.sendto(answer, client)


def listening(port):
    """A socket for whoever asks."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    return sock


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=USUAL)
    parser.add_argument("--accept", type=int, default=7)
    parser.add_argument("--vpn", type=int, default=1)
    parser.add_argument("--vrrp-id", type=int, default=0)
    commands = parser.add_subparsers(dest="command", required=True)
    own = {
        "ask": [],
        "shapes": [("network", str)],
        "flood": [("seconds", float), ("rate", float), ("network", str)],
        "between": [("listen", int)],
        "late": [("seconds", float), ("listen", int)],
    }
    for name, arguments in own.items():
        command = commands.add_parser(name)
        for argument, kind in arguments + [("address", str), ("port", int)]:
            command.add_argument(argument, type=kind)
        if name == "between":
            command.add_argument("foreign_address")
            command.add_argument("foreign_port", type=int)
    options = parser.parse_args()
    {"ask": ask, "shapes": shapes, "flood": flood, "between": between, "late": late}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
