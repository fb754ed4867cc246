"""Events that move to another model pack."""

from __future__ import annotations

from serving.errors.base import RollcallError


class PackChanged(RollcallError):
    code = "pack_changed"
    status = 409
    title = "The event began or ended a move to another model pack while this request ran"
    cure = "Try again after Retry-After seconds; nothing was enrolled."
    retry_after_s = 1.0


class MigrationRunning(RollcallError):
    code = "migration_running"
    status = 409
    title = "The event is moving to another model pack"
    cure = (
        "Finish or abort the migration first. In place of vectors send pictures, which both packs can embed."
    )


class NoMigration(RollcallError):
    code = "no_migration"
    status = 404
    title = "The event is not moving to another model pack"
    cure = "Begin with POST /v1/events/{event}/migration."


class MigrationIncomplete(RollcallError):
    code = "migration_incomplete"
    status = 409
    title = "People of the event have no face in the new model pack yet"
    cure = (
        "Send pictures of them (GET /v1/events/{event}/migration lists them), or finish with "
        "allow_missing=true: they stay enrolled, without a face."
    )
