"""Made by client_generator from docs/openapi.json: all groups of methods."""

from __future__ import annotations

from rollcall_client.async_routes.accounts import AsyncAccountsRoutes
from rollcall_client.async_routes.analysis import AsyncAnalysisRoutes
from rollcall_client.async_routes.api_keys import AsyncApiKeysRoutes
from rollcall_client.async_routes.audit import AsyncAuditRoutes
from rollcall_client.async_routes.authentication import AsyncAuthenticationRoutes
from rollcall_client.async_routes.check_ins import AsyncCheckInsRoutes
from rollcall_client.async_routes.events import AsyncEventsRoutes
from rollcall_client.async_routes.jobs import AsyncJobsRoutes
from rollcall_client.async_routes.migration import AsyncMigrationRoutes
from rollcall_client.async_routes.operations import AsyncOperationsRoutes
from rollcall_client.async_routes.people import AsyncPeopleRoutes
from rollcall_client.async_routes.recognition import AsyncRecognitionRoutes
from rollcall_client.base_routes import AsyncPerformer


class AllAsyncRoutes:
    """Every route of the service, by group."""

    def __init__(self, performer: AsyncPerformer) -> None:
        self.accounts = AsyncAccountsRoutes(performer)
        self.analysis = AsyncAnalysisRoutes(performer)
        self.api_keys = AsyncApiKeysRoutes(performer)
        self.audit = AsyncAuditRoutes(performer)
        self.authentication = AsyncAuthenticationRoutes(performer)
        self.check_ins = AsyncCheckInsRoutes(performer)
        self.events = AsyncEventsRoutes(performer)
        self.jobs = AsyncJobsRoutes(performer)
        self.migration = AsyncMigrationRoutes(performer)
        self.operations = AsyncOperationsRoutes(performer)
        self.people = AsyncPeopleRoutes(performer)
        self.recognition = AsyncRecognitionRoutes(performer)
