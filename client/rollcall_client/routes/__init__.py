"""Made by client_generator from docs/openapi.json: all groups of methods."""

from __future__ import annotations

from rollcall_client.base_routes import Performer
from rollcall_client.routes.accounts import AccountsRoutes
from rollcall_client.routes.analysis import AnalysisRoutes
from rollcall_client.routes.api_keys import ApiKeysRoutes
from rollcall_client.routes.audit import AuditRoutes
from rollcall_client.routes.authentication import AuthenticationRoutes
from rollcall_client.routes.check_ins import CheckInsRoutes
from rollcall_client.routes.events import EventsRoutes
from rollcall_client.routes.jobs import JobsRoutes
from rollcall_client.routes.migration import MigrationRoutes
from rollcall_client.routes.operations import OperationsRoutes
from rollcall_client.routes.people import PeopleRoutes
from rollcall_client.routes.recognition import RecognitionRoutes


class AllRoutes:
    """Every route of the service, by group."""

    def __init__(self, performer: Performer) -> None:
        self.accounts = AccountsRoutes(performer)
        self.analysis = AnalysisRoutes(performer)
        self.api_keys = ApiKeysRoutes(performer)
        self.audit = AuditRoutes(performer)
        self.authentication = AuthenticationRoutes(performer)
        self.check_ins = CheckInsRoutes(performer)
        self.events = EventsRoutes(performer)
        self.jobs = JobsRoutes(performer)
        self.migration = MigrationRoutes(performer)
        self.operations = OperationsRoutes(performer)
        self.people = PeopleRoutes(performer)
        self.recognition = RecognitionRoutes(performer)
