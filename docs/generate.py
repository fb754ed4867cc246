"""Writes what is made from code: configuration.md (settings), errors.md (errors), openapi.json and
reference.md (routes), and the tables in metrics.md.

Run it with `make docs`; a test fails when a page is not what this would write.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.cli import get_docs_for_click

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from serving import cli  # noqa: E402
from serving.api.app import create_app  # noqa: E402
from serving.errors import ALL_ERRORS  # noqa: E402
from serving.graph.tuning import BatchTuning, IngressTuning, StageTuning  # noqa: E402
from serving.operations.doctor.all_checks import ALL_CHECKS  # noqa: E402
from serving.settings import ENV_PREFIX, Settings  # noqa: E402
from serving.telemetry.catalogue import ALL_METRICS  # noqa: E402

MADE_BY = "<!-- Made by docs/generate.py; run `make docs`. -->\n"


def write_configuration() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Strongest first: `args` of the application in a serve config (`picture: {max_bytes: 5000000}`),",
        f"environment variables (`{ENV_PREFIX}PICTURE__MAX_BYTES=5000000`), files that such a variable",
        f"with `_FILE` at its end names (`{ENV_PREFIX}DATABASE_URL_FILE`), `.env`, the defaults.",
        "A key that does not exist, or a value out of range, stops the start with a message that names it.",
        "So do `database_url`, `gallery.engine` and `gallery.url` under `args` alone: commands such as",
        "`rollcall backup` see the environment, its files and `.env`, and would work on another place.",
        "",
    ]
    plain = {name: field for name, field in Settings.model_fields.items() if not _is_section(field)}
    lines += ["## General", "", *_table(plain, ""), ""]
    for name, field in Settings.model_fields.items():
        if _is_section(field):
            section = field.annotation
            assert isinstance(section, type)
            assert issubclass(section, BaseModel)
            lines += [
                f"## `{name}`",
                "",
                str(section.__doc__),
                "",
                *_table(section.model_fields, f"{name}."),
                "",
            ]
    lines += [
        "## `user_config` of the deployments",
        "",
        "These stand in the serve config, under each deployment, and change while the service runs.",
        "",
        "Detector, Embedder, Matcher:",
        "",
        *_table(BatchTuning.model_fields, ""),
        "",
        f"Ingress, for each of {', '.join(f'`{name}`' for name in IngressTuning.model_fields)}:",
        "",
        *_table(StageTuning.model_fields, ""),
        "",
    ]
    return MADE_BY + "\n".join(lines)


def write_errors() -> str:
    """docs/errors.md."""
    lines = ["# Errors", "", "| code | status | what it means | what to do |", "|---|---|---|---|"]
    for kind in sorted(ALL_ERRORS, key=lambda kind: (kind.status, kind.code)):
        retry = f" `Retry-After: {kind.retry_after_s:g}`." if kind.retry_after_s else ""
        lines.append(f"| `{kind.code}` | {kind.status} | {kind.title} | {kind.cure}{retry} |")
    return MADE_BY + "\n".join(lines) + "\n"


def write_openapi() -> str:
    """docs/openapi.json, for those who make clients from it, and to see what a change does to them."""
    app = create_app(SimpleNamespace(settings=Settings(_env_file=None)))  # type: ignore[arg-type,call-arg]
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


def write_reference() -> str:
    """docs/reference.md."""
    sys.path.insert(0, str(REPOSITORY / "docs"))
    import reference

    return MADE_BY + reference.write_reference(json.loads(write_openapi()))


def write_metrics() -> str:
    """docs/metrics.md: the page as it is, with its tables made anew."""
    rows = ["| metric | kind | labels | counted by | |", "|---|---|---|---|---|"]
    for metric in ALL_METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        buckets = (
            f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
        )
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.by} | {metric.about}{buckets} |")
    rules = yaml.safe_load((REPOSITORY / "config/prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    alerts = ["| alert | severity | after | what to do |", "|---|---|---|---|"]
    for rule in rules:
        severity, action = rule["labels"]["severity"], rule["annotations"]["action"]
        alerts.append(f"| `{rule['alert']}` | {severity} | {rule.get('for', '0s')} | {action} |")
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    for mark, table in (("alerts", alerts), ("metrics", rows)):
        inside = re.compile(rf"(<!-- {mark}: [^>]+ -->\n).*?(<!-- end -->)", re.S)
        page, count = inside.subn(lambda found: found[1] + "\n".join(table) + "\n" + found[2], page)  # noqa: B023
        assert count == 1, f"docs/metrics.md has {count} places for {mark}"
    return page


def write_logs() -> str:
    """docs/logs.md: the page as it is, with its example lines made anew."""
    sys.path.insert(0, str(REPOSITORY / "docs"))
    from log_examples import list_examples

    page = (REPOSITORY / "docs" / "logs.md").read_text()
    inside = re.compile(r"(<!-- lines: [^>]+ -->\n).*?(<!-- end -->)", re.S)
    page, count = inside.subn(lambda found: found[1] + "\n".join(list_examples()) + found[2], page)
    assert count == 1, f"docs/logs.md has {count} places for lines"
    return page


def write_doctor() -> str:
    """docs/doctor.md."""
    sys.path.insert(0, str(REPOSITORY / "docs"))
    from doctor_rows import list_faults

    lines = [
        "# rollcall doctor",
        "",
        "Looks over what the service needs, and says what to do. It changes nothing, but with `--recount`",
        "it first counts people, faces and arrivals of events anew where their counts are wrong.",
        "",
        "    rollcall doctor [--config FILE] [--json] [--url URL] [--recount]",
        "",
        "Each row is `ok`, `warn` or `fail`, with what was seen and its cure. The exit code is 1 when",
        "something fails, else 0, warnings or not. A check that crashes or hangs is a row that fails; one",
        "that meets an error of Rollcall's own fails with what [errors.md](errors.md) says of it.",
        "",
        "Without `--config` it reads `config/laptop.yaml`, and without `--url` the service is looked at only",
        "where `rollcall serve` runs: on a cluster give both.",
        "",
        "| check | looks at | seconds at most |",
        "|---|---|---|",
        *(
            f"| [{each.name}](#{_anchor(each.name)}) | {each.about} | {each.deadline_s:g} |"
            for each in ALL_CHECKS
        ),
        "",
        "What each can find, and what to do then; … and words in capitals stand for what was seen.",
    ]
    for each in ALL_CHECKS:
        faults = list_faults(each)
        lines += ["", f"## {each.name}", "", f"Looks at: {each.about}.", ""]
        if faults:
            rows = (f"| {fault.status} | {_cell(fault.seen)} | {_cell(fault.cure)} |" for fault in faults)
            lines += ["| | seen | what to do |", "|---|---|---|", *rows]
        else:
            lines.append("Fails with an error of Rollcall's own alone.")
    return MADE_BY + "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def write_cli() -> str:
    """docs/cli.md, from the commands themselves."""
    page = get_docs_for_click(
        obj=typer.main.get_command(cli.app), ctx=typer.Context(click.Command("rollcall")), name="rollcall"
    )
    return MADE_BY + CLI_HEAD + page.split("\n", 1)[1].rstrip() + "\n"


CLI_HEAD = """# The command line

