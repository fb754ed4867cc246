"""The live page in a real browser, before the real service: a film of the sample pictures is its camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from loadtest.service import Service
from tests.browser.chromium import OpenPage, Page
from tests.browser.scenes import allow_camera
from tests.browser.visits import banner_is, check_page, go_to, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def chromium(door_chromium: str) -> str:
    return door_chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(open_page: OpenPage, service: Service) -> Page:
    page = await open_page()
    await allow_camera(page, service, "granted")
    return page


def frames_sent(page: Page) -> int:
    return sum(
        event["method"] == "Network.webSocketFrameSent" and event["params"]["response"]["opcode"] == 2
        for event in page.events
    )


def answers(page: Page) -> list[dict[str, Any]]:
    """What the service said over the WebSocket."""
    return [
        json.loads(event["params"]["response"]["payloadData"])
        for event in page.events
        if event["method"] == "Network.webSocketFrameReceived" and event["params"]["response"]["opcode"] == 1
    ]


async def test_everyone_in_view_has_a_box_and_a_name(
    page: Page,
    service: Service,
    client: httpx.Client,
    token: str,
    gala: str,
    tmp_path: Path,
) -> None:
    await page.open(f"{service.url}/")
    await page.look(tmp_path / "sign-in-phone-dark.png", width=390, height=844, phone=True, scheme="dark")
    await sign_in(page, service, token)
    await go_to(page, f"#/events/{gala}/live")
    assert await page.text_of("where") == "Winter gala"
    await page.evaluate("document.getElementById('check-in').value = 'yes'")
    await page.fill("textbox", "Place (may be left out)", "north door")
    await page.look(tmp_path / "choose-light.png")
    await page.click("button", "Start the camera")

    await page.wait_for(banner_is("match"))
    assert await page.text_of("banner-title") == "A guest"
    await page.wait_for(
        "(() => { const c = document.getElementById('overlay');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "for (let i = 0; i < d.length; i += 4) if (d[i] === 0x35 && d[i + 1] === 0xd0) return true; })()"
    )
    await page.look(tmp_path / "guest-light.png")
    await page.look(tmp_path / "guest-phone.png", width=390, height=844, phone=True)
    await page.wait_for(banner_is("unknown"))
    await page.wait_for("document.querySelector('#arrivals li[data-kind=unknown]') !== null")
    await page.look(tmp_path / "stranger-dark.png", scheme="dark")
    assert (await page.text_of("counter")).startswith("1 recognised, ")
    shown = await page.evaluate("[...document.querySelectorAll('#arrivals .who')].map(e => e.innerText)")
    assert sorted(set(shown)) == ["? Unknown", "✓ A guest"]
    [arrival] = client.get(f"/v1/events/{gala}/check-ins").json()["check_ins"]
    assert (arrival["person_id"], arrival["place"]) == ("guest", "north door")

    seen = [message for message in answers(page) if message["type"] == "faces"]
    looked_up = sum(face["looked_up"] for message in seen for face in message["faces"])
    assert looked_up < len(seen)
    assert len(seen) <= frames_sent(page) <= len(seen) + 1  # the next when the last is answered
    opened = [e["params"]["url"] for e in page.events if e["method"] == "Network.webSocketCreated"]
    assert opened == [f"{service.url.replace('http', 'ws', 1)}/v1/events/{gala}/stream"]  # and no token in it
    await check_page(page, service)


async def test_it_comes_back_by_itself_and_ends_when_the_event_is_closed(
    page: Page, client: httpx.Client, gala: str, tmp_path: Path
) -> None:
    """Goes on where the test before it has left the page."""
    await go_to(page, f"#/events/{gala}/live")
    assert await page.evaluate("document.getElementById('video') === null")  # the view before has ended
    # The next stream is lost at once, as when a proxy ends it.
    await page.evaluate(
        "(() => { const Real = window.WebSocket; window.lost = 0;"
        "window.WebSocket = class extends Real { constructor(...given) { super(...given);"
        "if (!window.lost++) this.addEventListener('open', () => this.close(4000)); } }; })()"
    )
    await page.click("button", "Start the camera")
    await page.wait_for(banner_is("trouble"))
    await page.wait_for(banner_is("match"))
    assert await page.evaluate("window.lost") == 2
    await page.click("button", "Sound")
    assert await page.evaluate("document.getElementById('sound').getAttribute('aria-pressed')") == "false"
    assert client.post(f"/v1/events/{gala}/close").status_code == 200
    await page.wait_for("document.getElementById('choose')?.innerText.includes('closed')")
    await page.look(tmp_path / "closed-light.png")
    await page.click("button", "Sign out")
    await page.find("button", "Sign in")


STREAM_WITH_FAKES = """(async () => {
  const { LiveStream } = await import(new URL("console/service/live_stream.js", document.baseURI));
  const real = [window.WebSocket, window.fetch, window.setTimeout];
  const setSoon = window.setTimeout.bind(window);
  const session = { token: "old", refreshToken: "once", expiresAt: performance.now() + 600_000 };
  const codes = %s, opened = [], sent = [], delays = [];
  let refreshes = 0;
  window.fetch = async () => {
    refreshes += 1;
    if (refreshes === 1) throw new TypeError("no network");
    const told = { access_token: `new ${refreshes}`, refresh_token: "again", expires_in_s: 900 };
    return new Response(JSON.stringify(told), { status: 200 });
  };
  window.setTimeout = (work, ms) => { delays.push(ms); return ms > 100_000 ? 0 : setSoon(work, ms / 1000); };
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    readyState = 1;
    constructor() { super(); opened.push(this); setSoon(() => this.live(codes.shift())); }
    live(code) {
      if (code === "silent") return;
      this.dispatchEvent(new Event("open"));
      if (code) this.dispatchEvent(Object.assign(new Event("close"), { code }));
      else this.dispatchEvent(new MessageEvent("message", { data: '{"type": "ready"}' }));
    }
    send(text) { sent.push(JSON.parse(text)); }
    close() {}
  };
  const end = await new Promise((done) => {
    const ends = (_, isSignedOut) => done(isSignedOut ? "signed out" : "ended");
    const told = { ready: () => done("ready"), faces() {}, waits() {}, ends };
    new LiveStream(session, "gala", {}, () => null, told).open();
  });
  opened.at(-1).readyState = 3;
  [window.WebSocket, window.fetch, window.setTimeout] = real;
  return { end, tokens: sent.map(({ token }) => token), delays };
})()"""


async def test_a_stream_outlives_what_a_door_meets_with(page: Page, service: Service) -> None:
    """The page's own client before sockets that end as they are told; its waits are cut short."""
    await page.open(f"{service.url}/")
    # A long outage, in which the token expired, and the first renewal meets with it too.
    told = await page.evaluate(STREAM_WITH_FAKES % "[1006, 1006, 1006, 4401, 4401]")
    assert (told["end"], told["tokens"]) == ("ready", ["old"] * 5 + ["new 2"])
    assert 838 <= max(told["delays"]) / 1000 <= 840  # the next renewal: a minute before the end of 900 s
    # A connection that never says anything is given up; no two pages come back at the same moments.
    delays = [(await page.evaluate(STREAM_WITH_FAKES % '["silent", 1012]'))["delays"] for _ in range(2)]
    assert 15_000 in delays[0]
    assert delays[0] != delays[1]
    assert (await page.evaluate(STREAM_WITH_FAKES % "[4401, 4401, 4401, 4401]"))["end"] == "signed out"
    assert (await page.evaluate(STREAM_WITH_FAKES % "[4404]"))["end"] == "ended"
