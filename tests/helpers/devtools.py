"""Chromium driven as a person would: keys pressed, sizes and colours changed, what the page asks for and complains of
written down.

It speaks the DevTools protocol over the browser's pipe (file descriptors 3 and 4, messages ended by a zero byte), so
that nothing but the browser itself is needed."""

import base64
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chromium import QUIET, need_browser

KEYS = {
    "Tab": 9,
    "Enter": 13,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    " ": 32,
}


class Page:
    """One open page. `requests` are the addresses that it asked for, `complaints` what it wrote to the console as an
    error."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def start(self) -> None:
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 2**16)
            assert part, "the browser has gone"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))

    def open(
        self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, printed: bool = False
    ) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", media="print" if printed else "screen", features=scheme)
        self.send("Page.navigate", url=path.resolve().as_uri())
        while self.ask("document.readyState") != "complete":
            pass

    def ask(self, script: str) -> Any:
        """What a JavaScript expression is, as JSON."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.send("Input.dispatchKeyEvent", type="keyDown", **code, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, path: Path, *, top: int = 0, height: int | None = None) -> None:
        width = self.ask("document.documentElement.clientWidth")
        tall = height or self.ask("document.documentElement.scrollHeight") - top
        clip = {"x": 0, "y": top, "width": width, "height": tall, "scale": 1}
        shot = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(scratch: Path) -> Iterator[Page]:
    """A browser of its own, without network, ended afterwards."""
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    command = [
        need_browser(),
        *QUIET,
        f"--user-data-dir={scratch / 'profile'}",
        "--proxy-server=127.0.0.1:9",
        "--remote-debugging-pipe",
    ]

    def place_pipes() -> None:
        # The ends may stand on 3 and 4 already: copied high first, they cannot overwrite one another.
        one, other = os.dup(to_browser), os.dup(from_browser)
        os.dup2(one, 3)
        os.dup2(other, 4)

    browser = subprocess.Popen(
        [*command, "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=place_pipes,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        page = Page(write, read)
        page.start()
        yield page
    finally:
        browser.terminate()
        browser.wait(30)
        os.close(write)
        os.close(read)
