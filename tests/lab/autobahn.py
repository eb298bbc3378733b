#!/usr/bin/env python3
"""Autobahn's WebSocket test suite, as its makers released it, for websocket.sh.

  install FOLDER                  makes FOLDER/wstest, which runs the suite, and FOLDER/venv, whose Python has the
                                  package wsproto; does nothing where they are there already
  spec FILE AGENT URL OUTPUT CASES EXCLUDED
                                  writes what `wstest --mode fuzzingclient --spec FILE` needs; CASES and EXCLUDED are
                                  patterns with commas between, OUTPUT is the folder of the report
  compare OUTPUT OUTPUT           two reports, case by case: each case must be in both, and behave and close the same
                                  in both; prints the differences, then `N cases: HOW-THEY-WENT`
  echo ADDRESS CERTIFICATE KEY    the server under test: `wsproto`, echoing; ADDRESS is ip:port; without
                                  certificate and key it is plain; prints `ready`

The suite is Python 2.7 only, and Debian 12 has none. It is taken from the release before, of the same mirror that
this machine's apt uses, and unpacked into FOLDER; nothing is installed on the machine.
"""

import asyncio
import collections
import json
import pathlib
import shutil
import subprocess
import ssl
import sys
import zipfile

try:
    from wsproto import ConnectionType, WSConnection
    from wsproto.connection import ConnectionState
    from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request
    from wsproto.extensions import PerMessageDeflate
    from wsproto.utilities import LocalProtocolError, RemoteProtocolError
except ImportError:  # not in the venv, where only `echo` runs
    pass

INTERPRETER_RELEASE = "bullseye"
INTERPRETER = ["python2.7-minimal", "libpython2.7-minimal", "libpython2.7-stdlib", "libssl1.1", "libffi7"]
# Of one version each, the last ones for Python 2.7 that fit together; autobahn as old as the suite asks for.
WHEELS = """
    autobahntestsuite==25.10.1 Twisted==20.3.0 zope.interface==5.4.0 pyOpenSSL==21.0.0 cryptography==3.3.2 cffi==1.15.1
    pycparser==2.21 six==1.16.0 enum34==1.1.10 ipaddress==1.0.23 attrs==21.4.0 idna==2.10 hyperlink==21.0.0
    constantly==15.1.0 Automat==20.2.0 incremental==21.3.0 PyHamcrest==1.9.0 setuptools==44.1.1 typing==3.10.0.0
    txaio==2.5.1 Jinja2==2.11.3 MarkupSafe==1.1.1 unittest2==1.1.0 traceback2==1.4.0 linecache2==1.0.0
""".split()
SOURCES = ["autobahn==0.10.9"]
SERVER = ["wsproto==1.2.0"]
VERSIONS = " ".join([INTERPRETER_RELEASE, *INTERPRETER, *WHEELS, *SOURCES, *SERVER])

WSTEST = """#!/bin/sh
here={folder}
export LD_LIBRARY_PATH=$here/python/usr/lib/x86_64-linux-gnu PYTHONHOME=$here/python/usr PYTHONPATH=$here/packages
exec $here/python/usr/bin/python2.7 -c \\
  'import txaio; txaio.use_twisted(); from autobahntestsuite.wstest import run; run()' "$@"
"""


def run(*command):
    """A command that must succeed."""
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def install(folder):
    """See above. The file `versions` is written last: what lacks it is thrown away."""
    folder = pathlib.Path(folder).resolve()
    done = folder / "versions"
    if done.exists() and done.read_text(encoding="ascii") == VERSIONS:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run(sys.executable, "-m", "venv", folder / "venv")
    run(folder / "venv/bin/pip", "install", "-q", *SERVER)
    install_interpreter(folder)
    install_packages(folder)
    program = folder / "wstest"
    program.write_text(WSTEST.format(folder=folder), encoding="ascii")
    program.chmod(0o755)
    run(program, "--autobahnversion")
    done.write_text(VERSIONS, encoding="ascii")


