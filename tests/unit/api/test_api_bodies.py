"""The forms in which a picture may arrive."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.api.api_fakes import picture
from tests.unit.api.api_problems import check_problem
from tests.unit.api.conftest import Api

ADA = picture("ada")
PEOPLE, RECOGNISE = "/v1/events/gala/people", "/v1/events/gala/recognise"


def url_safe(data: bytes, *, padded: bool = True) -> str:
    text = base64.urlsafe_b64encode(data).decode()
    return text if padded else text.rstrip("=")


def with_url_safe_characters() -> bytes:
    """A picture whose base64 differs between the two alphabets and needs padding."""
    for n in range(1000):
        data = picture("ada", salt=str(n))
        plain = base64.b64encode(data).decode()
        if "+" in plain and "/" in plain and plain.endswith("="):
            return data
    raise AssertionError


def request_forms() -> dict[str, dict[str, Any]]:
    """One picture of Ada in every form that is documented."""
    plain = base64.b64encode(ADA).decode()
    return {
        "multipart": {"files": [("picture", ("p.png", ADA, "image/png"))]},
        "multipart, field pictures": {"files": [("pictures", ("p.png", ADA, "application/octet-stream"))]},
        "base64": {"json": {"picture": plain}},
        "base64, list": {"json": {"pictures": [plain]}},
        "base64 in lines": {
            "json": {"picture": "\r\n".join(plain[i : i + 76] for i in range(0, len(plain), 76))}
        },
        "data URI": {"json": {"picture": f"data:image/png;base64,{plain}"}},
        "data URI, upper case": {"json": {"picture": f"DATA:image/png;BASE64,{plain}"}},
        "URL-safe base64": {"json": {"picture": url_safe(with_url_safe_characters())}},
        "raw": {"content": ADA, "headers": {"Content-Type": "image/png"}},
        "raw, parameters": {"content": ADA, "headers": {"Content-Type": "Image/PNG; foo=bar"}},
        "raw, another image type": {"content": ADA, "headers": {"Content-Type": "image/heic"}},
        "octets": {"content": ADA, "headers": {"Content-Type": "application/octet-stream"}},
        "no content type": {"content": ADA},
    }


FORMS = request_forms()
EVERY_FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


@EVERY_FORM
async def test_enrolling_takes_every_form(gala: Api, form: dict[str, Any]) -> None:
    answer = await gala.client.post(PEOPLE, params={"person_id": "ada", "name": "Ada L"}, **form)
    assert answer.status_code == 201, answer.text
    person = answer.json()["person"]
    assert (person["id"], person["name"], len(person["face_ids"])) == ("ada", "Ada L", 1)
    assert await gala.outcomes(ADA) == [("match", "ada")]


@EVERY_FORM
async def test_recognising_takes_every_form(gala: Api, form: dict[str, Any]) -> None:
    await gala.enrol("ada", ADA)
    answer = await gala.client.post(RECOGNISE, **form)
    assert answer.status_code == 200, answer.text
    assert answer.json()["faces"][0]["person"]["person_id"] == "ada"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
async def test_the_stage_gets_the_very_bytes(gala: Api, format: str) -> None:
    data = picture(format=format)
    await gala.client.post(RECOGNISE, content=data)
    assert gala.stages.calls == [("detect", data)]


async def test_url_safe_base64_without_padding(gala: Api) -> None:
    text = url_safe(with_url_safe_characters(), padded=False)
    for given in (text, f"data:image/png;base64,{text}"):
        answer = await gala.client.post(RECOGNISE, json={"picture": given})
        assert answer.status_code == 200, answer.text


async def test_fields_come_by_query_form_or_json(gala: Api) -> None:
    fields = {"person_id": "ada@example.org", "name": "Ada Ł."}
    encoded = base64.b64encode(ADA).decode()
    answers = [
        await gala.client.post(PEOPLE, params=fields, content=ADA),
        await gala.client.post(PEOPLE, data=fields, files={"picture": ADA}),
        await gala.client.post(PEOPLE, json={**fields, "pictures": [encoded]}),
        await gala.client.post(PEOPLE, json={**fields, "picture": encoded}, params=fields),
        await gala.client.post(PEOPLE, json={"name": fields["name"], "person_id": None, "picture": encoded},
                               params={"person_id": fields["person_id"]}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 201, answer.text
        person = answer.json()["person"]
        assert (person["id"], person["name"]) == (fields["person_id"], fields["name"])
    assert len((await gala.client.get(PEOPLE)).json()["people"]) == 1


@pytest.mark.parametrize("field", ["person_id", "name"])
async def test_fields_that_contradict_are_refused(gala: Api, field: str) -> None:
    answer = await gala.client.post(
        PEOPLE, params={field: "one"}, data={field: "two"}, files={"picture": ADA}
    )
    assert field in check_problem(answer, "invalid_request")["detail"]
    assert gala.stages.calls == []


async def test_a_form_field_given_twice_is_refused(gala: Api) -> None:
    boundary = "b"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="person_id"\r\n\r\n{person}\r\n'.encode()
        for person in ("ada", "bob")
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'.encode()
    body = b"".join(parts) + head + ADA + f"\r\n--{boundary}--\r\n".encode()
    answer = await gala.client.post(
        PEOPLE, content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    check_problem(answer, "invalid_request")


@pytest.mark.parametrize(("charset", "name"), [("UTF-8", "Ł"), ("latin1", "é"), ("us-ascii", "e")])
async def test_a_form_in_a_usual_charset(gala: Api, charset: str, name: str) -> None:
    text = f'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n'.encode(charset)
    head = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    answer = await gala.client.post(
        PEOPLE, content=text + head + ADA + b"\r\n--b--\r\n", headers={"Content-Type": kind}
    )
    assert answer.json()["person"]["name"] == name


async def test_a_json_field_given_twice_is_refused(gala: Api) -> None:
    encoded = base64.b64encode(ADA).decode()
    content = f'{{"person_id": "ada", "picture": "{encoded}", "person_id": "bob"}}'
    answer = await gala.client.post(PEOPLE, content=content, headers={"Content-Type": "application/json"})
    assert check_problem(answer, "invalid_request")["context"]["field"] == "person_id"


@pytest.mark.parametrize("field", ["person_id", "name"])
async def test_an_empty_field_is_not_one_left_out(gala: Api, field: str) -> None:
    encoded = base64.b64encode(ADA).decode()
    for answer in (
        await gala.client.post(PEOPLE, json={"picture": encoded, field: ""}),
        await gala.client.post(PEOPLE, files={"picture": ADA, field: (None, "")}),
        await gala.client.post(PEOPLE, content=ADA, params={field: ""}),
    ):
        assert field in check_problem(answer, "invalid_request")["detail"]
    assert gala.stages.calls == []


async def test_json_pictures_count_decoded_and_as_they_came(gala: Api, make_api: Callable[..., Any]) -> None:
    held: list[int] = []

    async def look(data: bytes) -> None:
        held.append(gala.services.gate.bytes)

    gala.stages.before["detect"] = look
    content = json.dumps({"picture": base64.b64encode(ADA).decode()})
    answer = await gala.client.post(RECOGNISE, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    [most] = held
    assert 0 <= most - len(content) - len(ADA) <= 2
    assert gala.services.gate.bytes == 0

    narrow = await make_api(
        picture={"max_bytes": 2**19}, load={"max_body_bytes": 2**20, "max_pending_bytes": 2**20}
    )
    await narrow.create_event()
    large = base64.b64encode(bytes(600_000)).decode()
    check_problem(await narrow.client.post(RECOGNISE, json={"picture": large}), "overloaded")
    assert (narrow.services.gate.requests, narrow.services.gate.bytes) == (0, 0)


async def test_without_an_id_one_is_made(gala: Api) -> None:
    first = (await gala.client.post(PEOPLE, content=ADA)).json()["person"]
    second = (await gala.client.post(PEOPLE, content=picture("bob"))).json()["person"]
    assert first["id"] != second["id"]
    assert first["name"] is None
    assert await gala.outcomes(ADA) == [("match", first["id"])]


BAD_BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown form field": ({"files": {"picture": ADA}, "data": {"person": "x"}}, "person"),
    "unknown file field": ({"files": {"photo": ADA}}, "photo"),
    "unknown JSON field": ({"json": {"picture": base64.b64encode(ADA).decode(), "url": "http://x"}}, "url"),
    "JSON field not text": ({"json": {"picture": base64.b64encode(ADA).decode(), "name": 3}}, "name"),
    "JSON list": ({"json": [1]}, "object"),
    "JSON text": ({"json": "x"}, "object"),
    "no JSON": ({"content": b"{", "headers": {"Content-Type": "application/json"}}, "JSON"),
    "deep JSON": ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, "JSON"),
    "not UTF-8": ({"content": b'{"name":"\xff"}', "headers": {"Content-Type": "application/json"}}, "JSON"),
    "empty JSON": ({"content": b"", "headers": {"Content-Type": "application/json"}}, "JSON"),
    "no picture in JSON": ({"json": {"name": "Ada"}}, "no picture"),
    "no picture in list": ({"json": {"pictures": []}}, "no picture"),
    "no picture in form": ({"files": {"name": (None, "Ada")}}, "no picture"),
    "picture null": ({"json": {"picture": None}}, "base64"),
    "picture number": ({"json": {"picture": 7}}, "base64"),
    "not base64": ({"json": {"picture": "!!!!"}}, "base64"),
    "not ASCII": ({"json": {"picture": "ÄÄÄÄ"}}, "base64"),
    "a URL": ({"json": {"picture": "https://example.org/ada.jpg"}}, "URL"),
    "a file URL": ({"json": {"picture": "file:///etc/passwd"}}, "URL"),
    "data URI without base64": ({"json": {"picture": "data:image/png,abc"}}, "data URI"),
    "data URI without comma": ({"json": {"picture": "data:image/png;base64"}}, "data URI"),
    "no boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "multipart"),
    "broken form": (
        {"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, "multipart"
    ),
    "part without a name": (
        {
            "content": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
        "multipart",
    ),
    "part without disposition": (
        {
            "content": b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n",
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
        "multipart",
    ),
    "field too long": ({"files": {"picture": ADA, "name": (None, "x" * 70_000)}}, "multipart"),
    "too many fields": (
        {"files": {"picture": ADA, **{f"f{n}": (None, "x") for n in range(40)}}}, "multipart"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("form", "words"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_bodies_of_another_form_are_refused(gala: Api, form: dict[str, Any], words: str) -> None:
    assert words in check_problem(await gala.client.post(PEOPLE, **form), "invalid_request")["detail"]
    check_problem(await gala.client.post(RECOGNISE, **form), "invalid_request")
    assert gala.stages.calls == []
    assert (gala.services.gate.requests, gala.services.gate.bytes) == (0, 0)


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "undefined", "rot13", "utf-16", "none-such", '"a b"']
)
async def test_a_form_in_an_odd_charset(gala: Api, charset: str) -> None:
    content = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\xff\r\n--b--\r\n'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    answer = await gala.client.post(RECOGNISE, content=content, headers={"Content-Type": kind})
    check_problem(answer, "invalid_request")


async def test_a_multipart_form_cut_off_before_its_end(gala: Api) -> None:
    request = gala.client.build_request("POST", PEOPLE, files={"picture": ADA})
    body = b"".join([chunk async for chunk in request.stream])  # type: ignore[union-attr]
    answer = await gala.client.post(
        PEOPLE, content=body[: len(body) // 2], headers={"Content-Type": request.headers["content-type"]}
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("invalid_request", "truncated_picture")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", "nonsense"])
async def test_other_content_types_are_refused(gala: Api, kind: str) -> None:
    answer = await gala.client.post(RECOGNISE, content=ADA, headers={"Content-Type": kind})
    assert kind in check_problem(answer, "unsupported_picture_type")["detail"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_an_image"),
        (b"hello, world", "not_an_image"),
        (b"GIF89a" + bytes(40), "unsupported_picture_type"),
        (b"<svg onload=alert(1)>", "unsupported_picture_type"),
        (ADA[:60], "truncated_picture"),
        (picture(width=31, height=200), "picture_too_small"),
        (picture(width=300, height=200), "too_many_pixels"),
        (ADA + bytes(9000), "picture_too_large"),
    ],
)
async def test_a_picture_is_checked_before_any_stage(
    make_api: Callable[..., Any], data: bytes, code: str
) -> None:
    api = await make_api(picture={"max_pixels": 50_000, "max_bytes": 8000})
    await api.create_event()
    multipart = {"files": [("picture", ("a", ADA)), ("picture", ("b", data))]}
    check_problem(await api.client.post(RECOGNISE, content=data), code)
    check_problem(await api.client.post(RECOGNISE, json={"picture": base64.b64encode(data).decode()}), code)
    problem = check_problem(await api.client.post(PEOPLE, **multipart), code)
    assert problem["context"]["picture"] == 1
    assert api.stages.calls == []