Commands that talk to a running service (`events`, `people`, `enroll`, `recognize`, `compare`, `watch`,
`packs migrate`) take its address and a token or API key from `ROLLCALL_URL` and `ROLLCALL_TOKEN`, or from
`--url` and `--token`. They are built on [the Python client](client.md): what passes is waited out. The
others work where the service's data lies.

`--json` prints one JSON document in place of a table or sentence, and nothing else on standard output.
Every command has it but `serve`, which runs until it is ended; `watch --json` prints a line of JSON for
each thing that happens, and `evaluate --json FILE` writes a file. Where output is no terminal, a row of a
table is one line. Results go to standard output, progress and errors to standard error.

    rollcall --install-completion          # bash, zsh, fish, PowerShell: of the shell that it is run in
    rollcall --show-completion bash        # the same to look at, or to put where your shell looks

From the next shell on, the tab key completes commands, options and their values.

| exit code | |
|---|---|
| 0 | done; `recognize`, `watch`: somebody was recognised; `compare`: the same person; `load`: every \
objective was held |
| 1 | it failed; the message says what to do, and whether to repeat the command |
| 2 | wrong usage, or a file that is not there |
| 3 | done, but: `enroll` and `people import` rejected items (they are listed); `recognize` knew nobody, \
or a picture was refused; `watch` knew nobody; `compare`: not the same person; `packs migrate`: not \
everybody has moved; `load`: an objective was missed |
| 130 | ended by Ctrl-C; `enroll` goes on where it was when it is repeated, an import of a file goes on \
at the service |

`enroll` sends a folder of pictures, one folder or file for each person, and may be repeated after whatever
cut it off: [bulk.md](bulk.md). `load` is the load test of the checkout, and takes its options:
[load-testing.md](load-testing.md).

`watch` sends a camera, a video file or a folder of pictures over [a live stream](stream.md) and shows who
is in view. A person appears once, however long they stay, and has left when they were not seen for a
second; somebody unknown is followed likewise, without a name. A video runs at its own speed, and what the
service is too slow for is passed over as with a camera; `--fast` sends every frame as soon as the one
before is answered, and tells times of the video. A folder is shown at five pictures a second. When the
service restarts or the network is cut, `watch` connects again, for about an hour. An access token ends
after its time: use an API key, or `--sign-in ACCOUNT`, which renews the session. `--json` prints lines of
these types, each with the time `at`:

| `type` | fields |
|---|---|
| `appeared` | `at_s` (of the source), `outcome` (`match`, `unknown`), `person_id`, `name`, `cosine`, \
`false_match_rate`; with `--check-in` `arrived` |
| `left` | the same, and `in_view_s` |
| `frame` | with `--every-frame`: `number`, `latency_ms`, and the faces as in [stream.md](stream.md), or \
`problem` |
| `ended` | `seconds`, `frames`, `passed_over`, `people`, `unknown` |

"""


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _table(fields: dict[str, FieldInfo], prefix: str) -> list[str]:
    rows = ["| key | default | |", "|---|---|---|"]
    for name, field in fields.items():
        limits = ", ".join(_limit(item) for item in field.metadata if _limit(item))
        about = " ".join(part for part in (field.description or "", f"({limits})" if limits else "") if part)
        rows.append(f"| `{prefix}{name}` | `{_show(field.default)}` | {about} |")
    return rows


def _limit(item: Any) -> str:
    for sign, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
        bound = getattr(item, name, None)
        if bound is not None:
            return f"{sign} {bound}"
    return ""


def _show(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


PAGES = {
    "cli.md": write_cli,
    "configuration.md": write_configuration,
    "doctor.md": write_doctor,
    "errors.md": write_errors,
    "logs.md": write_logs,
    "metrics.md": write_metrics,
    "openapi.json": write_openapi,
    "reference.md": write_reference,
}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (REPOSITORY / "docs" / name).write_text(write())
    runpy.run_module("client_generator", run_name="__main__")  # it follows from openapi.json
