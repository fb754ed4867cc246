"""`make fuzz`: every target for a while, by atheris, in processes of their own.

What makes one fail is kept in fuzz-findings/, named after its target; `python -m tests.fuzz.campaign --replay
FILE` runs it again. Seeds are the hostile corpus, where it is at hand (ROLLCALL_SHARED_DIR), and small files
of each kind. libFuzzer's mutations are guided by the coverage of our Python; Pillow's C is fuzzed unguided.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FINDINGS = REPOSITORY / "fuzz-findings"
UNIT_TIMEOUT_S = 20
"""Of one input: what takes longer is a finding, as is what takes more memory."""
RSS_MIB = 2048
MAX_LEN = 64 * 1024


def run_target(name: str, seconds: int) -> bool:
    """Fuzz one target; whether nothing was found."""
    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.campaign", "--target", name, folder]
        command += [f"-max_total_time={seconds}", f"-timeout={UNIT_TIMEOUT_S}", f"-rss_limit_mb={RSS_MIB}"]
        command += [f"-max_len={MAX_LEN}", f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1"]
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    stats = {
        key.removeprefix("stat::"): value.strip()
        for key, _, value in (line.partition(":  ") for line in done.stdout.replace(": ", ":  ").splitlines())
        if key.startswith("stat::")
    }
    tried = stats.get("number_of_executed_units", "?")
    spent_s, peak = time.monotonic() - began, stats.get("peak_rss_mb", "?")
    print(f"{name}: {tried} inputs in {spent_s:.0f} s, peak {peak} MB", end="")
    print(
        ": nothing found" if done.returncode == 0 else f": FOUND SOMETHING\n{done.stdout[-4000:]}", flush=True
    )
    return done.returncode == 0


def become_fuzzer(name: str, arguments: list[str]) -> None:
    """In the process of one target: write the seeds, then hand over to libFuzzer."""
    import atheris

    with atheris.instrument_imports(include=["serving"]):
        from tests.fuzz.targets import TARGETS, make_seeds

    shared = Path(os.environ.get("ROLLCALL_SHARED_DIR", REPOSITORY.parent / "shared")) / "hostile"
    for seed in make_seeds(name, shared if shared.is_dir() else None):
        (Path(arguments[0]) / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", nargs="*", help="these targets")
    parser.add_argument("--replay", type=Path, help="a file of fuzz-findings/")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.target:
        become_fuzzer(options.target, rest)
        return 0
    from tests.fuzz.targets import TARGETS

    if options.replay:
        TARGETS[options.replay.name.partition("-")[0]](options.replay.read_bytes())
        return 0
    clean = [run_target(name, options.seconds) for name in options.only or TARGETS]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
