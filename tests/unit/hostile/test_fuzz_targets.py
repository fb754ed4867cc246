"""The targets of `make fuzz` by Hypothesis, for a moment, in every run of the tests."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, make_seeds

CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff"])),
    ),
    max_size=6,
)


@functools.cache
def seeds_of(name: str) -> list[bytes]:
    return list(make_seeds(name))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_bytes_make_a_parser_fail_otherwise_than_documented(name: str, data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(seeds_of(name))))
    for share, patch in data.draw(CHANGES):
        at = int(share * len(changed))
        changed[at : at + len(patch)] = patch
    cut = data.draw(st.one_of(st.none(), st.floats(0, 1)))
    TARGETS[name](bytes(changed[: len(changed) if cut is None else int(cut * len(changed))]))
