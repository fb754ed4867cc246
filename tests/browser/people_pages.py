"""What the views of people show, the pictures that are given to them, and what the service then says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from tests.browser.chromium import Page

IMPORTED_WITHIN_S = 60
MARKS = "[...document.querySelectorAll('.tray .mark')].map(e => e.dataset.kind)"
SIDES_OF_SECOND = """(({ naturalWidth: width, naturalHeight: height }) =>
  [height > width, Math.max(height, width)])(document.querySelectorAll(".tray img")[1])"""
"""Whether the second picture stands upright, and its longer side."""
COUNT_URLS = """(() => { window.urls = 0;
  for (const [name, more] of [["createObjectURL", 1], ["revokeObjectURL", -1]]) {
    const real = URL[name].bind(URL);
    URL[name] = (given) => { window.urls += more; return real(given); };
  } })()"""
"""From now on `window.urls` says how many pictures the page holds by an address of their own."""
DROP = """(() => { const held = new DataTransfer();
  for (const text of %s) {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    held.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
  }
  const given = { dataTransfer: held, bubbles: true, cancelable: true };
  const zone = document.querySelector(".drop-zone");
  for (const kind of ["dragover", "drop"]) zone.dispatchEvent(new DragEvent(kind, given));
  })()"""
"""Drop JPEGs, a JSON list of base64, where pictures are dropped."""
HOLD = """(() => { const [real, held] = [window.fetch, new RegExp(%s)];
  delete window.release;
  window.fetch = async (url, options) => {
    const answer = await real(url, options);
    if (!window.release && held.test(`${options.method} ${url}`)) {
      await new Promise((done) => { window.release = done; });
    }
    return answer;
  } })()"""
"""The next answer of a request whose method and address fit the pattern waits until `window.release()`."""
NAMES = "[...document.querySelectorAll('table.people tbody a')].map(e => e.innerText)"


def lay_on_side(picture: np.ndarray[Any, Any]) -> bytes:
    """The JPEG of a phone: 12 million pixels, lying on its side, with a note how it was held (Exif 6)."""
    side = cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE)
    side = cv2.resize(side, (4000, 4000 * side.shape[0] // side.shape[1]), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", side)[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def recognise(client: httpx.Client, event: str, picture: Path) -> list[str | None]:
    """The ids of those recognised in the picture, None for unknown faces."""
    answer = client.post(f"/v1/events/{event}/recognise", files={"picture": picture.read_bytes()})
    assert answer.status_code == 200, answer.text
    return [face["person"] and face["person"]["person_id"] for face in answer.json()["faces"]]


async def text(page: Page, selector: str = "#view") -> str:
    return str(await page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))


async def reach(page: Page, title: str) -> None:
    """Until a view with this heading is there."""
    await page.wait_for(
        f"[...document.querySelectorAll('#view h2')].some(e => e.innerText.includes({json.dumps(title)}))"
        " && !document.getElementById('view').ariaBusy"
    )


async def wait_until_judged(page: Page, count: int) -> list[str]:
    """What became of each picture."""
    await page.wait_for(f"{MARKS}.length === {count} && !{MARKS}.includes('looking')")
    return list(await page.evaluate(MARKS))


async def check_shape(page: Page) -> None:
    """Nothing is wider than the screen, nor than the card it stands in."""
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    wider = "[...document.querySelectorAll('.card')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert await page.evaluate(wider) == 0


def complaints_but(page: Page, *statuses: int) -> list[str]:
    """Complaints, without those about answers that the test has asked for."""
    asked = tuple(
        f"Failed to load resource: the server responded with a status of {each}" for each in statuses
    )
    return [each for each in page.complaints() if not each.startswith(asked)]


def forget_answers(page: Page, *statuses: int) -> None:
    """Take these answers, which the test has asked for, out of what was told."""
    told = {f"Failed to load resource: the server responded with a status of {each}" for each in statuses}
    page.events = [
        each
        for each in page.events
        if each["method"] != "Log.entryAdded" or each["params"]["entry"]["text"].split(" (")[0] not in told
    ]


def fill_event(client: httpx.Client, event: str, count: int) -> None:
    """So many people with faces that nobody has, by an import of vectors."""
    pack = client.get(f"/v1/events/{event}").json()["pack_id"]
    dimension = client.get("/v1/model").json()["dimension"]
    vectors = np.random.default_rng(7).normal(size=(count, dimension))
    lines = [
        {
            "person_id": f"p{place:02}",
            "name": f"Person {place}",
            "pack_id": pack,
            "faces": [{"vector": list(vector)}],
        }
        for place, vector in enumerate(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    ]
    answer = client.post(
        f"/v1/events/{event}/imports?on_duplicate=allow",
        content="".join(json.dumps(line) + "\n" for line in lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 202, answer.text
    end = time.monotonic() + IMPORTED_WITHIN_S
    while (job := client.get(f"/v1/events/{event}/jobs/{answer.json()['id']}").json())["state"] != "done":
        assert time.monotonic() < end, job
        time.sleep(0.1)
    assert job["rejected"] == 0, job
