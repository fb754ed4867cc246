"""The audit trail: who did what, to which event and person, when, from where, with what outcome."""
