"""People in the console: a newcomer's way by camera, enrolment from files, the list, one person.

Each flow is asked of the page, and then of the service.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import pytest_asyncio

from loadtest.service import Service
from tests.browser.chromium import OpenPage, Page, run_chromium
from tests.browser.people_pages import (
    COUNT_URLS,
    DROP,
    HOLD,
    MARKS,
    NAMES,
    SIDES_OF_SECOND,
    check_shape,
    complaints_but,
    fill_event,
    forget_answers,
    lay_on_side,
    reach,
    recognise,
    text,
    wait_until_judged,
)
from tests.browser.scenes import allow_camera, set_scene, show_film
from tests.browser.visits import banner_is, check_page, go_to, sign_in, wait_for_view

pytestmark = pytest.mark.asyncio(loop_scope="module")
FRAMES = 60, 90
"""Of the first and the second person, two and three seconds: somebody is unknown after more than one."""
SOON = 0.15
"""Until the page is drawn for another screen."""
PHONE: dict[str, Any] = {"width": 390, "phone": True, "settle_s": SOON}
MANY = 60
"""People: more than one page of the list."""


@pytest.fixture(scope="module")
def short_film(samples: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people before the camera, in turn."""
    scenes = set_scene(samples["guest"], 1.7), set_scene(samples["portrait"], 3)
    path = tmp_path_factory.mktemp("film") / "two.mjpeg"
    path.write_bytes(b"".join(scene * count for scene, count in zip(scenes, FRAMES, strict=True)))
    return path


