#!/usr/bin/env python3
"""A gateway that is nothing but a web page: an HTTPS server whose page names it.

It answers every GET with a page that holds `this is NAME`, everything else with 404, and writes
one line a request to its log: `PEER TLS-VERSION METHOD TARGET`. While the file --broken is there, every
answer is 503. Ended by a signal.
"""

import argparse
import http.server
import os
import socket
import ssl

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--name", required=True)
parser.add_argument("--port", type=int, default=443)
parser.add_argument("--certificate", required=True)
parser.add_argument("--key", required=True)
parser.add_argument("--log", required=True)
parser.add_argument("--broken", default="")
options = parser.parse_args()

PAGE = f"<!doctype html><title>{options.name}</title><h1>this is {options.name}</h1>\n".encode()
LOG = open(options.log, "a", buffering=1, encoding="ascii", errors="backslashreplace")


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def setup(self):
        """Shakes hands here, on the connection's own thread: a silent client holds nobody up."""
        self.request.settimeout(self.timeout)
        self.request.do_handshake()
        super().setup()

    def answer(self, status, body):
        """Notes the request and answers it."""
        LOG.write(f"{self.client_address[0]} {self.request.version()} {self.command} {self.path}\n")
        if options.broken and os.path.exists(options.broken):
            status, body = 503, b""
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        """The page."""
        self.answer(200, PAGE)

    def do_POST(self):
        """What a VPN client begins with; there is no VPN here."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(404, b"")

    def log_message(self, *_):
        """The log above is the only one."""


class Server(http.server.ThreadingHTTPServer):
    """A thread a connection; both address families."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 1000

    def handle_error(self, request, client_address):
        """Checks and scanners break connections off; that is no news."""


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options.certificate, options.key)
server = Server(("::", options.port), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
