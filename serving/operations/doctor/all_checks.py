"""Every check, in the order of the table."""

from __future__ import annotations

from serving.operations.doctor import certificates, copies, files, machine, stores
from serving.operations.doctor.checks import Check

ALL_CHECKS: tuple[Check, ...] = (
    stores.CHECKS[0],
    *machine.CHECKS,
    *files.CHECKS,
    *certificates.CHECKS,
    *stores.CHECKS[1:],
    *copies.CHECKS,
)