@pytest.fixture(scope="module")
def pictures(samples: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that people may choose, good ones and others."""
    folder = tmp_path_factory.mktemp("pictures")
    guest = cv2.imread(str(samples["guest"]))
    shaken = cv2.GaussianBlur(guest, (0, 0), 7)
    wall = np.full((480, 640, 3), 128, np.uint8)
    found = {"blurred.jpg": shaken, "wall.jpg": wall}
    for name, picture in found.items():
        cv2.imwrite(str(folder / name), picture)
    (folder / "phone.jpg").write_bytes(lay_on_side(guest))
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    return {path.name: path for path in folder.iterdir()} | {
        f"{name}{path.suffix}": path for name, path in samples.items()
    }


@pytest.fixture(scope="module")
def chromium(
    chromium_program: str, short_film: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    profile = tmp_path_factory.mktemp("chromium")
    with run_chromium(chromium_program, profile, show_film(short_film)) as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="module")
async def page(open_page: OpenPage, service: Service) -> Page:
    """A tab where nobody has signed in."""
    page = await open_page()
    await allow_camera(page, service, "granted")
    return page


async def test_a_newcomer_enrols_by_camera_is_recognised_and_is_unknown_once_erased(
    page: Page,
    service: Service,
    client: httpx.Client,
    token: str,
    pictures: dict[str, Path],
    tmp_path: Path,
) -> None:
    """The steps of README.md from the sign-in on; `rollcall admin create` and `token` came before."""
    await sign_in(page, service, token)
    await reach(page, "Events")
    if await page.evaluate("document.getElementById('create').hidden"):  # shown where there is no event yet
        await page.click("button", "Create an event")
    await page.fill("textbox", "Name", "My first event")
    await page.click("button", "Create")
    await page.wait_for("document.getElementById('where').innerText === 'My first event'")
    await wait_for_view(page)
    event = str(await page.evaluate("location.hash.split('/')[2]"))

    await page.click("link", "Enrol")
    await reach(page, "Enrol a person")
    assert await page.evaluate("document.activeElement.name") == "name"
    await page.fill("textbox", "Name", "Me")
    await page.click("button", "Use the camera")
    await page.wait_for("document.activeElement.innerText === 'Take picture'")
    await page.evaluate("window.track = document.getElementById('video').srcObject.getTracks()[0]")
    await page.click("button", "Take picture")
    assert await wait_until_judged(page, 1) == ["good"]
    await page.look(tmp_path / "camera-phone-dark.png", height=1900, scheme="dark", **PHONE)
    await check_shape(page)
    await check_page(page, service)
    await page.click("button", "Save")
    await reach(page, "Me is enrolled")
    assert await page.evaluate("window.track.readyState") == "ended"
    await page.look(tmp_path / "saved-light.png", settle_s=SOON)
    [person] = client.get(f"/v1/events/{event}/people").json()["people"]
    assert (person["name"], person["faces"]) == ("Me", 1)

    # Whoever is next finds the camera open, but not after a way round.
    await page.find("link", "Try it: Live")
    await page.intercept(f"*/v1/events/{event}", lambda _: {"responseCode": 503})
    await page.click("button", "Enrol another")
    await reach(page, "This cannot be shown")
    await page.command("Fetch.disable")
    await go_to(page, f"#/events/{event}")
    await page.click("link", "Enrol")
    await reach(page, "Enrol a person")
    await page.find("button", "Use the camera")
    assert await page.evaluate("document.getElementById('video').srcObject") is None
    forget_answers(page, 503)

    await page.click("link", "Live")
    await reach(page, "Live")
    await page.click("button", "Start the camera")
    await page.wait_for(banner_is("match"))
    assert await page.text_of("banner-title") == "Me"
    await page.wait_for("document.querySelector('#arrivals li[data-kind=unknown]') !== null")
    assert await page.text_of("known") == "1"
    known = [recognise(client, event, pictures[name]) for name in ("guest.jpg", "portrait.png")]
    assert known in ([[person["id"]], [None]], [[None], [person["id"]]])

    await page.click("link", "People")
    await reach(page, "People")
    await page.click("button", "Erase Me")
    await page.click("button", "Erase")
    await page.wait_for("document.getElementById('notice').innerText === 'Me was erased.'")
    assert "Nobody is enrolled yet." in await text(page)
    assert client.get(f"/v1/events/{event}/people").json()["people"] == []
    await page.click("link", "Live")
    await reach(page, "Live")
    await page.click("button", "Start the camera")
    await page.wait_for(banner_is("unknown"))
    assert await page.text_of("known") == "0"
    for name in ("guest.jpg", "portrait.png"):
        assert recognise(client, event, pictures[name]) == [None]
    await check_page(page, service)


async def test_pictures_from_files_are_judged_before_they_are_saved(
    page: Page, service: Service, client: httpx.Client, token: str, pictures: dict[str, Path], tmp_path: Path
) -> None:
    asked = {"name": "Autumn fair", "consent_required": True}
    event = client.post("/v1/events", json=asked).json()["id"]
    await sign_in(page, service, token, f"/#/events/{event}/enrol")
    await reach(page, "Enrol a person")
    await page.evaluate(COUNT_URLS)
    chosen = ("guest.jpg", "phone.jpg", "blurred.jpg", "wall.jpg", "group.jpg", "photo.heic")
    await page.choose_files("Pictures from files", *(pictures[name] for name in chosen))
    assert await wait_until_judged(page, 5) == ["good", "good", "bad", "bad", "bad"]
    boxes = "[...document.querySelectorAll('.tray li > figure')].map(e => e.querySelectorAll('rect').length)"
    assert await page.evaluate(boxes) == [1, 1, 1, 0, 6]
    told = await page.evaluate("[...document.querySelectorAll('.tray .faults')].map(e => e.innerText)")
    assert "Blurred. Hold the camera and the head still" in told[2]
    assert told[3].startswith("No face was found.")
    assert told[4].startswith("6 faces are in it.")
    assert "cannot read photo.heic" in await text(page)
    assert await page.evaluate(SIDES_OF_SECOND) == [True, 1600]
    await page.look(tmp_path / "judged-dark.png", scheme="dark", height=1300, settle_s=SOON)
    await page.look(tmp_path / "judged-phone.png", height=2200, **PHONE)
    await check_shape(page)
    await page.click("button", "Remove picture 5")
    assert await page.evaluate("document.activeElement.ariaLabel") == "Remove picture 4"
    await page.fill("textbox", "Name", "A guest")
    await page.fill("textbox", "Id", "guest")
    await page.click("button", "Save")
    assert await page.evaluate("document.querySelector('#view input:invalid').name") == "consent"
    await page.fill("textbox", "Consent reference", "form-117")

    # The service is away for a moment: the same is saved again, under the same key, and once.
    keys: list[str] = []

    def fail_once(paused: dict[str, Any]) -> dict[str, Any] | None:
        if paused["request"]["method"] != "POST":
            return None
        keys.append(paused["request"]["headers"]["Idempotency-Key"])
        return {"responseCode": 503} if len(keys) == 1 else None

    await page.intercept(f"*/v1/events/{event}/people", fail_once)
    await page.click("button", "Save")
    await page.wait_for("document.getElementById('enrolment-problem').innerText !== ''")
    await page.evaluate(HOLD % json.dumps("POST .*/people$"))
    await page.click("button", "Save")
    await page.wait_for("window.release !== undefined")
    # Meanwhile no picture comes, and none goes.
    assert await page.evaluate("document.querySelector('.tray').closest('[inert]') !== null")
    await page.evaluate("window.release()")
    await reach(page, "A guest is enrolled")
    await page.command("Fetch.disable")
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert "2, not good enough" in await text(page)
    assert await page.evaluate("window.urls") == 0
    person = client.get(f"/v1/events/{event}/people/guest").json()
    assert (person["name"], person["consent_reference"], len(person["face_ids"])) == (
        "A guest",
        "form-117",
        2,
    )
    assert recognise(client, event, pictures["guest.jpg"]) == ["guest"]

    # Somebody who is enrolled: by the id, and by the face.
    await page.click("button", "Enrol another")
    await reach(page, "Enrol a person")
    await page.fill("textbox", "Name", "A twin")
    await page.fill("textbox", "Id", "guest")
    await page.fill("textbox", "Consent reference", "form-118")
    await page.choose_files("Pictures from files", pictures["guest.jpg"])
    assert await wait_until_judged(page, 1) == ["good"]
    await page.click("button", "Save")
    await page.wait_for(
        "document.querySelector('.choice-of-person').innerText.includes('has the id guest already')"
    )
    await page.evaluate("document.querySelector('#view input[name=id]').value = 'twin'")
    await page.click("button", "Save")
    await page.wait_for(
        "document.querySelector('.choice-of-person').innerText.includes('looks like A guest')"
    )
    await page.look(tmp_path / "duplicate-light.png", settle_s=SOON)
    await page.find("button", "It is A guest: add the pictures there")
    await page.click("button", "It is somebody else: enrol all the same")
    await reach(page, "A twin is enrolled")
    assert len(client.get(f"/v1/events/{event}/people/twin").json()["face_ids"]) == 1
    assert complaints_but(page, 404, 409, 503) == []


async def test_where_nothing_may_be_analysed_the_service_judges_at_saving(
    page: Page, service: Service, client: httpx.Client, pictures: dict[str, Path], tmp_path: Path
) -> None:
    event = client.post("/v1/events", json={"name": "Small fair"}).json()["id"]
    asked = {"name": "desk", "scopes": ["enrol", "read"], "events": [event]}
    key = client.post("/v1/api-keys", json=asked).json()["key"]
    await sign_in(page, service, key, f"/#/events/{event}/enrol")
    await reach(page, "Enrol a person")
    await page.evaluate(
        DROP
        % json.dumps(
            [base64.b64encode(pictures[name].read_bytes()).decode() for name in ("blurred.jpg", "guest.jpg")]
        )
    )
    assert await wait_until_judged(page, 2) == ["unjudged", "unjudged"]
    await page.fill("textbox", "Name", "A guest")
    await page.click("button", "Save")
    await page.wait_for(
        "document.getElementById('enrolment-problem').innerText.includes('picture 1 was refused')"
    )
    assert await page.evaluate(MARKS) == ["bad", "unjudged"]
    assert "Blurred." in await text(page, ".tray li")
    await page.look(tmp_path / "refused-light.png", height=1100, settle_s=SOON)
    assert client.get(f"/v1/events/{event}/people").json()["people"] == []
    await page.click("button", "Save")
    await reach(page, "A guest is enrolled")
    [person] = client.get(f"/v1/events/{event}/people").json()["people"]
    assert (person["name"], person["faces"]) == ("A guest", 1)
    assert complaints_but(page, 422) == []


async def test_people_are_found_renamed_given_faces_and_erased(
    page: Page, service: Service, client: httpx.Client, token: str, pictures: dict[str, Path], tmp_path: Path
) -> None:
    event = client.post("/v1/events", json={"name": "Large fair", "retention_days": 30}).json()["id"]
    fill_event(client, event, MANY)
    people = f"/v1/events/{event}/people"
    await sign_in(page, service, token, f"/#/events/{event}/people")
    await reach(page, "People")
    assert len(await page.evaluate(NAMES)) == 50
    await page.look(tmp_path / "list-phone-dark.png", height=844, scheme="dark", **PHONE)
    await check_shape(page)
    await page.click("button", "Show more")
    await page.wait_for(f"{NAMES}.length === {MANY}")
    assert await page.evaluate("document.activeElement.innerText") == "Person 50"

    await page.fill("searchbox", "Find by name", "SON 4")
    await page.press_enter()
    await page.wait_for(f"{NAMES}.length === 11")
    assert "Person 4" in await page.evaluate(NAMES)
    await page.fill("searchbox", "Find by name", "zzz")
    await page.press_enter()
    await page.wait_for("document.querySelector('.empty').checkVisibility()")
    await page.click("button", "Show everybody")
    await page.wait_for(f"{NAMES}.length === 50")

    # One of them.
    await page.click("link", "Person 7")
    await reach(page, "Person 7")
    assert "then erased by itself: 30 days after the last change" in await text(page)
    await page.look(tmp_path / "person-light.png", settle_s=SOON)
    await page.look(tmp_path / "person-phone-dark.png", height=1500, scheme="dark", **PHONE)
    await check_shape(page)
    await page.evaluate("document.querySelector('#view input[name=name]').value = ''")
    await page.fill("textbox", "Name", "Grace Hopper")
    await page.fill("textbox", "Consent reference", "form-7")
    await page.click("button", "Save changes")
    await reach(page, "Grace Hopper")
    changed = client.get(f"{people}/p07").json()
    assert (changed["name"], changed["consent_reference"]) == ("Grace Hopper", "form-7")

    await page.click("link", "Add faces")
    await reach(page, "Add faces of Grace Hopper")
    await page.choose_files("Pictures from files", pictures["guest.jpg"])
    assert await wait_until_judged(page, 1) == ["good"]
    await page.click("button", "Save")
    await reach(page, "Grace Hopper has more faces")
    assert "looks little like the others" in await text(page)  # the vector was made up
    assert recognise(client, event, pictures["guest.jpg"]) == ["p07"]
    await page.click("link", "See Grace Hopper")
    await reach(page, "2 faces")
    [old] = changed["face_ids"]
    [new] = set(client.get(f"{people}/p07").json()["face_ids"]) - {old}
    await page.click("button", f"Erase face {new}")
    await page.click("button", "Erase face")
    await reach(page, "1 face")
    assert client.get(f"{people}/p07").json()["face_ids"] == [old]
    assert recognise(client, event, pictures["guest.jpg"]) == [None]
    await page.click("button", "Erase this person")
    await page.click("button", "Cancel")
    assert client.get(f"{people}/p07").status_code == 200
    await page.click("button", "Erase this person")
    await page.click("button", "Erase")
    await page.wait_for("document.getElementById('notice').innerText === 'Grace Hopper was erased.'")
    assert "Grace Hopper" not in await page.evaluate(NAMES)
    assert client.get(f"{people}/p07").status_code == 404
    await check_page(page, service)

    # At a closed event people are looked at and erased, and nobody is enrolled.
    assert client.post(f"/v1/events/{event}/close").status_code == 200
    await go_to(page, f"#/events/{event}/enrol")
    await reach(page, "Enrol")
    assert "This event was closed" in await text(page)
    await go_to(page, f"#/events/{event}/people/p07")
    await reach(page, "This cannot be shown")
    assert complaints_but(page, 404) == []
