"""A headless Chromium, driven over its debugging pipe with nothing but the standard library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0
_FIRST_FREE = 10  # the browser reads from descriptor 3 and writes to 4: ours must be others


def browser_program() -> str | None:
    """Path of the Chromium that ``SPINEPS_BROWSER`` names, else of an installed one, or None."""
    named = [os.environ["SPINEPS_BROWSER"]] if "SPINEPS_BROWSER" in os.environ else NAMES
    return next((path for name in named if (path := shutil.which(name))), None)


class Tab:
    """One tab of a browser.

    Messages are JSON, a zero byte after each (``--remote-debugging-pipe``).
    """

    def __init__(self, program: str, profile: Path, size: tuple[int, int] = (1600, 1000)) -> None:
        theirs_in, self._out = (_high(end) for end in os.pipe())
        self._in, theirs_out = (_high(end) for end in os.pipe())
        command = [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"),
            *("--disable-extensions", "--no-first-run", "--disable-background-networking", "--disable-sync"),
            *(f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}", "about:blank"),
        ]
        wiring = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            [shutil.which("bash") or "sh", "-c", wiring, *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        width, height = size
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session = None
        os.write(self._out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command, and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
        raise AssertionError(f"{method} was not answered")

    def open(self, path: Path) -> float:
        """Open a file; seconds until it is loaded and its script has run."""
        self.events.clear()
        start = time.perf_counter()
        self.send("Page.navigate", url=path.as_uri())
        for event in self._messages():
            if event.get("method") == "Page.loadEventFired":
                break
        return time.perf_counter() - start

    def ask(self, expression: str) -> Any:
        """Value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        end = time.perf_counter() + SECONDS
        while not self.ask(f"Boolean({expression})"):
            assert time.perf_counter() < end, f"never true: {expression}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key, and let it go."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def downloads_to(self, folder: Path) -> None:
        """Where saved files go."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def photograph(self, path: Path) -> None:
        """What is seen, as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """Errors that the page met so far: exceptions, and what its policy or the network refused."""
        self.ask("0")
        texts = [str(e["params"]["exceptionDetails"]) for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        entries = [e["params"]["entry"] for e in self.events if e.get("method") == "Log.entryAdded"]
        return texts + [entry["text"] for entry in entries if entry["level"] == "error"]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, but for what it carries itself."""
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def _messages(self) -> Iterator[dict[str, Any]]:
        end = time.perf_counter() + SECONDS
        while True:
            while b"\0" in self._rest:
                one, self._rest = self._rest.split(b"\0", 1)
                message = json.loads(one)
                if "method" in message:
                    self.events.append(message)
                yield message
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.perf_counter()))
            assert ready, "the browser says nothing"
            block = os.read(self._in, 1 << 16)
            assert block, "the browser has ended"
            self._rest += block


@contextmanager
def tab(program: str, profile: Path) -> Iterator[Tab]:
    """A browser with one tab, closed at the end."""
    with Tab(program, profile) as opened:
        yield opened


def _high(descriptor: int) -> int:
    """The same, under a number above those that the browser expects."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD, _FIRST_FREE)
    os.close(descriptor)
    return high
