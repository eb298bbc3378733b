#!/usr/bin/env python3
"""Begins IKEv2 exchanges that it never goes on with, for the tests of the redirect (RFC 7296, RFC 5685).

  ask ADDRESS PORT        one IKE_SA_INIT over a socket that is connected there, so that only answers from that
                          very address count: `RESULT BYTES ANSWER-BYTES`, where RESULT is redirect:WHERE, cookie,
                          refused (NO_PROPOSAL_CHOSEN), silent, or unreachable
  shapes ADDRESS PORT     IKE_SA_INITs of many shapes, whole, cut and spoilt: `QUESTIONS ANSWERS LONGER`, LONGER being the
                          number of answers that have more bytes than their question
  flood SECONDS RATE NETWORK ADDRESS PORT
                          RATE a second from all over NETWORK (an IPv4 one, routed here), for so long or until it is told
                          to end: `QUESTIONS BYTES ANSWERS ANSWER-BYTES LONGER COOKIES REDIRECTS REFUSALS`

Options before the command: --marker: the four zero bytes of RFC 3948 §2.2 come first, and are wanted in answers;
--plain: does not announce REDIRECT_SUPPORTED; --redirected-from A: announces REDIRECTED_FROM; --cookie: sends a
cookie back and gives the result after it.
"""

import argparse
import collections
import ipaddress
import os
import random
import select
import signal
import struct
import sys
import time

import datagrams
from datagrams import connected, everywhere, heard

SA, KE, NONCE, NOTIFY = 33, 34, 40, 41
NO_PROPOSAL_CHOSEN, NAT_SOURCE, NAT_DESTINATION, COOKIE = 14, 16388, 16389, 16390
REDIRECT_SUPPORTED, REDIRECT, REDIRECTED_FROM = 16406, 16407, 16408
MARKER = bytes(4)

# ENCR_AES_CBC 128, PRF_HMAC_SHA2_256, AUTH_HMAC_SHA2_256_128, curve25519: one proposal (RFC 7296 §3.3)
TRANSFORMS = [(1, 12, struct.pack("!HH", 0x800E, 128)), (2, 5, b""), (3, 12, b""), (4, 31, b"")]


def proposal():
    """The body of the SA payload."""
    body = b""
    for place, (kind, number, attributes) in enumerate(TRANSFORMS):
        more = 3 if place + 1 < len(TRANSFORMS) else 0
        body += struct.pack("!BBHBBH", more, 0, 8 + len(attributes), kind, 0, number) + attributes
    return struct.pack("!BBHBBBB", 0, 0, 8 + len(body), 1, 1, 0, len(TRANSFORMS)) + body


def notify(kind, data=b""):
    """A notification as a payload of its kind and body."""
    return NOTIFY, struct.pack("!BBH", 0, 0, kind) + data


def message(spi, payloads):
    """A request of a whole IKE_SA_INIT."""
    chain = b""
    kinds = [kind for kind, _ in payloads] + [0]
    for (_, body), following in zip(payloads, kinds[1:]):
        chain += struct.pack("!BBH", following, 0, 4 + len(body)) + body
    return spi + bytes(8) + struct.pack("!BBBBII", kinds[0], 0x20, 34, 0x08, 0, 28 + len(chain)) + chain


def question(options, cookie=None, nonce_bytes=32, nonce=None, spi=None):
    """A request as VPN clients send it, with what was asked for."""
    payloads = [] if cookie is None else [notify(COOKIE, cookie)]
    payloads += [
        (SA, proposal()),
        (KE, struct.pack("!HH", 31, 0) + os.urandom(32)),
        (NONCE, nonce or os.urandom(nonce_bytes)),
        notify(NAT_SOURCE, os.urandom(20)),
        notify(NAT_DESTINATION, os.urandom(20)),
    ]
    if options.redirected_from:
        where = ipaddress.ip_address(options.redirected_from)
        payloads.append(notify(REDIRECTED_FROM, struct.pack("!BB", 1 if where.version == 4 else 2, len(where.packed)) + where.packed))
    elif not options.plain:
        payloads.append(notify(REDIRECT_SUPPORTED))
    return (MARKER if options.marker else b"") + message(spi or os.urandom(8), payloads)


def read(answer, options, asked):
    """The result that an answer gives, and the cookie in it; fails on what RFC 7296 does not allow."""
    if options.marker:
        assert answer[:4] == MARKER, "an answer without the marker that the question had"
        answer, asked = answer[4:], asked[4:]
    spi, spi_r, kind, version, exchange, flags, number, length = struct.unpack("!8s8sBBBBII", answer[:28])
    assert (spi, version, exchange, flags, number) == (asked[:8], 0x20, 34, 0x20, 0), "not an answer to this question"
    assert length == len(answer), "a wrong length"
    result, cookie, at = "nothing", None, 28
    while kind:
        following, _, size = struct.unpack("!BBH", answer[at : at + 4])
        body = answer[at + 4 : at + size]
        assert size >= 4 and len(body) == size - 4, "a payload that does not fit"
        if kind == NOTIFY:
            what, data = struct.unpack("!H", body[2:4])[0], body[4:]
            if what == REDIRECT:
                where, long = data[0], data[1]
                host = data[2 : 2 + long]
                assert data[2 + long :] in asked, "a nonce that is not the question's"
                assert len(data[2 + long :]) >= 16, "no nonce"
                result = "redirect:" + (host.decode() if where == 3 else str(ipaddress.ip_address(host)))
            elif what == COOKIE:
                result, cookie = "cookie", data
            elif what == NO_PROPOSAL_CHOSEN:
                result = "refused"
        kind, at = following, at + size
    return result, cookie


