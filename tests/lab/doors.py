#!/usr/bin/env python3
"""Asks doors all the time whom they name, and tells what they have said, for the tests of failsafe mode.

  watch CA DOOR...        asks each DOOR every tenth of a second until it is told to end: a name, a kind (https, dve, ike)
                          and an address, as v-https=https:10.99.0.10. A line for each question on standard output:
                          `BEGUN SECONDS DOOR ANSWER`, where ANSWER is the address that was named, or none (there is no
                          gateway), standby (of dve), or silent
  settled LOG SINCE PATIENCE WANTED DOOR...
                          `SECONDS SPREAD`: from SINCE on, when the last of these doors has named WANTED and nobody else
                          since, three times at least; and so long after the first one. Waits so many seconds for that;
                          exit status 1: in vain
  named LOG SINCE [DOOR...]
                          whom each door has named since then (questions begun then), without repetitions and without
                          those answers that name nobody: a line for each such history, `HISTORY DOOR...`, as
                          `10.99.0.11>10.99.0.12 v-dve v-https`
  answers LOG SINCE PATIENCE DOOR...
                          waits so many seconds until each of these doors has named somebody four times, of questions begun
                          since then; exit status 1: in vain

BEGUN and SINCE are seconds since the machine was started, as in /proc/uptime.
"""

import argparse
import collections
import os
import re
import socket
import ssl
import sys
import threading
import time

import dve_probe
import ike_probe

PAUSE, TIMEOUT = 0.1, 0.3
IKE = argparse.Namespace(redirected_from=None, plain=False, marker=False)
DVE = argparse.Namespace(size=dve_probe.USUAL, vpn=1, accept=7, vrrp_id=0)
BLOCK = 1 << 16


def now():
    """Seconds, of the clock of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def https(address, context):
    """Whom the redirect names."""
    with socket.create_connection((address, 443), TIMEOUT) as plain:
        with context.wrap_socket(plain, server_hostname=address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % address.encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                some = sock.recv(4096)
                if not some:
                    return "silent"
                answer += some
    where = re.search(rb"\r\nlocation: https://([0-9.]+)/", answer, re.IGNORECASE)
    return where[1].decode() if where else "none"


def dve(address, _):
    """Whom the answer over DVE names."""
    with dve_probe.connected(address, 4463) as sock:
        sock.settimeout(TIMEOUT)
        asked = dve_probe.request(DVE)
        sock.send(asked)
        status, nonce, endpoints = dve_probe.read(sock.recv(65535))
    assert nonce == asked[8:24], "an answer to another request"
    if status != "ok":
        return "standby" if status == "standby" else "none"
    assert len(endpoints) == 1, "more than one gateway: " + " ".join(endpoints)
    return endpoints[0].rpartition(":")[0]


def ike(address, _):
    """Where the answer to an IKE_SA_INIT redirects."""
    with ike_probe.connected(address, 500) as sock:
        sock.settimeout(TIMEOUT)
        asked = ike_probe.question(IKE)
        sock.send(asked)
        result, _ = ike_probe.read(sock.recv(65535), IKE, asked)
    return result.removeprefix("redirect:") if result.startswith("redirect:") else "none"


def ask_on(door, context):
    """Asks one door for ever."""
    name, _, what = door.partition("=")
    kind, _, address = what.partition(":")
    way = {"https": https, "dve": dve, "ike": ike}[kind]
    while True:
        begun = now()
        try:
            answer = way(address, context)
        except OSError:
            answer = "silent"
        except BaseException as error:  # nothing that a door says may end the watch unseen
            print("%s: %s" % (name, error), file=sys.stderr, flush=True)
            os._exit(1)
        print("%.3f %.3f %s %s\n" % (begun, now() - begun, name, answer), end="", flush=True)
        time.sleep(max(0, begun + PAUSE - now()))


def watch(options):
    """Asks all of them."""
    context = ssl.create_default_context(cafile=options.ca)
    threads = [threading.Thread(target=ask_on, args=(door, context)) for door in options.doors]
    for thread in threads:
        thread.start()


def asks(options):
    """`(begun, ended, door, answer)` of each question since then, in the order in which they were begun."""
    with open(options.log, "rb") as log:
        size, back = log.seek(0, os.SEEK_END), BLOCK
        while True:
            log.seek(max(0, size - back))
            lines = log.read(size).decode().splitlines(keepends=True)
            # the first one may be cut; lines come when their questions are answered
            whole = [line.split() for line in lines[size > back :] if line.endswith("\n")]
            if size <= back or float(whole[0][0]) < options.since - 2 * TIMEOUT:
                break
            back *= 2
    found = [(float(begun), float(begun) + float(took), door, answer) for begun, took, door, answer in whole]
    return sorted(ask for ask in found if ask[0] >= options.since)


def soon(options, look):
    """What it finds, as soon as it finds something."""
    end = now() + options.patience
    while True:
        found = look(options)
        if found is not None or now() > end:
            return found
        time.sleep(0.1)


def since_when(options):
    """From when on each names the same one."""
    first = []
    lines = asks(options)
    for door in options.doors:
        run = []
        for _, ended, at, answer in lines:
            if at == door:
                run = run + [ended] if answer == options.wanted else []
        if len(run) < 3:
            return None
        first.append(run[0] - options.since)
    return first


def settled(options):
    """Since when all name the same one."""
    first = soon(options, since_when)
    if first is None:
        return 1
    print("%.2f %.2f" % (max(first), max(first) - min(first)))
    return 0


def named(options):
    """The histories."""
    histories = {}
    for _, _, door, answer in asks(options):
        if answer[0].isdigit() and (not options.doors or door in options.doors):
            history = histories.setdefault(door, [])
            if history[-1:] != [answer]:
                history.append(answer)
    doors = {}
    for door, history in sorted(histories.items()):
        doors.setdefault(">".join(history), []).append(door)
    for history, whose in doors.items():
        print(history, *whose)
    return 0


def have_answered(options):
    """Whether each has named somebody often enough."""
    count = collections.Counter(door for _, _, door, answer in asks(options) if answer[0].isdigit())
    return True if all(count[door] >= 4 for door in options.doors) else None


def answers(options):
    """Waits for answers."""
    return 0 if soon(options, have_answered) else 1


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    own = {
        "watch": [("ca", str)],
        "settled": [("log", str), ("since", float), ("patience", float), ("wanted", str)],
        "named": [("log", str), ("since", float)],
        "answers": [("log", str), ("since", float), ("patience", float)],
    }
    for name, arguments in own.items():
        command = commands.add_parser(name)
        for argument, kind in arguments:
            command.add_argument(argument, type=kind)
        command.add_argument("doors", nargs="*")
    options = parser.parse_args()
    return {"watch": watch, "settled": settled, "named": named, "answers": answers}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
