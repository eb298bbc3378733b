#!/usr/bin/env python3
"""Clients with bad manners, for survival.sh. Each command prints what happened, one line a fact.

  hold ADDRESS COUNT             opens COUNT TCP connections, says nothing, prints `held N`, and lets go
                                 at end of standard input
  slow ADDRESS KIND SECONDS      one slow client: KIND is idle (not a byte), hello (the first half of a
                                 ClientHello, then silence), drip (the ClientHello byte by byte), silent (a TLS
                                 session, not a byte in it), header (a request head byte by byte); prints the
                                 seconds until the server has closed, or `open` after SECONDS
  post ADDRESS KIND              a POST with a body that nobody needs; KIND is small, large (with the head), or
                                 late (after the answer); prints the status, Location and how it ended
ADDRESS is host:port.
"""

import select
import socket
import ssl
import sys
import time


def connect(address):
    """A TCP connection."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def tls(raw):
    """A TLS session in it; whom it is with does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(raw, server_hostname="vpn.lab")


def client_hello():
    """A real ClientHello, as bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    out = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="vpn.lab")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def hold(address, count):
    """See above."""
    kept = []
    for _ in range(int(count)):
        try:
            kept.append(connect(address))
        except OSError:
            break
    print("held", len(kept), flush=True)
    sys.stdin.read()
    for connection in kept:
        connection.close()
    print("let go", flush=True)


def is_closed(stream, seconds):
    """Whether the server closes within that time; what it sends is read and dropped."""
    pending = getattr(stream, "pending", lambda: 0)
    if not pending() and not select.select([stream], [], [], seconds)[0]:
        return False
    try:
        return stream.recv(65536) == b""
    except (ssl.SSLWantReadError, BlockingIOError, TimeoutError):
        return False
    except OSError:
        return True


def slow(address, kind, seconds):
    """See above. A byte every 100 ms: fast enough for any timer that each byte starts anew."""
    stream = connect(address)
    begun = time.monotonic()
    data = b""
    if kind == "hello":
        hello = client_hello()
        stream.sendall(hello[: len(hello) // 2])
    elif kind == "drip":
        data = client_hello()
    elif kind in ("silent", "header"):
        stream = tls(stream)
        begun = time.monotonic()
        if kind == "header":
            data = b"GET / HTTP/1.1\r\nHost: vpn.lab\r\nX-Long: " + b"a" * 10000
    stream.settimeout(0.5)
    end = begun + float(seconds)
    while time.monotonic() < end:
        if data:
            try:
                stream.sendall(data[:1])
            except OSError:
                break
            data = data[1:]
        if is_closed(stream, 0.1):
            break
    else:
        print("open")
        return
    print("%.2f" % (time.monotonic() - begun))


def post(address, kind):
    """See above. It closes without a TLS alert, so that nothing of its own meets a closed socket."""
    stream = tls(connect(address))
    size = {"small": 300, "large": 65536, "late": 65536}[kind]
    head = f"POST / HTTP/1.1\r\nHost: vpn.lab\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    stream.sendall(head.encode())
    if kind == "late":
        time.sleep(0.3)
    try:
        stream.sendall(b"x" * size)
        end = "body sent"
    except OSError as error:
        end = f"body not taken: {error}"
    answer = b""
    try:
        while data := stream.recv(65536):
            answer += data
        end += ", clean end"
    except OSError as error:
        end += f", broken: {error}"
    lines = answer.decode("latin-1").split("\r\n")
    location = [line.split(": ", 1)[1] for line in lines if line.lower().startswith("location: ")]
    print(lines[0].split(" ")[1] if " " in lines[0] else "none", *location, end, flush=True)


{"hold": hold, "slow": slow, "post": post}[sys.argv[1]](*sys.argv[2:])