def ask(options):
    """One question."""
    sock = connected(options.address, options.port)
    nonce, spi, cookie = os.urandom(32), os.urandom(8), None
    for _ in range(2):
        asked = question(options, cookie, nonce=nonce, spi=spi)
        answer, nothing = datagrams.ask(sock, asked)
        if nothing:
            return print(nothing, len(asked), 0)
        result, cookie = read(answer, options, asked)
        if result != "cookie" or not options.cookie:
            break
    print(result, len(asked), len(answer))


def key(datagram, options):
    """What ties an answer to its question."""
    return datagram[4:12] if options.marker else datagram[:8]


def shapes(options):
    """Whatever comes back is not longer than what was sent."""
    sock = connected(options.address, options.port)
    sock.setblocking(False)
    questions = []
    for size in [16, 17, 31, 32, 33, 64, 128, 255, 256]:
        questions.append(question(options, nonce_bytes=size))
        # as short as one can be that may be redirected
        short = message(os.urandom(8), [(NONCE, os.urandom(size)), notify(REDIRECT_SUPPORTED)])
        questions.append((MARKER if options.marker else b"") + short)
        short = message(os.urandom(8), [(NONCE, os.urandom(size))])
        questions.append((MARKER if options.marker else b"") + short)
    whole = questions[0]
    begin = 4 if options.marker else 0
    for length in range(begin + 8, len(whole)):
        cut = bytearray(whole[:length])
        cut[begin : begin + 8] = os.urandom(8)
        questions.append(bytes(cut))
        # the same, and the header says so: cut in the middle of a payload
        if length >= begin + 28:
            cut[begin : begin + 8] = os.urandom(8)
            cut[begin + 24 : begin + 28] = struct.pack("!I", length - begin)
            questions.append(bytes(cut))
    for place in range(begin + 16, len(whole)):
        spoilt = bytearray(whole)
        spoilt[begin : begin + 8] = os.urandom(8)
        spoilt[place] ^= random.randrange(1, 256)
        questions.append(bytes(spoilt))
    sent = {key(asked, options): len(asked) for asked in questions}
    answers = longer = 0
    for asked in questions:
        sock.send(asked)
        # not faster than they are answered
        while select.select([sock], [], [], 0.002)[0]:
            answer = sock.recv(65535)
            answers += 1
            longer += len(answer) > sent[key(answer, options)]
    while select.select([sock], [], [], 0.5)[0]:
        answer = sock.recv(65535)
        answers += 1
        longer += len(answer) > sent[key(answer, options)]
    print(len(questions), answers, longer)


def flood(options):
    """Many questions from many sources."""
    sock, send, addresses = everywhere(options.network)
    template = bytearray(question(options))
    begin = 4 if options.marker else 0
    sent, questions, asked_bytes = {}, 0, 0
    count = collections.Counter()
    answer_bytes = longer = 0

    def hear():
        nonlocal answer_bytes, longer
        for answer in heard(sock):
            asked = sent.get(key(answer, options))
            assert asked is not None, "an answer to nothing"
            longer += len(answer) > asked
            answer_bytes += len(answer)
            bare = answer[begin:]
            count[struct.unpack("!H", bare[34:36])[0]] += 1

    told_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.append(True))
    begun = time.monotonic()
    while (gone := time.monotonic() - begun) < options.seconds and not told_to_end:
        while questions < gone * options.rate:
            spi = os.urandom(8)
            template[begin : begin + 8] = spi
            send(bytes(template), random.randrange(1, addresses - 1), (options.address, options.port))
            sent[spi] = len(template)
            questions += 1
            asked_bytes += len(template)
        hear()
        time.sleep(0.001)
    time.sleep(0.3)
    hear()
    print(questions, asked_bytes, sum(count.values()), answer_bytes, longer, count[COOKIE], count[REDIRECT], count[NO_PROPOSAL_CHOSEN])


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--marker", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--redirected-from")
    parser.add_argument("--cookie", action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("ask", "shapes", "flood"):
        command = commands.add_parser(name)
        if name == "flood":
            command.add_argument("seconds", type=float)
            command.add_argument("rate", type=float)
            command.add_argument("network")
        command.add_argument("address")
        command.add_argument("port", type=int)
    options = parser.parse_args()
    {"ask": ask, "shapes": shapes, "flood": flood}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
