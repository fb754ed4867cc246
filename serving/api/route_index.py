"""What each route is to the audit trail and the limits, found before the request is routed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fastapi import APIRouter
from fastapi.routing import APIRoute

Group = Literal["recognition", "enrolment", "management"]

RECOGNITION_TAGS = frozenset({"recognition", "stateless"})
ENROLMENT_ACTIONS = frozenset({"people.enrol", "people.add_faces", "jobs.import"})
CHANGING_RECOGNITIONS = frozenset({"recognition.check_in"})
PERSONAL_TAGS = frozenset({"people", "accounts", "audit"})
"""Whose reading is in the audit trail: they answer with what is known of people."""
PERSONAL_ACTIONS = frozenset({"jobs.get_result", "jobs.get_rejections", "check_ins.list", "migration.get"})
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SINGULARS = {"people": "person"}


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What a route is.

    Attributes:
        action: such as `people.enrol`: the router's tag, and the function's name without the noun of the tag.
        method: `GET`, `POST`, ...
        path: with its parameters in braces.
        group: which rate limit it falls under.
    """

    action: str
    method: str
    path: str
    group: Group

    @property
    def is_recognition(self) -> bool:
        """Whether it works on pictures and changes nothing."""
        return self.group == "recognition" and self.action not in CHANGING_RECOGNITIONS

    @property
    def is_change(self) -> bool:
        """Whether it changes what is stored."""
        return self.method in WRITES and not self.is_recognition

    @property
    def is_personal_read(self) -> bool:
        """Whether it answers with what is stored about people."""
        return self.method == "GET" and (
            self.action.partition(".")[0] in PERSONAL_TAGS or self.action in PERSONAL_ACTIONS
        )


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """A route, and what stands in the path for its `{event}`, its `{person}` and its other parameters."""

    facts: RouteFacts
    event: str | None = None
    person: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RouteIndex:
    """Finds a route by comparing with those of the same method and number of segments only."""

    routes: list[RouteFacts] = field(default_factory=list)
    _patterns: dict[tuple[str, int], list[tuple[re.Pattern[str], RouteFacts]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @classmethod
    def of(cls, routers: Iterable[APIRouter]) -> RouteIndex:
        """The index of all routes in these routers, in the order in which they are matched."""
        index = cls()
        for router in routers:
            for facts in _describe(router):
                index.routes.append(facts)
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(facts.path))
                key = facts.method, facts.path.count("/")
                index._patterns[key].append((re.compile(pattern), facts))
        return index

    def find(self, method: str, path: str) -> FoundRoute | None:
        """The route that answers, None where there is none."""
        for pattern, facts in self._patterns.get((method, path.count("/")), ()):
            if found := pattern.fullmatch(path):
                named = found.groupdict()
                return FoundRoute(facts, named.pop("event", None), named.pop("person", None), named)
        return None


def _describe(router: APIRouter) -> Iterator[RouteFacts]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            tag = str(route.tags[0]) if route.tags else "other"
            action = f"{tag.replace('-', '_').replace(' ', '_')}.{_verb(route.name, tag)}"
            for method in sorted(route.methods or ()):
                yield RouteFacts(action, method, route.path, _group(tag, action))


def _verb(name: str, tag: str) -> str:
    for noun in (SINGULARS.get(tag, tag.removesuffix("s")), tag):
        name = name.removesuffix("_" + noun.replace("-", "_").replace(" ", "_"))
    return name


def _group(tag: str, action: str) -> Group:
    if tag in RECOGNITION_TAGS:
        return "recognition"
    return "enrolment" if action in ENROLMENT_ACTIONS else "management"
