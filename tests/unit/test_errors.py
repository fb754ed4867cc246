from __future__ import annotations

import ast
import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import serving
from serving import errors
from serving.errors import (
    ALL_ERRORS,
    CommandError,
    ConfigurationError,
    EvaluationDataError,
    PackError,
    RayNotStarted,
    RollcallError,
)

BEFORE_THE_SERVICE_IS_UP = (ConfigurationError, CommandError, EvaluationDataError, PackError, RayNotStarted)
STATUSES = {400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 500, 503, 504}


def subclasses(kind: type[RollcallError] = RollcallError) -> Iterator[type[RollcallError]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith(f"{errors.__name__}."):
            yield each
            yield from subclasses(each)


EVERY_ERROR = pytest.mark.parametrize("kind", list(subclasses()), ids=lambda kind: kind.code)


def test_whatever_a_client_can_meet_is_listed() -> None:
    met = {kind for kind in subclasses() if not issubclass(kind, BEFORE_THE_SERVICE_IS_UP)}
    assert met == set(ALL_ERRORS)
    assert len(set(ALL_ERRORS)) == len(ALL_ERRORS)


def test_codes_titles_and_cures_are_each_kinds_own() -> None:
    kinds = list(subclasses())
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert len({kind.title for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.code == kind.code.lower()
        assert kind.code.replace("_", "").isalpha()
        assert kind.title[0].isupper()
        assert not kind.title.endswith(".")
        assert kind.cure.endswith(".")


@EVERY_ERROR
def test_statuses_are_sane(kind: type[RollcallError]) -> None:
    assert kind.status in STATUSES
    if kind.status in (429, 503, 504):
        assert kind.retry_after_s is not None
    if kind.retry_after_s is not None:
        assert 0 < kind.retry_after_s <= 60


@EVERY_ERROR
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_errors_travel_between_processes(kind: type[RollcallError], protocol: int) -> None:
    error = kind("what happened", limit=3, boxes=[[1.0, 2.0]])
    for arrived in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(arrived) is kind
        assert (arrived.detail, arrived.context) == (error.detail, error.context)
        assert str(arrived) == "what happened"
    changed = pickle.loads(pickle.dumps(error))
    changed.context["more"] = 1
    assert "more" not in error.context


@EVERY_ERROR
def test_without_words_the_title_serves(kind: type[RollcallError]) -> None:
    assert kind().detail == kind().args[0] == kind.title
    assert kind(None).context == {}
    first, second = kind(), kind()
    first.context["x"] = 1
    assert second.context == {}
    assert json.dumps(first.context)


@EVERY_ERROR
def test_a_context_may_hold_any_key(kind: type[RollcallError]) -> None:
    context = {"detail": 1, "self": 2, "kind": 3, "context": {"detail": 4}}
    error = kind("x", **context)  # type: ignore[arg-type]
    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (each.detail, each.context) == ("x", context)
    error.context["an item"] = 5
    assert pickle.loads(pickle.dumps(error)).context == {**context, "an item": 5}


@pytest.mark.parametrize(
    "path", sorted(Path(serving.__file__).parent.rglob("*.py")), ids=lambda path: path.name
)
def test_no_code_is_defined_elsewhere(path: Path) -> None:
    """One package holds them all, for the API's document; a subclass elsewhere keeps its base's code."""
    if path.parent.name == "errors":
        return
    names = {kind.__name__ for kind in subclasses()} | {"RollcallError"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and {getattr(base, "id", None) for base in node.bases} & names:
            targets = [
                target for each in node.body if isinstance(each, ast.Assign) for target in each.targets
            ]
            assert not {getattr(target, "id", None) for target in targets} & {"code", "status"}, node.name
