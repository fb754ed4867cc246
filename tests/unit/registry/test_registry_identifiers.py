from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequest
from serving.registry.identifiers import (
    EVENT_ID_PATTERN,
    MAX_NAME_CHARS,
    PERSON_ID_PATTERN,
    check_account_name,
    check_event_id,
    check_face_id,
    check_name,
    check_person_id,
    generate_event_key,
    generate_id,
    is_event_id,
    is_person_id,
)
from serving.registry.paging import read_cursor, write_cursor

ALPHANUMERIC = string.ascii_letters + string.digits
EVENT_CHARACTERS = ALPHANUMERIC + "._:-"
PERSON_CHARACTERS = EVENT_CHARACTERS + "@+"


def ids(characters: str) -> st.SearchStrategy[str]:
    return st.builds(str.__add__, st.sampled_from(ALPHANUMERIC), st.text(characters, max_size=127))


@given(ids(EVENT_CHARACTERS))
def test_event_ids_of_the_documented_form_are_taken_unchanged(value: str) -> None:
    assert check_event_id(value) == value
    assert check_face_id(value) == value
    assert re.search(EVENT_ID_PATTERN, value)


@given(ids(PERSON_CHARACTERS))
def test_person_ids_of_the_documented_form_are_taken_unchanged(value: str) -> None:
    assert check_person_id(value) == value
    assert check_account_name(value) == value
    assert re.search(PERSON_ID_PATTERN, value)


@given(st.text())
def test_any_text_is_judged_by_its_characters(value: str) -> None:
    for is_valid, characters in ((is_event_id, EVENT_CHARACTERS), (is_person_id, PERSON_CHARACTERS)):
        expected = 1 <= len(value) <= 128 and value[0] in ALPHANUMERIC and set(value) <= set(characters)
        assert is_valid(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "../x", "a/b", "a b", "a\n", "a\x00", "é", "１", "-a", "a%2f", "a" * 129, None, 7],
)
def test_bad_ids_are_refused_with_their_rule(value: str) -> None:
    for check in (check_event_id, check_person_id, check_face_id, check_account_name):
        with pytest.raises(InvalidRequest) as caught:
            check(value)
        assert caught.value.context["pattern"] in (EVENT_ID_PATTERN, PERSON_ID_PATTERN)
        assert caught.value.context["max_chars"] == 128


def test_only_people_may_look_like_mail_addresses() -> None:
    assert check_person_id("ada+vip@example.org") == "ada+vip@example.org"
    with pytest.raises(InvalidRequest):
        check_event_id("ada@example.org")


@pytest.mark.parametrize(
    "name", ["Ada", "李小龍", "नमस्ते", "👩‍🚀 Sally", "O'Brien; DROP", "x" * MAX_NAME_CHARS, None]
)
def test_names_of_any_script_are_taken(name: str | None) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "a\x00", "\x1b[31m", "\x85x", "\ud800", "a\u2028b", "x" * 201]
)
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_name(name)
    assert caught.value.context["field"] == "name"


def test_generated_ids_are_valid_distinct_and_unambiguous() -> None:
    made = {generate_id() for _ in range(2000)}
    assert len(made) == 2000
    assert all(is_event_id(each) and is_person_id(each) and not set(each) & set("0o1ilIO") for each in made)
    assert len({generate_event_key() for _ in range(100)}) == 100


@given(ids(PERSON_CHARACTERS))
def test_cursors_come_back_and_belong_to_their_list(value: str) -> None:
    cursor = write_cursor("person", value)
    assert read_cursor("person", cursor) == value
    assert set(cursor) <= set(ALPHANUMERIC + "-_")
    with pytest.raises(InvalidRequest) as caught:
        read_cursor("event", cursor)
    assert caught.value.context["field"] == "cursor"


@given(st.text(min_size=1))
def test_made_up_cursors_are_refused_or_harmless(cursor: str) -> None:
    try:
        last_id = read_cursor("person", cursor)
    except InvalidRequest:
        return
    assert write_cursor("person", last_id).rstrip("=") == cursor.rstrip("=")
