"""Whatever the pages tell to type names services and objects that are there."""

from __future__ import annotations

import re

import yaml

from tests.unit.shipping.shipped import REPOSITORY, read_compose, read_kubernetes

DOCS = REPOSITORY / "docs"
OPTIONS = r"((?: -\S+(?: \"\$[^\"]+\"| \./\S+)?)*)"
COMMAND = re.compile(rf"docker compose (run|exec|stop|restart){OPTIONS}((?: [\w-]+)*)")


def test_every_service_that_a_page_names_is_there() -> None:
    services = set(read_compose()["services"])
    for page in sorted(DOCS.glob("*.md")):
        for verb, _options, words in COMMAND.findall(page.read_text()):
            named = words.split() if verb == "stop" else words.split()[:1]
            assert set(named) <= services, f"{page.name}: docker compose {verb} {words}"


def test_the_page_on_compose_goes_through_every_command_and_volume() -> None:
    text = (DOCS / "compose.md").read_text()
    compose = read_compose()
    run = {words.split()[0] for verb, _, words in COMMAND.findall(text) if verb == "run"}
    commands = {name for name, one in compose["services"].items() if "tools" in one.get("profiles", [])}
    assert run >= commands, f"nobody learns of {commands - run}"
    volumes = re.findall(r"`([\w-]+)`", text[text.index("**Volumes**") :].split("\n\n")[0])
    assert set(volumes) == set(compose["volumes"])


def test_every_object_that_the_page_on_kubernetes_names_is_there() -> None:
    text = (DOCS / "kubernetes.md").read_text()
    objects = read_kubernetes()
    there = {(one["kind"].lower(), one["metadata"]["name"]) for one in objects}
    loop = re.search(r"for NAME in (.+); do", text)
    assert loop is not None
    named = re.findall(r"(cronjob|rayservice)[ /]([\w-]+(?:\$NAME)?)", text)
    assert {kind for kind, _ in named} == {"cronjob", "rayservice"}
    for kind, name in named:
        for each in loop[1].split() if name.endswith("$NAME") else [""]:
            assert (kind, name.replace("$NAME", each)) in there, f"{kind}/{name}"
    shipped = yaml.safe_dump_all(objects)
    for label, value in re.findall(r"-l (app\.kubernetes\.io/\S+?)=(\w+)", text):
        assert f"{label}: {value}" in shipped
    made = set(re.findall(r"create secret [\w-]+ (rollcall-[\w-]+)", text))
    read = set(re.findall(r"secretName: (\S+)", shipped))
    read |= set(re.findall(r"imagePullSecrets:(?: &\w+)?\n\s+- name: (\S+)", shipped))
    assert made == read
