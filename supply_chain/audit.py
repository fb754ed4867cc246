"""`make audit`: known vulnerabilities of the locked dependencies, and whether anybody could be asked at all.

pip-audit passes a package that its source of advisories does not know, and a package index that is a mirror
knows none. So a source is first asked about an old release that is known to be vulnerable: one that says
nothing of it is no source. Then its answer is counted: packages looked up, packages that were not, findings.

Exit codes: 0 nothing is known, or nobody could be asked (which is said, loudly); 1 something is known;
with `--must-run`, 2 when a package could not be looked up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 600.0
SOURCES = ("pypi", "osv")
"""Asked in this order until one answers."""
CANARY = "jinja2==2.10"
"""With CVE-2019-10906 and others; no source that works has nothing to say of it."""


@dataclass(frozen=True)
class Report:
    """What one source said of one lock file: names with versions, and lines about what is known."""

    asked: tuple[str, ...]
    skipped: tuple[str, ...]
    findings: tuple[str, ...]


def read_report(text: str) -> Report:
    """What pip-audit's JSON says.

    Raises:
        ValueError: it is no report.
    """
    asked, skipped, findings = [], [], []
    try:
        for each in json.loads(text)["dependencies"]:
            name = f"{each['name']} {each.get('version', '')}".strip()
            if "skip_reason" in each:
                skipped.append(name)
                continue
            asked.append(name)
            for known in each["vulns"]:
                fixed = ", ".join(known.get("fix_versions") or ["none"])
                findings.append(f"{name}: {known['id']} (mended in: {fixed})")
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a report of pip-audit: {error!r}") from None
    return Report(tuple(asked), tuple(skipped), tuple(findings))


def find_source(program: str) -> tuple[str | None, str]:
    """The first source that knows the canary, or none; and what each that does not said."""
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(f"{CANARY}\n")
        for source in SOURCES:
            report = ask(program, source, canary, "--no-deps")
            if isinstance(report, Report) and report.findings:
                return source, ""
            said = "knows nothing of a release that is known to be vulnerable"
            reasons.append(f"{source} {said if isinstance(report, Report) else report}")
    return None, "; ".join(reasons)


def ask(program: str, source: str, lock: Path, *options: str) -> Report | str:
    """The report of a source, or why there is none."""
    command = [program, *options, "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    command += ["--vulnerability-service", source, "--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"did not answer within {TIMEOUT_S:.0f} s"
    try:
        return read_report(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"cannot be asked ({last[:160]})"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("program", help="pip-audit")
    parser.add_argument("locks", nargs="+", type=Path)
    parser.add_argument("--must-run", action="store_true", help="fail where nobody can be asked")
    options = parser.parse_args(arguments)
    found, missed = 0, 0
    source, why = find_source(options.program)
    for lock in options.locks:
        report = why if source is None else ask(options.program, source, lock, "--require-hashes")
        if isinstance(report, str):
            missed += 1
            print(f"{lock.name}: NOT RUN: {report}")
            continue
        found += len(report.findings)
        missed += len(report.skipped)
        print(f"{lock.name}: {len(report.asked)} packages looked up, {len(report.findings)} findings")
        for line in (*report.findings, *(f"{name}: NOT LOOKED UP" for name in report.skipped)):
            print(f"  {line}")
    if found:
        return 1
    return 2 if missed and options.must_run else 0


if __name__ == "__main__":
    sys.exit(main())
