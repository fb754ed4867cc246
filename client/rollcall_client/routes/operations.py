"""Made by client_generator from docs/openapi.json: methods of operations."""

from __future__ import annotations

from rollcall_client.base_routes import Routes
from rollcall_client.models import Health, ModelView
from rollcall_client.requests import operations as requests


class OperationsRoutes(Routes):
    """Routes of operations."""

    def health(self, *, timeout_s: float | None = None) -> Health:
        """Is this process alive?

        Answers without asking anything else; needs no token.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.get_health(), timeout_s)

    def readiness(self, *, timeout_s: float | None = None) -> Health:
        """Can a picture be recognised now?

        Asks every stage and store; needs no token. The answer is remembered for a second.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.get_readiness(), timeout_s)

    def model(self, *, timeout_s: float | None = None) -> ModelView:
        """Which model serves?

        The default model pack, its licence, its default threshold, what other thresholds cost; and
        `packs`.

        New events are of the default pack unless they name another one of `packs`.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.get_model(), timeout_s)

    def metrics(self, *, timeout_s: float | None = None) -> str:
        """What Prometheus reads.

        The text format of Prometheus; needs `metrics.token`, or an administrator.

        Args:
            timeout_s: the most that all tries together take; the client's own by default
        """
        return self._performer.perform(requests.get_metrics(), timeout_s)
