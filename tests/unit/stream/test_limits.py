"""How many streams there may be."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from serving.api.stream.limits import StreamPlaces
from serving.errors import TooManyStreams


def test_one_network_does_not_take_all_places_of_those_without_a_name() -> None:
    places = StreamPlaces(max_open=8, max_per_caller=8)
    for _ in range(2):  # what was held is given back
        with ExitStack() as held:
            for _ in range(2):
                held.enter_context(places.knock("192.0.2.1"))
            with pytest.raises(TooManyStreams, match="this network"):
                held.enter_context(places.knock("192.0.2.1"))
            for network in ("192.0.2.2", *[None] * 5):  # where nobody vouches for addresses, all share
                held.enter_context(places.knock(network))
            with pytest.raises(TooManyStreams):
                held.enter_context(places.knock("192.0.2.3"))
    assert places._nameless.total() == 0
