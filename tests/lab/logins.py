#!/usr/bin/env python3
"""Logs in at the virtual address again and again with openconnect, up to the gateway's cookie and no further.

  run EVERY ADDRESS CAFILE    begins a login each EVERY seconds, whatever became of the others, until it is ended: a line
                              when it has come to its end, `BEGUN CONNECTED SECONDS GATEWAY` or `BEGUN CONNECTED SECONDS
                              failed REASON`: when it tried to connect to ADDRESS, how long it took until the connection
                              was there, and until the gateway's cookie was
  gap FROM TO GOOD LOG        what LOG says of those begun between FROM and TO. A login is good if its connection was
                              there after GOOD seconds at most, and the cookie in the end; `GAP OVER PAUSE LOGINS LATE
                              FAILED SLOWEST`: the longest time from the beginning of one that was not good to that of the
                              next good one (or to TO), when it was over, the longest time in which none began, how many
                              there were, how many succeeded though they were not good, failed, and how long the
                              slowest took that succeeded

Whoever meets an address that nobody has is not good, however soon somebody has it: a SYN that was lost is sent again after a
second. How long the rest of a login takes says more of how busy the machine is that all of the lab shares. Times are in
seconds, of the clock of /proc/uptime. Who has no result after 10 s has failed. No more than 100 are under way at a time: what
cannot begin for that reason has failed as well.
"""

import asyncio
import contextlib
import re
import signal
import sys
import time

PATIENCE = 10.0
MOST = 100


def uptime():
    """The clock of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Login:
    """One of them, as alice."""

    def __init__(self, begun):
        self.begun = begun
        self.connected = None
        self.said = []

    def tell(self, words):
        """A line of the log."""
        connected = -1.0 if self.connected is None else self.connected - self.begun
        print(f"{self.begun:.3f} {connected:.3f} {uptime() - self.begun:.3f} {words}", flush=True)

    async def listen(self, stream):
        """What openconnect says of itself."""
        has_tried = False
        async for line in stream:
            line = line.decode(errors="replace").strip()
            if line.startswith("Attempting to connect") and not has_tried:
                has_tried, self.begun = True, uptime()
            elif line.startswith("Connected to") and self.connected is None:
                self.connected = uptime()
            elif re.search("ailed|rror|refused|nable|nexpected", line):
                self.said.append(line)

    async def run(self, address, cafile):
        """From its beginning to its end."""
        process = await asyncio.create_subprocess_exec(
            *("openconnect", "--verbose", "--authenticate", "--non-inter", "--user=alice", "--passwd-on-stdin"),
            # without reading the authorities of the whole world first, which is half of its work
            *("--no-system-trust", "--cafile", cafile, f"https://{address}/"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            process.stdin.write(b"secret\n")
            process.stdin.close()
            async with asyncio.timeout(PATIENCE):
                out, _ = await asyncio.gather(process.stdout.read(), self.listen(process.stderr))
                await process.wait()
        except TimeoutError:
            return self.tell("failed silence")
        finally:
            if process.returncode is None:
                process.kill()
        gateway = re.search(r"^HOST='([^']*)'", out.decode(), re.MULTILINE)
        if process.returncode == 0 and gateway and self.connected is not None:
            return self.tell(gateway[1])
        return self.tell(f"failed {self.said[0] if self.said else process.returncode}")


async def run(every, address, cafile):
    """One after the other, by the clock."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    under_way = set()
    due = uptime()
    while True:
        await asyncio.sleep(max(0.0, due - uptime()))
        due += every
        login = Login(uptime())
        if len(under_way) >= MOST:
            login.tell("failed too-many-under-way")
            continue
        task = asyncio.ensure_future(login.run(address, cafile))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


def gap(since, until, good, log):
    """What happened meanwhile."""
    logins = []
    for line in open(log, encoding="utf-8"):
        begun, connected, seconds = map(float, line.split()[:3])
        if since <= begun <= until:
            logins.append((begun, connected, seconds, line.split()[3] != "failed"))
    logins.sort()
    longest, over, first = 0.0, since, None
    for begun, connected, _, succeeded in [*logins, (until, 0.0, 0.0, True)]:
        if not succeeded or connected > good:
            first = begun if first is None else first
        elif first is not None:
            longest, over = max((longest, over), (begun - first, begun))
            first = None
    times = [since, *(login[0] for login in logins), until]
    pause = max(later - before for before, later in zip(times, times[1:]))
    failed = sum(not login[3] for login in logins)
    late = sum(login[3] and login[1] > good for login in logins)
    slowest = max((login[2] for login in logins if login[3]), default=0.0)
    print(f"{longest:.3f} {over:.3f} {pause:.3f} {len(logins)} {late} {failed} {slowest:.3f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", every, address, cafile]:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(run(float(every), address, cafile))
        case ["gap", since, until, good, log]:
            gap(float(since), float(until), float(good), log)
        case _:
            sys.exit(__doc__)
