"""A browser that tests drive: Chromium without a window, over its DevTools Protocol in two pipes.

    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open("http://127.0.0.1:8080/", width=390, height=844, dark=True)
        assert browser.run("document.title") == "edgemm: served models"

What a page waits for is a promise that it makes itself: `run` waits for it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_TIMEOUT_S = 60.0
_END = b"\0"
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--disable-extensions",
)  # fmt: skip
UNTIL = """
new Promise((found, missing) => {
  const end = Date.now() + 20000;
  const look = () => {
    const value = (LOOK);
    if (value) found(value); else if (Date.now() > end) missing(new Error("not in 20 s: " + document.body.innerText));
    else setTimeout(look, 20);
  };
  look();
})
"""


class Browser:
    """One tab."""

    def __init__(self, program: Path, profile: Path) -> None:
        into, self._write = os.pipe()
        self._read, out = os.pipe()
        command = [str(program), *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads commands at descriptor 3 and answers at 4.
        wired = ["bash", "-c", f'exec "$@" 3<&{into} 4>&{out}', "bash", *command]
        with Path(f"{profile}.log").open("wb") as log:
            self._process = subprocess.Popen(wired, pass_fds=(into, out), stdout=log, stderr=log)
        os.close(into)
        os.close(out)
        self._number, self._unread = 0, b""
        self.violations: list[str] = []
        """What the policy of a page forbade it."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self._ask(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a page, in a window of this size, once it is loaded."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Return what a script gives in the page, or what the promise that it gives is kept with."""
        found = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"].get("exception", {}).get("description", found))
        return found["result"].get("value")

    def until(self, look: str) -> Any:
        """Wait until an expression is true in the page, and return it."""
        return self.run(UNTIL.replace("LOOK", look))

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a form."""
        root = self._ask("DOM.getDocument")["root"]["nodeId"]
        node = self._ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._ask("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def picture(self) -> bytes:
        """Return the whole page as a PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + _END)
        end = time.monotonic() + _TIMEOUT_S
        while True:
            found = self._next(end - time.monotonic())
            if found.get("method") == "Log.entryAdded" and "Content Security Policy" in str(found):
                self.violations.append(found["params"]["entry"]["text"])
            if found.get("id") == self._number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result

    def _next(self, timeout_s: float) -> dict[str, Any]:
        while _END not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0.0, timeout_s))
            data = os.read(self._read, 1 << 16) if ready else b""
            assert data, "the browser does not answer"
            self._unread += data
        message, _, self._unread = self._unread.partition(_END)
        found: dict[str, Any] = json.loads(message)
        return found

    def close(self) -> None:
        """End the browser."""
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()
