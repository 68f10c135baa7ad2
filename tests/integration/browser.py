"""Debian's Chromium without a screen, driven by WebDriver's JSON protocol (W3C, "WebDriver") with the standard library only."""

import base64
import json
import re
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from conftest import temporary_directory
from engines import program
from registry import wait_for

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-default-apps", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, by the standard
KEYS = {"down": "\ue015", "up": "\ue013", "enter": "\ue007", "escape": "\ue00c", "backspace": "\ue003", "tab": "\ue004", "right": "\ue014"}


class Browser:
    def __init__(self, driver: str, session: str):
        self.base = f"{driver}/session/{session}"

    def _ask(self, method: str, path: str, body: dict | None = None):
        return ask(method, self.base + path, body)

    def open(self, url: str):
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments):
        """Runs a function body in the page and returns its result."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        return self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def text(self, selector: str) -> str:
        """The visible text: empty for a hidden element."""
        return self._ask("GET", f"/element/{self.find(selector)}/text")

    def texts(self, selector: str) -> list[str]:
        found = self._ask("POST", "/elements", {"using": "css selector", "value": selector})
        return [self._ask("GET", f"/element/{each[ELEMENT]}/text") for each in found]

    def is_shown(self, selector: str) -> bool:
        return self._ask("GET", f"/element/{self.find(selector)}/displayed")

    def click(self, selector: str):
        self._ask("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector: str, *words: str):
        """Text, or the names of KEYS."""
        for word in words:
            self._ask("POST", f"/element/{self.find(selector)}/value", {"text": KEYS.get(word, word)})

    def wait_for(self, script: str, what: str, seconds: float = 60):
        return wait_for(lambda: self.run(script), what, seconds)

    def title(self) -> str:
        return self._ask("GET", "/title")

    def address(self) -> str:
        """The page's own location, which may be newer than the browser's."""
        return self.run("return location.href")

    def devtools(self, command: str, **parameters):
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, scheme: str, width: int, height: int = 900):
        """Sets colour scheme and size, without animations, so that clicked elements do not move."""
        self.devtools("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}])  # fmt: skip
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.wait_for(f"return innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches", "the page to be so")

    def screenshot(self, file: Path):
        """The whole page, not only what is in view."""
        file.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def console(self) -> list[dict]:
        """The log since the last call: errors of scripts, of the network, of the Content-Security-Policy."""
        return self._ask("POST", "/se/log", {"type": "browser"})


def ask(method: str, url: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    # Ignores proxies in the environment: this is loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.read().decode()[:2000]}") from None


@contextmanager
def chromium(*, javascript: bool = True):
    with temporary_directory("nixery-browser-") as directory:
        output = directory / "driver.log"
        with open(output, "wb") as log:
            words = [program("chromedriver", "chromium-driver"), "--port=0"]  # a free one, which it prints
            driver = subprocess.Popen(words, stdout=log, stderr=log, cwd=directory)
        session = None
        try:
            port = wait_for(lambda: re.search(r"successfully on port (\d+)", output.read_text()), "chromedriver to listen", 60)[1]
            base = f"http://127.0.0.1:{port}"
            wait_for(lambda: driver.poll() is not None or is_ready(base), "chromedriver to answer", 60)
            options = {
                "binary": program("chromium", "chromium"), "args": [*ARGUMENTS, f"--user-data-dir={directory}/profile"],
                "prefs": {} if javascript else {"profile.managed_default_content_settings.javascript": 2},
            }  # fmt: skip
            made = ask("POST", f"{base}/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"script": 60000, "pageLoad": 60000, "implicit": 0}}}})  # fmt: skip
            session = made["sessionId"]
            yield Browser(base, session)
        finally:
            if session:
                ask("DELETE", f"{base}/session/{session}")
            driver.terminate()
            driver.wait(timeout=30)


def is_ready(base: str) -> bool:
    try:
        return ask("GET", f"{base}/status")["ready"]
    except OSError:
        return False
