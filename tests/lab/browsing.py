#!/usr/bin/env python3
"""One Chromium that goes to the same address again and again, as somebody does who reloads, until it is ended.

  browsing.py HOME PROFILE URL    a line for each page that has come, or not: `BEGUN SECONDS ADDRESS STATUS` with where it has
                                  ended (host and port) and the status of that answer, or `BEGUN SECONDS failed REASON`; a
                                  page has 5 s

Times are in seconds, of the clock of /proc/uptime. HOME has the NSS database with whom the browser trusts; PROFILE is a folder for
it. It is spoken to in Chromium's own protocol (DevTools), over pipes.
"""

import json
import os
import select
import subprocess
import sys
import time
import urllib.parse

PATIENCE = 5.0
PAUSE = 0.4
# HttpsUpgrades and the rest keep Chromium from calling home, and from doing anything but what it is told.
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage --no-proxy-server "
    "--disable-background-networking --disable-component-update --disable-sync --disable-default-apps "
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable --remote-debugging-pipe"
).split()


def uptime():
    """The clock of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Silence(Exception):
    """Nothing came in time."""


class Browser:
    """A running Chromium with one page."""

    def __init__(self, home, profile):
        to_browser, self.to = os.pipe()
        self.of, from_browser = os.pipe()
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= {"HOME": home, "XDG_CONFIG_HOME": home, "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        # it reads from file 3 and writes to file 4
        shell = f"exec 3<&{to_browser} 4>&{from_browser}; exec chromium \"$@\""
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            env=environment,
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.rest = b""
        self.number = 0
        self.session = None
        targets = self.ask("Target.getTargets", 30)["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.ask("Target.attachToTarget", 10, targetId=page, flatten=True)["sessionId"]
        self.ask("Page.enable", 10)
        self.ask("Network.enable", 10)

    def tell(self, method, **parameters):
        """Sends it; its number."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.number

    def hear(self, deadline):
        """The next message."""
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.of], [], [], max(0.0, deadline - uptime()))
            if not ready:
                raise Silence
            chunk = os.read(self.of, 65536)
            if not chunk:
                sys.exit("the browser has ended")
            self.rest += chunk
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, seconds, **parameters):
        """The answer to that."""
        number, deadline = self.tell(method, **parameters), uptime() + seconds
        while True:
            message = self.hear(deadline)
            if message.get("id") == number:
                return message.get("result", {})

    def visit(self, url):
        """Where a visit to that address ends."""
        deadline = uptime() + PATIENCE
        number, loader, answers, done = self.tell("Page.navigate", url=url), None, {}, set()
        try:
            while True:
                message = self.hear(deadline)
                if message.get("id") == number:
                    result = message.get("result", {})
                    if "errorText" in result:
                        return f"failed {result['errorText']}"
                    loader = result.get("loaderId")
                event, parameters = message.get("method"), message.get("params", {})
                if event == "Network.responseReceived" and parameters["type"] == "Document":
                    answers[parameters["loaderId"]] = parameters["response"]
                if event == "Network.loadingFinished":
                    done.add(parameters["requestId"])
                if loader in answers and loader in done:
                    answer = answers[loader]
                    return f"{urllib.parse.urlsplit(answer['url']).netloc} {answer['status']}"
        except Silence:
            self.tell("Page.stopLoading")
            return "failed silence"


def main(home, profile, url):
    """Until it is ended."""
    browser = Browser(home, profile)
    while True:
        begun = uptime()
        words = browser.visit(url)
        print(f"{begun:.3f} {uptime() - begun:.3f} {words}", flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
