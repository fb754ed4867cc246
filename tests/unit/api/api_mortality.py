"""A process that dies between any two steps of a request."""

from __future__ import annotations

import inspect
from typing import Any


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


class Mortality:
    """Counts what a request asks of registry and gallery, and ends the process before or after one of them.

    From that moment nothing reaches registry or gallery any more, so that clean-up does not happen either.
    """

    def __init__(self, dies_at: int) -> None:
        self._dies_at = dies_at
        self._steps = 0
        self.is_dead = False

    def step(self) -> None:
        """One more moment at which the process may die."""
        if self._steps == self._dies_at:
            self.is_dead = True
        self._steps += 1
        if self.is_dead:
            raise Killed


class Mortal:
    """An object whose asynchronous methods are what `Mortality` counts."""

    def __init__(self, inner: Any, mortality: Mortality) -> None:
        self._inner = inner
        self._mortality = mortality

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "requests":
            return Mortal(found, self._mortality)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._mortality.step()
            result = await found(*args, **kwargs)
            self._mortality.step()
            return result

        return call
