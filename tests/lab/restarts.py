"""People who come to a front door all the time, while it is started anew; see systemd.sh.

    restarts.py HTTP-ADDRESS:PORT DVE-ADDRESS:PORT STOP-FILE

Each connects, asks and reads to the end, again and again, until STOP-FILE is there. Prints how many were answered, how
many were not (each with the reason on standard error), and the longest that anyone has waited, in seconds.
"""

import os
import socket
import sys
import threading
import time

CLIENTS = 6
PATIENCE = 30
answered, wrong, longest = 0, 0, 0.0
lock = threading.Lock()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def http(where):
    with socket.create_connection(where, PATIENCE) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: vpn.lab\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := stream.recv(4096):
            answer += piece
    if b"ocation: " not in answer:
        raise ValueError(f"answered {answer!r}")


def dve(where):
    # for native VPN, any VRRP ID, all kinds of endpoint
    request = (b"DVE1" + bytes([1, 1, 0, 7]) + os.urandom(16)).ljust(512, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.settimeout(PATIENCE)
        stream.connect(where)
        stream.send(request)
        stream.recv(2048)


def come(ask, where, stop):
    global answered, wrong, longest
    while not os.path.exists(stop):
        begun, reason = time.monotonic(), None
        try:
            ask(where)
        except (OSError, ValueError) as error:
            reason = repr(error)
        took = time.monotonic() - begun
        with lock:
            longest = max(longest, took)
            if reason is None:
                answered += 1
            else:
                wrong += 1
                print(f"{ask.__name__} after {took:.2f} s: {reason}", file=sys.stderr, flush=True)
        time.sleep(0.005)


def main():
    http_at, dve_at, stop = address(sys.argv[1]), address(sys.argv[2]), sys.argv[3]
    people = [(http, http_at)] * CLIENTS + [(dve, dve_at)]
    threads = [threading.Thread(target=come, args=(ask, where, stop)) for ask, where in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{answered} {wrong} {longest:.2f}")


main()
