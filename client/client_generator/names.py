"""What things are called in the client, where the document's own names would not read well."""

from __future__ import annotations

import re

GROUPS = {
    "authentication": "authentication",
    "api keys": "api_keys",
    "stateless": "analysis",
    "check-ins": "check_ins",
}
"""Group of methods by tag; other tags are groups themselves."""

METHODS: dict[str, tuple[str, str]] = {
    "create_event": ("events", "create"),
    "list_events": ("events", "page"),
    "get_event": ("events", "get"),
    "change_event": ("events", "change"),
    "delete_event": ("events", "delete"),
    "close_event": ("events", "close"),
    "reopen_event": ("events", "reopen"),
    "get_statistics": ("events", "statistics"),
    "list_people": ("people", "page"),
    "get_person": ("people", "get"),
    "change_person": ("people", "change"),
    "delete_person": ("people", "delete"),
    "list_faces": ("people", "page_of_faces"),
    "check_in": ("check_ins", "check_in"),
    "list_check_ins": ("check_ins", "page"),
    "get_attendance": ("check_ins", "summary"),
    "undo_check_in": ("check_ins", "undo"),
    "list_audit": ("audit", "page"),
    "export_audit": ("audit", "export"),
    "get_health": ("operations", "health"),
    "get_readiness": ("operations", "readiness"),
    "get_model": ("operations", "model"),
    "create_account": ("accounts", "create"),
    "list_accounts": ("accounts", "page"),
    "get_account": ("accounts", "get"),
    "change_account": ("accounts", "change"),
    "delete_account": ("accounts", "delete"),
    "get_own_person": ("accounts", "get_person"),
    "delete_own_person": ("accounts", "delete_person"),
    "who_am_i": ("authentication", "whoami"),
    "get_jwks": ("authentication", "jwks"),
    "create_api_key": ("api_keys", "create"),
    "list_api_keys": ("api_keys", "page"),
    "revoke_api_key": ("api_keys", "revoke"),
    "import_job": ("jobs", "import_people"),
    "export_job": ("jobs", "export_people"),
    "list_jobs": ("jobs", "page"),
    "get_job": ("jobs", "get"),
    "cancel_job": ("jobs", "cancel"),
    "get_rejections": ("jobs", "page_of_rejections"),
    "get_result": ("jobs", "result"),
    "begin_migration": ("migration", "begin"),
    "get_migration": ("migration", "get"),
    "abort_migration": ("migration", "abort"),
    "finish_migration": ("migration", "finish"),
    "get_metrics": ("operations", "metrics"),
}
"""Group and method by the name of an operation; others are called as they are, in the group of their tag."""

RENAMED = {
    "get_person_v1_accounts__account__person_get": "get_own_person",
    "delete_person_v1_accounts__account__person_delete": "delete_own_person",
}
"""Operations whose names another has, too."""

CAN_REPEAT = {
    "recognise",
    "recognise_batch",
    "identify",
    "verify",
    "search",
    "detect",
    "embed",
    "compare",
    "close_event",
    "reopen_event",
}
"""POST operations that may be done twice: they change nothing, or the second time nothing more.

Others are repeated only when nothing was done, or with an `Idempotency-Key`.
"""


def name_operation(operation_id: str, path: str, method: str) -> str:
    """The function's name in an id that FastAPI made: name, path and method."""
    if operation_id in RENAMED:
        return RENAMED[operation_id]
    return operation_id.removesuffix(re.sub(r"\W", "_", path) + "_" + method)


def name_iterator(page_method: str) -> str:
    """`page` -> `iterate`, `page_of_faces` -> `iterate_faces`, `get` -> `iterate_missing`."""
    if page_method == "get":
        return "iterate_missing"
    return "iterate" + page_method.removeprefix("page").removeprefix("_of").replace("list_", "_")


def to_class(name: str) -> str:
    """`check_ins` -> `CheckIns`."""
    return "".join(part.capitalize() for part in name.split("_"))