def mirror():
    """Where this machine has its Debian packages from."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT) $(SUITE) $(CODENAME)"]
    for line in subprocess.run(targets, check=True, capture_output=True, text=True).stdout.splitlines():
        uri, origin, component, _, codename = (line.split(" ") + [""] * 5)[:5]
        if origin == "Debian" and component == "main" and "-" not in codename:
            return uri
    sys.exit("error: apt knows no Debian mirror; apt-get update")


def install_interpreter(folder):
    """Python 2.7, by an apt that knows nothing but that mirror and keeps everything in the folder."""
    apt = folder / "apt"
    for place in ("lists/partial", "cache/archives/partial"):
        (apt / place).mkdir(parents=True)
    (apt / "status").touch()
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "list").write_text(f"deb [signed-by={keys}] {mirror()} {INTERPRETER_RELEASE} main\n", encoding="ascii")
    settings = {
        "Dir::Etc::SourceList": apt / "list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Retries": "3",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    run("apt-get", *options, "-qq", "update")
    subprocess.run(["apt-get", *options, "-qq", "download", *INTERPRETER], check=True, cwd=apt, stdout=sys.stderr)
    for package in sorted(apt.glob("*.deb")):
        run("dpkg-deb", "-x", package, folder / "python")
    shutil.rmtree(apt)


def install_packages(folder):
    """The suite and what it stands on."""
    wheels, packages = folder / "wheels", folder / "packages"
    pip = [folder / "venv/bin/pip", "download", "-q", "--no-deps", "-d", wheels]
    old = ["--python-version", "27", "--implementation", "cp", "--abi", "cp27mu", "--only-binary=:all:"]
    for platform in ("manylinux2010_x86_64", "manylinux1_x86_64", "any"):
        old += ["--platform", platform]
    run(*pip, *old, *WHEELS)
    run(*pip, "--no-binary=:all:", *SOURCES)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    for source in wheels.glob("*.tar.gz"):
        shutil.unpack_archive(source, wheels)
        name = source.name.split("-")[0]
        shutil.move(wheels / source.name.removesuffix(".tar.gz") / name, packages / name)
    (packages / "zope/__init__.py").touch()
    shutil.rmtree(wheels)


def spec(file, agent, url, output, cases, excluded):
    """See above."""
    content = {
        "options": {"failByDrop": False},
        "outdir": output,
        "servers": [{"agent": agent, "url": url}],
        "cases": cases.split(","),
        "exclude-cases": excluded.split(","),
        "exclude-agent-cases": {},
    }
    pathlib.Path(file).write_text(json.dumps(content), encoding="ascii")


def report(output):
    """Case by case: how it went and how it ended, in the suite's words, with the close code that came."""
    with open(pathlib.Path(output) / "index.json", encoding="ascii") as file:
        (cases,) = json.load(file).values()
    return {case: (seen["behavior"], seen["behaviorClose"], seen["remoteCloseCode"]) for case, seen in cases.items()}


def compare(straight, through):
    """See above."""
    straight, through = report(straight), report(through)
    same = True
    for case in sorted(straight.keys() | through.keys(), key=lambda name: [int(part) for part in name.split(".")]):
        if straight.get(case) != through.get(case):
            same = False
            print(f"{case}: straight {straight.get(case)}, through the front door {through.get(case)}")
    went = collections.Counter(behavior for behavior, _, _ in through.values())
    print(f"{len(through)} cases: " + ", ".join(f"{count} {word}" for word, count in sorted(went.items())))
    sys.exit(0 if same and through else 1)


class Echo(asyncio.Protocol):
    """One connection. What has come is answered frame by frame, in order, however it was cut into pieces on its way:
    with a server that reads ahead, how a case goes would depend on that."""

    def connection_made(self, transport):
        """See asyncio."""
        self.transport = transport
        self.websocket = WSConnection(ConnectionType.SERVER)
        self.parts = []

    def data_received(self, data):
        """See asyncio."""
        try:
            self.websocket.receive_data(data)
            for event in self.websocket.events():
                self.answer(event)
        except (RemoteProtocolError, LocalProtocolError):
            self.transport.close()

    def answer(self, event):
        """Messages are echoed, the rest is answered as RFC 6455 has it."""
        if isinstance(event, Request):
            self.send(AcceptConnection(extensions=[PerMessageDeflate()]))
        elif isinstance(event, Message):
            self.parts.append(event.data)
            if event.message_finished:
                whole = type(event)(data=type(event.data)().join(self.parts))
                self.parts = []
                self.send(whole)
        elif isinstance(event, Ping):
            self.send(event.response())
        elif isinstance(event, CloseConnection):
            if self.websocket.state is not ConnectionState.CLOSED:
                self.send(event.response())
            self.transport.close()

    def send(self, event):
        """Puts it on the wire."""
        self.transport.write(self.websocket.send(event))


async def serve(address, certificate=None, key=None):
    """See above."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    host, port = address.rsplit(":", 1)
    server = await asyncio.get_running_loop().create_server(Echo, host, int(port), ssl=context)
    print("ready", flush=True)
    await server.serve_forever()


def echo(*arguments):
    """See above."""
    asyncio.run(serve(*arguments))


if __name__ == "__main__":
    {"install": install, "spec": spec, "compare": compare, "echo": echo}[sys.argv[1]](*sys.argv[2:])
