"""Import, export and recognition by pictures in a real browser, before the real service."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from loadtest.service import Service
from serving.errors import ALL_ERRORS
from serving.registry.identifiers import is_person_id
from tests.browser.bulk_pages import ARCHIVE, BOX_COLOURS, HEAR, drop_files, wait_for_file, write_archive
from tests.browser.chromium import OpenPage, Page
from tests.browser.visits import check_page, go_to, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE: dict[str, Any] = {"width": 390, "height": 844, "phone": True}
MANY = 400
"""Pictures of an import that is stopped at once: several seconds of work on any machine."""


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(open_page: OpenPage, service: Service, token: str, downloads: Path) -> Page:
    """The console, where the administrator has signed in."""
    page = await open_page()
    await page.keep_downloads(downloads)
    await sign_in(page, service, token)
    return page


def state_of_newest(state: str) -> str:
    return f"document.querySelector('.jobs > li')?.dataset.state === '{state}'"


def lines_of(selector: str) -> str:
    return f"[...document.querySelectorAll({json.dumps(selector)})].map(each => each.innerText)"


async def test_an_archive_is_imported_and_what_was_rejected_says_why(
    page: Page,
    service: Service,
    client: httpx.Client,
    event: str,
    samples: dict[str, Path],
    downloads: Path,
    tmp_path: Path,
) -> None:
    guest, portrait, group = (samples[name].read_bytes() for name in ("guest", "portrait", "group"))
    people = b'{"person_id": "guest", "name": "A guest"}\n'
    archive = write_archive(
        tmp_path / "people.zip",
        {
            "guest/1.jpg": guest,
            "portrait.jpg": portrait,
            "group.jpg": group,
            "=broken/a.jpg": b"no picture",
            "broken.jpg": b"no picture",
            "notes.txt": b"no picture",
            "people.ndjson": people,
        },
    )
    await go_to(page, f"#/{event.removeprefix('/v1/')}/import")
    assert "Nothing has been imported" in await page.evaluate("document.body.innerText")
    await page.click("button", "Import")
    await page.wait_for("document.body.innerText.includes('Choose an archive or a folder first')")

    await page.choose_files("An archive", archive)
    await page.wait_for("document.querySelector('.chosen').innerText.startsWith('people.zip')")
    await page.evaluate(
        "(() => { const bar = document.querySelector('progress[aria-label=Upload]'); window.sent = [];"
        "new MutationObserver(() => window.sent.push(bar.value)).observe(bar, { attributes: true }); })()"
    )
    await page.evaluate(HEAR)
    await page.click("button", "Import")
    await page.wait_for(state_of_newest("done"))
    assert len(await page.evaluate("heard")) <= 2  # that it is sent, and which archive no longer
    assert max(await page.evaluate("window.sent")) == archive.stat().st_size
    assert await page.evaluate("document.activeElement.matches('.job')")
    figures = await page.evaluate("document.querySelector('.job .figures').innerText")
    assert figures == "6 of 6 pictures · 2 imported · 4 rejected"

    [job] = client.get(f"{event}/jobs").json()["jobs"]
    rejected = client.get(f"{event}/jobs/{job['id']}/rejections").json()["rejections"]
    assert len(rejected) == job["rejected"] == 4
    names = {each["id"]: each["name"] for each in client.get(f"{event}/people").json()["people"]}
    assert names == {"guest": "A guest", "portrait": None}

    await page.evaluate("document.querySelector('.job summary').click()")
    await page.wait_for("document.querySelectorAll('.rejections li').length === 4")
    shown = await page.evaluate(lines_of(".rejections li strong"))
    assert shown == [each["name"] for each in rejected]
    assert await page.evaluate("document.querySelectorAll('.rejections .hint').length") == 4
    await page.look(tmp_path / "import-done-dark.png", scheme="dark", height=1400)
    await page.look(tmp_path / "import-phone.png", **PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.click("button", "Download as CSV")
    text = (await wait_for_file(downloads, "rejected-*.csv")).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["code"] for row in rows] == [each["code"] for each in rejected]
    assert {row["name"] for row in rows} >= {"'=broken/a.jpg", "notes.txt"}  # and no formula
    assert all(row["reason"] and row["what helps"] for row in rows)
    await check_page(page, service)


async def test_a_folder_is_imported_and_its_job_goes_on_when_the_view_is_left(
    page: Page, service: Service, client: httpx.Client, event: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "guests"
    (folder / "Zoë Guest").mkdir(parents=True)
    (folder / "Zoë Guest" / "1.jpg").write_bytes(samples["guest"].read_bytes())
    (folder / "portrait.jpg").write_bytes(samples["portrait"].read_bytes())
    (folder / "notes.txt").write_text("no picture")
    view = f"#/{event.removeprefix('/v1/')}/import"
    await go_to(page, view)
    await drop_files(page, folder)
    await page.wait_for("document.querySelector('.chosen').innerText !== ''")
    chosen = await page.evaluate("document.querySelector('.chosen').innerText")
    assert chosen.startswith("2 pictures of 2 people, ")
    assert chosen.endswith("1 other file left out.")
    await page.click("button", "Import")
    await page.wait_for("document.querySelector('.jobs > li') !== null")
    await go_to(page, "#/events")
    await go_to(page, view)
    await page.wait_for(state_of_newest("done"))
    people = client.get(f"{event}/people").json()["people"]
    assert {each["id"]: each["name"] for each in people} == {
        "Zoe-Guest": "Zoë Guest",
        "portrait": None,
    }
    # The same by the browser's own choice of folders; everyone is there already.
    await page.choose_files("Or a folder of pictures", folder)
    await page.wait_for("document.querySelector('.chosen').innerText !== ''")
    assert await page.evaluate("document.querySelector('.chosen').innerText") == chosen
    await page.click("button", "Import")
    await page.wait_for("document.querySelectorAll('.job[data-state=done]').length === 2")
    assert client.get(event).json()["faces"] == 2


async def test_an_import_is_stopped_and_everyone_is_exported(
    page: Page,
    service: Service,
    client: httpx.Client,
    event: str,
    samples: dict[str, Path],
    downloads: Path,
    tmp_path: Path,
) -> None:
    guest = client.post(
        f"{event}/people",
        data={"person_id": "guest", "name": "A guest"},
        files={"picture": samples["guest"].read_bytes()},
    )
    assert guest.status_code == 201
    group = samples["group"].read_bytes()
    archive = write_archive(tmp_path / "many.zip", {f"person-{each}.jpg": group for each in range(MANY)})
    await go_to(page, f"#/{event.removeprefix('/v1/')}/import")
    await page.choose_files("An archive", archive)
    line = {"offline": False, "latency": 0, "downloadThroughput": -1}
    await page.command("Network.emulateNetworkConditions", **line, uploadThroughput=2_000_000)
    await page.click("button", "Import")
    await page.wait_for(
        "(() => { const { value, max } = document.querySelector('progress[aria-label=Upload]');"
        "return value > 0 && value < max; })()"
    )
    assert await page.evaluate(
        "!window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    )  # the browser asks before it closes or reloads the page
    for leave in ("location.hash = '#/events'", "history.back()"):
        await page.evaluate(leave)
        await page.wait_for("document.querySelector('dialog')?.innerText.includes('Stop sending?')")
        await page.click("button", "Cancel")
        await page.wait_for("document.querySelector('dialog') === null")
        assert await page.evaluate("location.hash.endsWith('/import')")
    await page.click("button", "Stop sending")
    await page.wait_for("document.getElementById('notice').innerText.startsWith('Nothing was imported')")
    await page.wait_for("document.activeElement.innerText === 'Import'")
    await page.command("Network.emulateNetworkConditions", **line, uploadThroughput=-1)
    assert client.get(f"{event}/jobs").json()["jobs"] == []
    assert await page.evaluate("window.dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    await page.click("button", "Import")
    await page.wait_for("document.querySelector('.job .figures')?.innerText.endsWith(' left')")
    await page.look(tmp_path / "import-running-light.png")
    await page.click("button", "Stop this import")
    await page.click("button", "Stop it")
    await page.wait_for(state_of_newest("cancelled"))
    [job] = client.get(f"{event}/jobs").json()["jobs"]
    assert job["state"] == "cancelled"
    assert job["done"] < MANY

    await page.click("button", "Export everyone…")
    await page.click("button", "Cancel")
    await page.wait_for("document.querySelector('dialog') === null")
    assert len(client.get(f"{event}/jobs").json()["jobs"]) == 1
    await page.click("button", "Export everyone…")
    await page.click("button", "Export everyone")
    await page.wait_for(state_of_newest("done"))
    await page.click("button", "Download the export")
    file = await wait_for_file(downloads, "people-*.ndjson")
    [person] = map(json.loads, file.read_text("utf-8").splitlines())
    assert (person["person_id"], person["name"], len(person["faces"])) == ("guest", "A guest", 1)
    job_id = client.get(f"{event}/jobs").json()["jobs"][0]["id"]
    assert file.read_bytes() == client.get(f"{event}/jobs/{job_id}/result").content
    await page.look(tmp_path / "export-done-light.png")
    await page.click("button", "Delete the file")
    await page.wait_for("document.body.textContent.includes('its file has been deleted since')")
    assert client.get(f"{event}/jobs/{job_id}/result").status_code == 404
    await check_page(page, service)


async def test_dropped_pictures_are_answered_with_boxes_and_names(
    page: Page,
    service: Service,
    client: httpx.Client,
    gala: str,
    samples: dict[str, Path],
    tmp_path: Path,
) -> None:
    answer = client.post(
        f"/v1/events/{gala}/recognise",
        params={"top_k": 3},
        content=samples["group"].read_bytes(),
        headers={"Content-Type": "image/jpeg"},
    ).json()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(samples["group"].read_bytes()[:200])
    await go_to(page, f"#/events/{gala}/recognise")
    await page.evaluate(
        "(() => { window.kept = new Set(); const [make, drop] = [URL.createObjectURL, URL.revokeObjectURL];"
        "URL.createObjectURL = (blob) => { const url = make.call(URL, blob); kept.add(url); return url; };"
        "URL.revokeObjectURL = (url) => { kept.delete(url); drop.call(URL, url); }; })()"
    )
    await page.evaluate(HEAR)
    await page.choose_files("Pictures", broken, samples["group"])
    await page.wait_for("document.querySelectorAll('.picture[data-state=answered]').length === 1")
    await page.wait_for("document.querySelector('progress[aria-label=\"Pictures answered\"]').hidden")
    assert await page.evaluate("document.querySelectorAll('.picture[data-state=failed]').length") == 1
    assert "cannot read broken.jpg" in await page.evaluate(
        "document.querySelector('.picture .problem').innerText"
    )

    expected = [face["outcome"] for face in answer["faces"]]
    assert sorted(expected) == ["match"] + ["unknown"] * 5
    lines = "[...document.querySelectorAll('.faces li[data-kind]')]"
    assert await page.evaluate(f"{lines}.map(each => each.dataset.kind)") == expected
    names = await page.evaluate(lines_of(".faces .who"))
    assert sorted(names) == ["? Unknown"] * 5 + ["✓ A guest"]
    figures = await page.evaluate(f"{lines}.map(each => each.querySelector('.hint').innerText)")
    for told, face in zip(figures, answer["faces"], strict=True):
        assert f"{face['candidates'][0]['cosine']:.4f}".removesuffix("0") in told
        assert "false match rate" in told
    assert await page.evaluate(f"{lines}.every(each => each.querySelectorAll('tbody tr').length === 1)")
    summary = await page.text_of("summary-words")
    assert summary == "1 person recognised · 5 unknown faces · 1 picture without an answer"
    assert await page.evaluate("heard") == ["Asking about 2 pictures.", summary]

    await page.evaluate("document.querySelectorAll('.picture')[0].remove()")  # so that the group is the first
    size = {"width": answer["width"], "height": answer["height"]}
    boxes = [face["box"] for face in answer["faces"]]
    colours = BOX_COLOURS % (json.dumps(size), json.dumps(boxes))
    drawn = [{"match": kind == "match", "unknown": kind == "unknown"} for kind in expected]
    screens: dict[str, dict[str, Any]] = {
        "light": {"height": 1500},
        "dark": {"scheme": "dark"},
        "phone": PHONE,
    }
    for name, screen in screens.items():
        await page.evaluate("document.querySelector('.picture').scrollIntoView()")
        await page.look(tmp_path / f"recognise-{name}.png", **screen)
        assert await page.evaluate(colours) == drawn, name
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.command("Emulation.clearDeviceMetricsOverride")

    await drop_files(page, samples["guest"])
    await page.wait_for("document.querySelectorAll('.picture[data-state=answered]').length === 2")
    await page.wait_for("document.querySelector('#summary td.number')?.innerText === '2'")
    await page.evaluate(
        "(async () => { const canvas = new OffscreenCanvas(64, 64);"
        "canvas.getContext('2d').fillRect(0, 0, 64, 64); const data = new DataTransfer();"
        "data.items.add(new File([await canvas.convertToBlob()], 'pasted.png', { type: 'image/png' }));"
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true })); })()"
    )
    await page.wait_for(
        "[...document.querySelectorAll('.picture')].at(-1).innerText.includes('No face was found')"
    )
    await page.evaluate(
        "(() => { const select = [...document.querySelectorAll('select')][0]; select.value = 'strict';"
        "select.dispatchEvent(new Event('change')); })()"
    )
    await page.click("button", "Ask again")
    await page.wait_for("document.querySelectorAll('.picture[data-state=answered]').length === 3")
    await page.wait_for("document.querySelector('progress[aria-label=\"Pictures answered\"]').hidden")
    asked = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
        and "/recognise?" in event["params"]["request"]["url"]
    ]
    assert sum("strictness=strict" in url for url in asked) == 3
    assert await page.evaluate("kept.size") > 0
    await check_page(page, service)
    await go_to(page, "#/events")
    assert await page.evaluate("kept.size") == 0


async def test_a_picture_too_large_for_the_service_is_sent_smaller(
    page: Page, client: httpx.Client, gala: str, samples: dict[str, Path]
) -> None:
    """The service is told to take less than it does: its first answer is replaced by a refusal."""
    refusals: list[dict[str, Any]] = []

    def refuse_once(paused: dict[str, Any]) -> dict[str, Any] | None:
        if refusals:
            return None
        refusals.append(paused)
        problem = {"code": "picture_too_large", "title": "Too many bytes", "context": {"max_bytes": 1000}}
        body = base64.b64encode(json.dumps(problem).encode()).decode()
        return {"responseCode": 413, "body": body}

    await page.intercept("*/recognise?*", refuse_once)
    try:
        await go_to(page, f"#/events/{gala}/recognise")
        await page.choose_files("Pictures", samples["guest"])
        await page.wait_for("document.querySelector('.picture[data-state=answered]') !== null")
    finally:
        await page.command("Fetch.disable")
    assert len(refusals) == 1
    assert await page.evaluate("document.querySelector('.faces .who').innerText") == "✓ A guest"


async def test_an_archive_made_in_the_page_is_one_that_everybody_reads(page: Page) -> None:
    paths = ["Ada Lovelace/1.jpg", "Ada Lovelace/2.PNG", "Ada-Lovelace.webp", "\u738b.jpg", "bob/1.jpeg"]
    others = ["a/b/c.jpg", "notes.txt", ".hidden.jpg"]
    made = await page.evaluate(ARCHIVE % json.dumps(paths + others))
    assert (made["people"], made["passedOver"]) == (4, others[:2])
    assert made["read"] == [1, 2, 3, 4, 5, 6]
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(made["archive"]))) as archive:
        assert archive.testzip() is None
        *names, last = archive.namelist()
        assert [archive.read(name).decode() for name in names] == paths
        lines = [json.loads(line) for line in archive.read(last).splitlines()]
    ids = [name.split("/")[0].split(".")[0] for name in names]
    assert ids[2:] == ["Ada-Lovelace", lines[1]["person_id"], "bob"]
    assert ids[0] == ids[1] == lines[0]["person_id"]
    assert [line["name"] for line in lines] == ["Ada Lovelace", "\u738b"]
    assert all(is_person_id(each) for each in ids)
    assert len(set(ids)) == 4


async def test_every_hint_is_of_an_error_that_there_is(page: Page) -> None:
    codes = await page.evaluate(
        "import(new URL('console/pictures/picture_problems.js', document.baseURI))"
        ".then(({ IMPORT_HINTS }) => Object.keys(IMPORT_HINTS))"
    )
    assert set(codes) <= {error.code for error in ALL_ERRORS}
