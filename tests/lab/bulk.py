#!/usr/bin/env python3
"""Bulk data both ways at the same time, for proxy_load.sh. What goes is drawn from a seed and differs all the way;
what comes is hashed (SHA-256) and counted.

  serve ADDRESS [CERTIFICATE KEY]        answers connections until it is ended. One that begins with an HTTP request
                                         gets 101 for Upgrade and 200 for CONNECT first; then the first line is
                                         `SEND RECEIVE`: so many bytes go to the client while so many come from it;
                                         at last it says what has come: `COUNT HASH`
  talk ADDRESS KIND SEND RECEIVE [CA NAME]
                                         the other end. KIND is upgrade, connect, or none: what it asks for first,
                                         and with CA it does so in TLS. Prints `SENT RECEIVED SECONDS` and, if all is
                                         well, `right`; else what is not
ADDRESS is ip:port.
"""

import asyncio
import hashlib
import random
import ssl
import sys
import time

PIECE = 1 << 16
SEEDS = {"client": 1, "server": 2}


def pieces(seed, count):
    """Random bytes, in pieces. A megabyte that is turned a little further each time: no two pieces are the same."""
    block = random.Random(seed).randbytes(1 << 20)
    double = block + block
    turn = 0
    while count > 0:
        size = min(count, PIECE)
        yield double[turn : turn + size]
        count -= size
        turn = (turn + PIECE + 4093) % len(block)


def expected(seed, count):
    """The hash of all that."""
    digest = hashlib.sha256()
    for piece in pieces(seed, count):
        digest.update(piece)
    return digest.hexdigest()


async def send(writer, seed, count):
    """Sends it, no faster than it is taken."""
    for piece in pieces(seed, count):
        writer.write(piece)
        await writer.drain()


async def receive(reader, count):
    """Takes so many bytes; how many there really were, and their hash."""
    digest, seen = hashlib.sha256(), 0
    while seen < count:
        data = await reader.read(min(PIECE * 4, count - seen))
        if not data:
            break
        digest.update(data)
        seen += len(data)
    return seen, digest.hexdigest()


async def read_head(reader):
    """The lines of an HTTP head."""
    lines = []
    while line := (await reader.readline()).rstrip(b"\r\n"):
        lines.append(line)
    return lines


async def answer(reader, writer):
    """One connection. Who says nothing has only looked whether somebody is there."""
    first = await reader.readline()
    if b"HTTP/1." in first:
        fields = await read_head(reader)
        if first.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        elif any(field.lower().startswith(b"upgrade:") for field in fields):
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bulk\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        first = await reader.readline()
    if not first:
        return
    to_send, to_receive = map(int, first.split())
    (seen, digest), _ = await asyncio.gather(receive(reader, to_receive), send(writer, SEEDS["server"], to_send))
    writer.write(f"{seen} {digest}\n".encode())
    await writer.drain()
    # the client's end, before ours
    await reader.read(1)


async def serve(address, certificate=None, key=None):
    """See above."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

    async def one(reader, writer):
        try:
            await answer(reader, writer)
        except (OSError, ValueError) as error:
            print("broken:", error, flush=True)
        finally:
            writer.close()

    host, port = address.rsplit(":", 1)
    server = await asyncio.start_server(one, host, int(port), ssl=context)
    print("ready", flush=True)
    await server.serve_forever()


HEADS = {
    "none": b"",
    "upgrade": b"GET /bulk HTTP/1.1\r\nHost: vpn.lab\r\nConnection: Upgrade\r\nUpgrade: bulk\r\n\r\n",
    "connect": b"CONNECT /bulk HTTP/1.1\r\nHost: vpn.lab\r\n\r\n",
}


async def talk(address, kind, to_send, to_receive, authority=None, name=None):
    """See above."""
    to_send, to_receive = int(to_send), int(to_receive)
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=authority) if authority else None
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    writer.write(HEADS[kind])
    if kind != "none":
        status = (await read_head(reader))[0].split(b" ")[1]
        if status not in (b"101", b"200"):
            sys.exit(f"the answer is {status.decode()}")
    begun = time.monotonic()
    writer.write(f"{to_receive} {to_send}\n".encode())
    (seen, digest), _ = await asyncio.gather(receive(reader, to_receive), send(writer, SEEDS["client"], to_send))
    theirs = (await reader.readline()).decode().split()
    print(to_send, seen, "%.2f" % (time.monotonic() - begun), flush=True)
    writer.close()
    wrong = []
    if [seen, digest] != [to_receive, expected(SEEDS["server"], to_receive)]:
        wrong.append(f"{seen} of {to_receive} bytes have come, or others")
    if theirs != [str(to_send), expected(SEEDS["client"], to_send)]:
        wrong.append(f"{theirs[:1]} of {to_send} bytes have arrived there, or others")
    print("; ".join(wrong) or "right", flush=True)
    sys.exit(1 if wrong else 0)


asyncio.run({"serve": serve, "talk": talk}[sys.argv[1]](*sys.argv[2:]))
