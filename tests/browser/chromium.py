"""Chromium, driven over its own debugging protocol: as a person would, by what the page shows and names."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

START_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 30
POLL_S = 0.05
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--no-first-run",
    "--no-proxy-server",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
)

Event = dict[str, Any]


def find_chromium() -> str | None:
    """The program, where it is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """One tab.

    Args:
        visit: the id of the visit that it belongs to.

    Attributes:
        events: what the browser told since the tab was opened, `{"method": ..., "params": ...}`.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, visit: str) -> None:
        self._socket = socket
        self._visit = visit
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())
        self._answer_request: Callable[[Event], dict[str, Any] | None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self.events: list[Event] = []

    async def command(self, method: str, **parameters: Any) -> Any:
        """The result of one command of the protocol; raises RuntimeError with the browser's words."""
        id = len(self._answers) + 1
        self._answers[id] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": id, "method": method, "params": parameters})
        return await asyncio.wait_for(self._answers[id], ANSWER_TIMEOUT_S)

    async def allow(self, permission: str, setting: str, origin: str) -> None:
        """Answer for the person, as long as the visit lasts: `granted`, `denied` or `prompt`."""
        told = {"permission": {"name": permission}, "setting": setting, "origin": origin}
        await self.command("Browser.setPermission", **told, browserContextId=self._visit)

    async def keep_downloads(self, folder: Path) -> None:
        """Save what is downloaded there, as long as the visit lasts."""
        told = {"behavior": "allow", "downloadPath": str(folder)}
        await self.command("Browser.setDownloadBehavior", **told, browserContextId=self._visit)

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" not in told:
                self.events.append(told)
                if told["method"] == "Fetch.requestPaused":
                    task = asyncio.create_task(self._pass_or_answer(told["params"]))
                    self._background.add(task)
                    task.add_done_callback(self._background.discard)
                continue
            answer = self._answers[told["id"]]
            if answer.done():
                continue
            if "error" in told:
                answer.set_exception(RuntimeError(told["error"]["message"]))
            else:
                answer.set_result(told["result"])

    async def close(self) -> None:
        await self._socket.close()
        self._reader.cancel()

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            await self.command(f"{domain}.enable")
        await self.command("Page.navigate", url=url)
        await self.wait_for("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        told = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def wait_for(self, expression: str, timeout_s: float = 60) -> None:
        """Until the expression is true; raises AssertionError with what the page then says."""
        end = time.monotonic() + timeout_s
        while not await self.evaluate(expression):
            if time.monotonic() > end:
                seen = await self.evaluate("document.body.innerText")
                raise AssertionError(f"{expression} did not come true; the page says:\n{seen}")
            await asyncio.sleep(POLL_S)

    async def text_of(self, id: str) -> str:
        return str(await self.evaluate(f"document.getElementById({json.dumps(id)}).innerText"))

    async def find(self, role: str, name: str) -> int:
        """The one element with this role and name, as screen readers know it; hidden ones do not count."""
        root = (await self.command("DOM.getDocument"))["root"]["nodeId"]
        found = await self.command("Accessibility.queryAXTree", nodeId=root, role=role, accessibleName=name)
        nodes = [node["backendDOMNodeId"] for node in found["nodes"] if not node["ignored"]]
        assert len(nodes) == 1, f"{len(nodes)} of {role} {name!r}"
        return int(nodes[0])

    async def click(self, role: str, name: str) -> None:
        node = await self.find(role, name)
        await self.command("DOM.scrollIntoViewIfNeeded", backendNodeId=node)
        quad = (await self.command("DOM.getBoxModel", backendNodeId=node))["model"]["content"]
        place = {"x": sum(quad[::2]) / 4, "y": sum(quad[1::2]) / 4, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            await self.command("Input.dispatchMouseEvent", type=kind, **place)

    async def fill(self, role: str, name: str, text: str) -> None:
        await self.command("DOM.focus", backendNodeId=await self.find(role, name))
        await self.command("Input.insertText", text=text)

    async def choose_files(self, label: str, *paths: Path) -> None:
        """As if somebody had chosen these in the dialog of the file input with this label."""
        inputs = "[...document.querySelectorAll('input[type=file]')]"
        labelled = f"{inputs}.find(each => each.labels[0].innerText === {json.dumps(label)})"
        told = await self.command("Runtime.evaluate", expression=labelled)
        assert told["result"].get("objectId"), f"no file input is labelled {label!r}"
        await self.command(
            "DOM.setFileInputFiles", objectId=told["result"]["objectId"], files=[str(path) for path in paths]
        )

    async def press_enter(self) -> None:
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self.command("Input.dispatchKeyEvent", type="keyDown", **key)
        await self.command("Input.dispatchKeyEvent", type="keyUp", **key)

    async def look(
        self,
        path: Path,
        *,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        phone: bool = False,
        settle_s: float = 0.7,
    ) -> None:
        """Take a picture of the page on a screen of this size.

        Args:
            settle_s: for the next picture's boxes, where there is a camera: they are drawn for the old size.
        """
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.command("Emulation.setEmulatedMedia", features=features)
        await asyncio.sleep(settle_s)
        shot = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def intercept(self, pattern: str, answer: Callable[[Event], dict[str, Any] | None]) -> None:
        """Answer requests in the service's place: `answer` gives `responseCode` and so on, or None."""
        self._answer_request = answer
        await self.command("Fetch.enable", patterns=[{"urlPattern": pattern}])

    async def _pass_or_answer(self, paused: Event) -> None:
        assert self._answer_request is not None
        answer = self._answer_request(paused)
        if answer is None:
            await self.command("Fetch.continueRequest", requestId=paused["requestId"])
        else:
            await self.command("Fetch.fulfillRequest", requestId=paused["requestId"], **answer)

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the browser refused to load or run."""
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"])[:500])
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        return found


OpenPage = Callable[[], Awaitable[Page]]


@contextlib.contextmanager
def run_chromium(program: str, profile: Path, *flags: str) -> Iterator[str]:
    """A browser; yields the URL of its debugging protocol. It ends with the block."""
    command = [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    try:
        yield f"http://127.0.0.1:{_wait_for_port(process, profile / 'DevToolsActivePort')}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _wait_for_port(process: subprocess.Popen[bytes], file: Path) -> int:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        time.sleep(POLL_S)
    raise RuntimeError("Chromium did not start")


@contextlib.asynccontextmanager
async def open_visit(chromium: str) -> AsyncIterator[OpenPage]:
    """A visit to a browser that runs: nothing of other visits is known, neither storage nor permissions.

    Args:
        chromium: the URL of `run_chromium`.

    Yields:
        A function that opens a new tab. Everything of the visit ends with the block.
    """
    async with aiohttp.ClientSession(chromium) as session:
        async with session.get("/json/version") as answer:
            url = (await answer.json())["webSocketDebuggerUrl"]
        browser = Page(await session.ws_connect(url, max_msg_size=0), "")
        visit = (await browser.command("Target.createBrowserContext"))["browserContextId"]
        pages = [browser]

        async def open_page() -> Page:
            target = await browser.command("Target.createTarget", url="about:blank", browserContextId=visit)
            socket = await session.ws_connect(f"/devtools/page/{target['targetId']}", max_msg_size=0)
            pages.append(Page(socket, visit))
            return pages[-1]

        try:
            yield open_page
        finally:
            await browser.command("Target.disposeBrowserContext", browserContextId=visit)
            for page in pages:
                await page.close()


@contextlib.asynccontextmanager
async def open_browser(program: str, profile: Path, *flags: str) -> AsyncIterator[OpenPage]:
    """A browser of its own; yields a function that opens a new tab. Everything of it ends with the block."""
    with run_chromium(program, profile, *flags) as chromium:
        async with open_visit(chromium) as open_page:
            yield open_page
