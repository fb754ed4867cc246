"""Events and people."""

from __future__ import annotations

from serving.errors.base import RollcallError


class UnknownEvent(RollcallError):
    code = "unknown_event"
    status = 404
    title = "There is no such event"
    cure = "List the events with GET /v1/events."


class EventExists(RollcallError):
    code = "event_exists"
    status = 409
    title = "An event with this id exists already"
    cure = "Choose another id, or use the event that is there."


class PackMismatch(RollcallError):
    code = "pack_mismatch"
    status = 409
    title = "This event's faces belong to another model pack"
    cure = "Run the service with the pack that context.pack_id names, or enrol the people at a new event."


class UnknownPerson(RollcallError):
    code = "unknown_person"
    status = 404
    title = "Nobody with this id is enrolled at this event"
    cure = "List the people with GET /v1/events/{event}/people."


class ErasedMeanwhile(RollcallError):
    code = "erased_meanwhile"
    status = 409
    title = "The event or person was deleted while this request ran"
    cure = "Nothing was stored. Create the event again if that was not intended."


class EventClosed(RollcallError):
    code = "event_closed"
    status = 409
    title = "The event is closed"
    cure = "Reopen it with POST /v1/events/{event}/reopen, or use another."


class PolicyNotAllowed(RollcallError):
    code = "policy_not_allowed"
    status = 403
    title = "The event does not allow this decision policy"
    cure = "Leave the threshold out, or ask for one as context.allowed says."


class FalseMatchRateNotSupported(RollcallError):
    code = "false_match_rate_not_supported"
    status = 422
    title = "The calibration of this pack supports no false match rate that small"
    cure = "Ask for context.floor or more."


class LivenessNotConfigured(RollcallError):
    code = "liveness_not_configured"
    status = 409
    title = "Liveness is asked for, but this service has no liveness model"
    cure = (
        "Name a liveness pack in the setting liveness.model and restart, or set the event's liveness to off."
    )


class ConsentRequired(RollcallError):
    code = "consent_required"
    status = 422
    title = "This event enrols nobody without a consent reference"
    cure = "Send consent_reference: what names the consent in your own records."


class DuplicatePerson(RollcallError):
    code = "duplicate_person"
    status = 409
    title = "The face matches another person of this event"
    cure = "Add the picture to context.person_id, or send on_duplicate=allow when they are two people."


class UnknownFace(RollcallError):
    code = "unknown_face"
    status = 404
    title = "This person has no such face"
    cure = "Look at the person with GET /v1/events/{event}/people/{person}."


class IdempotencyKeyReused(RollcallError):
    code = "idempotency_key_reused"
    status = 422
    title = "This Idempotency-Key came with another request before"
    cure = "Use a new key for each new request, and the same one only for a retry."


class RequestInProgress(RollcallError):
    code = "request_in_progress"
    status = 409
    title = "The request with this Idempotency-Key is still being worked on"
    cure = "Try again after Retry-After seconds."
    retry_after_s = 1.0
