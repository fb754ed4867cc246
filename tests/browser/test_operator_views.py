"""Operations, API keys and the audit trail of the console, in a real browser before the real service."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from loadtest.service import Service
from serving.accounts.identities import Scope
from tests.browser.chromium import OpenPage, Page
from tests.browser.expositions import (
    QUANTILES,
    SAMPLES,
    compute_quantile,
    count_scrapes,
    read_metrics,
    replicas_of,
    total,
)
from tests.browser.visits import check_page, go_to, sign_in, wait_for_view

pytestmark = pytest.mark.asyncio(loop_scope="module")
SENT = 12
ROWS = """[...document.querySelectorAll('#%s tbody tr')]
  .map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(open_page: OpenPage, service: Service, token: str) -> Page:
    """One tab in which the administrator has come in."""
    page = await open_page()
    await sign_in(page, service, token)
    await wait_for_view(page)
    return page


async def rows_of(page: Page, table: str) -> list[list[str]]:
    return list(await page.evaluate(ROWS % table))


def fetch_token(client: httpx.Client, name: str, password: str) -> str:
    answer = client.post("/v1/auth/sign-in", json={"name": name, "password": password})
    return str(answer.json()["access_token"])


async def test_the_numbers_of_operations_agree_with_what_was_sent(
    page: Page, service: Service, client: httpx.Client, event: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    _, before = read_metrics(client)
    await go_to(page, "#/operations")
    await page.wait_for("/the last \\d+ s/.test(document.getElementById('updated').innerText)")
    picture = samples["guest"].read_bytes()
    for _ in range(3):
        assert client.post(f"{event}/recognise", content=picture).status_code == 200
    await page.wait_for("Number(document.querySelector('#tile-faces .number').innerText) > 0")
    for _ in range(SENT):
        assert client.delete(f"/v1/api-keys/{secrets.token_hex(8)}").status_code == 404
    # Errors by code: [code, per second, in this time, since the start]
    await page.wait_for(
        f"({ROWS % 'errors-by-code'}).some((row) => row[0] === 'unknown_api_key' && row[2] === '{SENT}')"
    )
    # All of these at one moment, between two readings of the page.
    shown = await page.evaluate(
        "({ updated: document.getElementById('updated').innerText,"
        "requests: document.getElementById('tile-requests').innerText,"
        f"codes: {ROWS % 'errors-by-code'}, routes: {ROWS % 'routes'} }})"
    )
    _, after = read_metrics(client)
    seconds = int(re.search(r"the last (\d+) s", shown["updated"])[1])  # type: ignore[index]
    rate, count = re.search(r"([\d.]+)\s*/s\s+(\d+) in this time", shown["requests"]).groups()  # type: ignore[union-attr]
    rise = total(after, "rollcall_http_requests") - total(before, "rollcall_http_requests")
    assert SENT <= int(count) <= rise
    assert int(count) / (seconds + 0.5) - 0.05 <= float(rate) <= int(count) / (seconds - 0.5) + 0.05
    [code] = [row for row in shown["codes"] if row[0] == "unknown_api_key"]
    assert int(code[2]) == SENT
    assert int(code[3].replace(",", "")) == total(after, "rollcall_errors", code="unknown_api_key")
    [route] = [row for row in shown["routes"] if row[0] == "DELETE /v1/api-keys/{key}"]
    assert int(route[2]) == SENT
    assert re.fullmatch(r"[\d.]+ m?s", route[4])
    end = time.monotonic() + 60  # a stage may be adding one
    while {row[0]: int(row[1]) for row in await rows_of(page, "deployments")} != replicas_of(after):
        assert time.monotonic() < end
        await asyncio.sleep(0.2)
        _, after = read_metrics(client)
    assert "ready" in (await page.text_of("readiness")).lower()
    pack = client.get("/v1/model").json()["pack_id"]
    assert pack in await page.text_of("serving")
    line = await page.evaluate("document.querySelector('#tile-requests svg').ariaLabel")
    assert re.match(r"Requests: now [\d.]+ /s; of the last \d+ values", line)
    live = "#operations :is([role=status], [role=alert], [aria-live]):not(#operations-problem)"
    assert await page.evaluate(f"document.querySelectorAll('{live}').length") == 0
    await page.look(tmp_path / "operations-light.png", height=2200)
    await page.look(tmp_path / "operations-phone.png", width=390, height=844, phone=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await check_page(page, service)


async def test_quantiles_between_two_readings(
    page: Page, client: httpx.Client, event: str, samples: dict[str, Path]
) -> None:
    picture = samples["guest"].read_bytes()
    first, before = read_metrics(client)
    for _ in range(4):
        assert client.post(f"{event}/recognise", content=picture).status_code == 200
        assert client.get(event).status_code == 200
    sent = {"method": "POST", "route": "/v1/events/{event}/recognise"}
    second, after = read_metrics(client)
    while (
        total(after, "rollcall_http_requests", **sent) < total(before, "rollcall_http_requests", **sent) + 4
    ):
        await asyncio.sleep(0.2)  # an answer is put together once a second at most
        second, after = read_metrics(client)
    cases = [
        (name, label, value, share)
        for name, label, value in (
            ("rollcall_http_request_seconds", "method", "GET"),
            ("rollcall_http_request_seconds", "route", "/v1/events/{event}/recognise"),
            ("rollcall_stage_call_seconds", "stage", "detector"),
            ("rollcall_batch_tasks", "stage", "embedder"),
            ("rollcall_batch_seconds", "stage", "nowhere"),
        )
        for share in (0.01, 0.5, 0.95, 0.99, 1.0)
        if value != "nowhere" or share == 0.5
    ]
    computed = [None if case[2] == "nowhere" else compute_quantile(before, after, case) for case in cases]
    shown = await page.evaluate(QUANTILES % (json.dumps([first, second]), json.dumps(cases)))
    assert [value for value in computed if value] != []
    for case, mine, theirs in zip(cases, computed, shown, strict=True):
        assert theirs == (None if mine is None else pytest.approx(mine, rel=1e-9)), case


async def test_the_text_of_the_metrics_is_read_as_prometheus_reads_it(
    page: Page, client: httpx.Client
) -> None:
    odd = (
        '# HELP odd A "help" {with="braces"} 1\n# TYPE odd gauge\n'
        'odd{a="b\\\\n\\n\\"c\\",d=",e="{",} 1.5e-07\nodd{a="\u00e9 #"} +Inf\nodd{a="t"} -3 1700000000000\n'
        "# TYPE bare counter\nbare_total 1234567890.0\n\n"
    )
    text = read_metrics(client)[0] + odd
    told = await page.evaluate(SAMPLES % json.dumps(text))
    mine = sorted(
        (name, [tuple(pair) for pair in labels], float(value.replace("Infinity", "inf")))
        for name, labels, value in told
    )
    theirs = sorted(
        (sample.name, sorted(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )
    assert len(theirs) > 100
    assert mine == theirs


async def test_several_nodes_are_kept_apart_and_metrics_may_be_off(
    page: Page, client: httpx.Client, tmp_path: Path
) -> None:
    """The browser is given the answers of other nodes in the service's place."""
    text, _ = read_metrics(client)
    elsewhere = re.sub(r'pid="(\d+)"', r'pid="9\1"', text)
    elsewhere = re.sub(r"(rollcall_gallery_faces\{[^}]*\}) .*", r"\1 4711.0", elsewhere)
    answers = [text, elsewhere]

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        if not answers:
            return {"responseCode": 404, "body": base64.b64encode(b"{}").decode()}
        answers.append(answers.pop(0))
        return {"responseCode": 200, "body": base64.b64encode(answers[-1].encode()).decode()}

    await go_to(page, "#/audit")
    await page.intercept("*/metrics", answer)
    try:
        await go_to(page, "#/operations")
        await page.wait_for("document.getElementById('node')?.options.length === 2")
        assert "this node's numbers" in await page.text_of("scope")
        assert "4,711" not in await page.text_of("tile-gallery")
        await page.find("combobox", "Node")
        await page.evaluate(
            "(() => { const node = document.getElementById('node'); node.value = 'Node 2';"
            "node.dispatchEvent(new Event('change')); })()"
        )
        await page.wait_for("document.getElementById('tile-gallery').innerText.includes('4,711')")
        answers.clear()
        await go_to(page, "#/audit")
        await go_to(page, "#/operations")
        await page.wait_for(
            "document.getElementById('operations-problem').innerText.includes('switched off')"
        )
        assert await page.evaluate("!document.getElementById('numbers').checkVisibility()")
        await go_to(page, "#/audit")
    finally:
        await page.command("Fetch.disable")
    page.events[:] = [each for each in page.events if "404" not in json.dumps(each["params"])]


async def test_a_key_is_made_works_and_is_revoked(
    page: Page,
    service: Service,
    client: httpx.Client,
    as_client: Callable[[str | None], httpx.Client],
    event: str,
    tmp_path: Path,
) -> None:
    event_id = event.rpartition("/")[2]
    name = f"door {secrets.token_hex(4)}"
    await go_to(page, "#/operations")
    await go_to(page, "#/api-keys")
    asked = count_scrapes(page)
    told = await page.evaluate(
        'import(new URL("console/views/api_keys.js", document.baseURI)).then(({ SCOPES }) =>'
        "SCOPES.map(({ scope, permissions }) => [scope, permissions]))"
    )
    assert {scope: set(permissions) for scope, permissions in told} == {
        scope.value: {permission.value for permission in scope.permissions} for scope in Scope
    }
    await page.fill("textbox", "Name", name)
    await page.click("button", "Make the key")
    await page.wait_for("document.getElementById('make-key-problem').innerText.includes('Choose what')")
    await page.click("checkbox", "Recognise: ask who is in a picture; detect and compare faces")
    await page.click("button", "Make the key")
    await page.wait_for("document.getElementById('make-key-problem').innerText.includes('one event')")
    await page.evaluate(f"document.querySelector('[data-event=\"{event_id}\"] input').click()")
    await page.click("button", "Make the key")
    await page.wait_for("document.getElementById('key-text') !== null")
    key = await page.text_of("key-text")
    assert "this once" in await page.text_of("made")
    assert key not in await page.evaluate("location.href + document.title")
    await page.click("button", "Copy")
    await page.look(tmp_path / "the-key-phone.png", width=390, height=844, phone=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    with as_client(key) as machine:
        assert machine.get(event).status_code == 200
        assert machine.get("/v1/audit").status_code == 403
        [made] = [
            each
            for each in client.get("/v1/api-keys", params={"limit": 1000}).json()["api_keys"]
            if each["name"] == name
        ]
        assert (made["scopes"], made["events"], made["all_events"]) == (["recognise"], [event_id], False)
        assert made["expires_at"] is not None

        await go_to(page, "#/audit")
        everything = (
            "document.documentElement.outerHTML"
            "+ [...document.querySelectorAll('input, textarea')].map((each) => each.value).join()"
        )
        assert key not in await page.evaluate(everything)
        await go_to(page, "#/api-keys")
        assert key not in await page.evaluate(everything)
        await page.click("button", f"Revoke {name}")
        await page.click("button", "Cancel")
        assert machine.get(event).status_code == 200
        await page.click("button", f"Revoke {name}")
        await page.click("button", "Revoke")
        await page.wait_for(f"document.getElementById('notice').innerText === '{name} is revoked.'")
        assert machine.get(event).status_code == 401
    assert not [row for row in await rows_of(page, "api-keys") if name in row[0]]
    await page.click("checkbox", "Show also keys that are revoked or expired")
    [row] = [row for row in await rows_of(page, "api-keys") if name in row[0]]
    assert "Revoked" in row[6]
    assert count_scrapes(page) == asked  # whoever has left the numbers asks for them no more
    await check_page(page, service)


async def test_the_trail_is_filtered_linked_to_and_exported(
    page: Page, service: Service, client: httpx.Client, tmp_path: Path
) -> None:
    made = client.post(
        "/v1/api-keys", json={"name": "soon gone", "scopes": ["read"], "all_events": True}
    ).json()
    assert client.delete(f"/v1/api-keys/{made['id']}").status_code == 204
    assert client.delete(f"/v1/api-keys/{made['id']}").status_code == 404
    await go_to(page, "#/audit")
    await page.fill("combobox", "What", "api_keys.revoke")
    await page.press_enter()
    await page.wait_for("location.hash === '#/audit?action=api_keys.revoke'")
    await page.wait_for(f"({ROWS % 'audit'}).every((row) => row[2] === 'api_keys.revoke')")
    newest, before = (await rows_of(page, "audit"))[:2]
    assert (newest[1], newest[5]) == ("tester", "✗ unknown_api_key")
    assert (before[1], before[5]) == ("tester", "✓ ok")

    await go_to(page, "#/events")
    await go_to(page, "#/audit?action=api_keys.revoke&outcome=ok&from=2020-01-01T00:00:00.000Z")
    shown = await rows_of(page, "audit")
    assert shown[0] == before
    assert {row[5] for row in shown} == {"✓ ok"}
    assert await page.evaluate("document.querySelector('#audit-filters [name=outcome]').value") == "ok"
    assert await page.evaluate("document.querySelector('#audit-filters [name=from]').value !== ''")
    await page.look(tmp_path / "audit-dark.png", scheme="dark")
    await page.look(tmp_path / "audit-phone.png", width=390, height=844, phone=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390

    await page.keep_downloads(tmp_path)
    filters = {"action": "api_keys.revoke", "outcome": "ok", "from": "2020-01-01T00:00:00.000Z"}
    for form, button in (("csv", "Export CSV"), ("ndjson", "Export JSON lines")):
        await page.click("button", button)
        file = tmp_path / f"audit.{form}"
        await page.wait_for(f"document.getElementById('notice').innerText.startsWith('audit.{form}')")
        told = client.get("/v1/audit/export", params={**filters, "format": form}).content
        end = time.monotonic() + 30
        while time.monotonic() < end and not (file.exists() and file.stat().st_size >= len(told)):
            await page.evaluate("new Promise((done) => setTimeout(done, 50))")
        assert file.read_bytes() == told
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "audit.csv").read_text())))) >= len(shown)
    await check_page(page, service)


async def test_an_account_is_made_changed_disabled_and_deleted(
    page: Page,
    service: Service,
    client: httpx.Client,
    as_client: Callable[[str | None], httpx.Client],
    event: str,
    tmp_path: Path,
) -> None:
    name, event_id = f"grace-{secrets.token_hex(4)}", event.rpartition("/")[2]
    await go_to(page, "#/accounts")
    await page.fill("textbox", "Name", name)
    password = secrets.token_hex(12)
    await page.fill("textbox", "Password", password)
    await page.evaluate(f"document.querySelector('[data-event=\"{event_id}\"] input').click()")
    await page.click("button", "Make the account")
    await page.wait_for(f"document.getElementById('notice').innerText.includes('{name} is made')")
    assert await page.evaluate(
        "[...document.querySelectorAll('input[type=password]')].every((e) => !e.value)"
    )
    with as_client(fetch_token(client, name, password)) as grace:
        me = grace.get("/v1/auth/whoami").json()
        assert (me["role"], me["events"]) == ("member", [event_id])

        await page.click("button", f"Change {name}")
        await page.wait_for("document.getElementById('change-account') !== null")
        await page.evaluate("document.querySelector('#change-account [name=role]').value = 'operator'")
        await page.click("checkbox", "All events, also those to come")
        await page.look(tmp_path / "accounts-phone.png", width=390, height=844, phone=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.click("button", "Save")
        await page.wait_for(f"document.getElementById('notice').innerText.startsWith('{name} is changed')")
        account = client.get(f"/v1/accounts/{me['id']}").json()
        assert (account["role"], account["all_events"]) == ("operator", True)

        await page.click("button", f"Disable {name}")
        await page.click("button", "Disable")
        await page.wait_for(f"document.getElementById('notice').innerText === '{name} is disabled.'")
        assert grace.get("/v1/auth/whoami").status_code == 401
    await page.click("button", f"Delete {name}")
    await page.fill("textbox", f"Type {name} to go on", name)
    await page.click("button", "Delete")
    await page.wait_for(f"document.getElementById('notice').innerText === 'The account {name} is deleted.'")
    assert client.get(f"/v1/accounts/{me['id']}").status_code == 404
    assert not [row for row in await rows_of(page, "accounts") if name in row[0]]
    await check_page(page, service)


async def test_a_member_sees_none_of_it(
    page: Page, service: Service, client: httpx.Client, tmp_path: Path
) -> None:
    name = f"member-{secrets.token_hex(4)}"
    password = secrets.token_hex(12)
    account = client.post("/v1/accounts", json={"name": name, "password": password, "all_events": True})
    assert account.status_code == 201, account.text
    await page.click("button", "Sign out")
    await sign_in(page, service, fetch_token(client, name, password), "/#/events")
    await wait_for_view(page)
    links = await page.evaluate("[...document.querySelectorAll('#pages a')].map((each) => each.innerText)")
    assert "Events" in links
    assert not {"Operations", "API keys", "Audit trail", "Accounts"} & set(links)
    for path, right in (
        ("operations", "read_operations"),
        ("api-keys", "manage_api_keys"),
        ("audit?action=api_keys.revoke", "read_audit"),
        ("accounts", "manage_accounts"),
    ):
        await go_to(page, f"#/{path}")
        assert f"needs the right {right}" in await page.text_of("view")
        assert await page.evaluate(
            "document.querySelector('#operations, #api-keys, #audit, #accounts') === null"
        )
    client.delete(f"/v1/accounts/{account.json()['id']}")
