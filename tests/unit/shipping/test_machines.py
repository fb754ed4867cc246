"""config/machines: of the right form, hardened, and in step with the page and with the files beside it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.commands.secret_files import make_secret_files
from serving.runtime import RAY_FLAGS
from serving.settings import load_settings, setting_keys
from serving.settings.environment import key_in_a_file, make_key
from tests.shipping.machines_check.page import PAGE, read_blocks
from tests.unit.shipping.shipped import REPOSITORY, find_path, read_compose

MACHINES = Path("config/machines")
UNITS = sorted(path.name for path in (REPOSITORY / MACHINES / "units").iterdir())
SERVICES = [name for name in UNITS if name.endswith(".service")]
OWN = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "CapabilityBoundingSet=",
)
MOST_EXPOSED = 40
"""What `systemd-analyze security` may say of a unit, in tenths; one without any hardening has 96."""


def read(name: str) -> str:
    return find_path(MACHINES / name).read_text()


def read_environment() -> dict[str, str]:
    """The settings file as systemd reads it: no variables, no commands, quotes taken off."""
    lines = [line for line in read("environment").splitlines() if line and not line.startswith("#")]
    pairs = [line.partition("=") for line in lines]
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def read_hosts() -> dict[str, str]:
    """The address of each name."""
    lines = [line.split() for line in read("hosts").splitlines() if not line.startswith("#")]
    return {name: address for address, *names in lines for name in names}


def read_options(unit: str) -> str:
    """A unit in which a continued line is one."""
    return re.sub(r"\\\n\s*", "", read(f"units/{unit}"))


def test_a_shell_reads_the_settings_as_systemd_does() -> None:
    script = f". {REPOSITORY / MACHINES / 'environment'}; env -0"
    done = subprocess.run(["env", "-i", "sh", "-ac", script], capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert read_environment().items() <= seen.items()


def test_every_setting_exists_and_the_service_takes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_secret_files(tmp_path, ["localhost"])
    monkeypatch.chdir(tmp_path)
    known = set(setting_keys())
    for variable, value in read_environment().items():
        if variable.startswith("ROLLCALL_"):
            assert (key_in_a_file(variable, known) or make_key(variable)) in known, variable
            monkeypatch.setenv(variable, value.replace("/etc/rollcall/", f"{tmp_path}/"))
    config = yaml.safe_load(find_path(Path("serve_config.yaml")).read_text())
    settings = load_settings(config["applications"][0]["args"])
    assert settings.gallery.engine == "server"
    assert settings.web.https
    assert not settings.auth.sign_up
    assert settings.web.trusted_proxies == (f"{read_hosts()['proxy']}/32",)
    assert settings.web.allowed_hosts[0] in read_hosts()
    told = read_environment()["ROLLCALL_LOAD__MAX_PENDING_REQUESTS"]
    assert told == str(config["applications"][0]["args"]["load"]["max_pending_requests"])


def test_they_are_what_compose_and_the_command_tell_ray() -> None:
    ours = read_environment()
    front = {"RAY_SERVE_HAPROXY_BINARY_PATH": "/opt/rollcall/bin/rollcall-haproxy"}
    assert {**RAY_FLAGS, **front}.items() <= ours.items()
    compose = read_compose()["services"]["ray-worker"]["environment"]
    assert {name for name in compose if name.startswith("ROLLCALL_")} <= set(ours)
    for name in ("ROLLCALL_METRICS__PORT", "ROLLCALL_METRICS__HOST", "ROLLCALL_GALLERY__URL"):
        assert ours[name] == compose[name]


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_is_hardened(name: str, tmp_path: Path) -> None:
    unit = read_options(name)
    assert set(OWN) <= set(unit.splitlines())
    user = re.search(r"^User=(\w+)$", unit, re.M)
    assert user is not None
    assert user[1] != "root"
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze for the rest")
    (tmp_path / name).write_text(re.sub(r"=/(?:opt/rollcall|usr/local)/bin/\w+", "=/bin/true", unit))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True
    )
    assert not [line for line in verified.stderr.splitlines() if name in line], verified.stderr
    judge = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager"]
    judged = subprocess.run([*judge, str(tmp_path / name)], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout[-300:] + judged.stderr


@pytest.mark.parametrize("name", ["rollcall-head.service", "rollcall-node.service"])
def test_a_node_comes_back_and_has_what_haproxy_needs(name: str) -> None:
    unit = read_options(name)
    lines = set(unit.splitlines())
    assert {"Restart=always", "LimitNOFILE=65536", "OOMPolicy=continue", "StartLimitIntervalSec=0"} <= lines
    assert {"EnvironmentFile=/etc/rollcall/environment", "EnvironmentFile=/etc/rollcall/node"} <= lines
    assert "ray start" in unit
    assert " --block " in unit
    assert f"StateDirectory={Path(read_environment()['RAY_TMPDIR']).name}" in lines
    assert f"ReadWritePaths={read_environment()['ROLLCALL_DATA_DIR']}" in lines
    assert "WantedBy=multi-user.target" in lines


def test_head_and_node_differ_in_what_they_start_alone() -> None:
    def common(name: str) -> list[str]:
        told = ("#", "Description=", "ExecStart=", "Environment=", "ProtectClock=")
        return [line for line in read_options(name).splitlines() if not line.startswith(told)]

    assert common("rollcall-head.service") == common("rollcall-node.service")


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".timer")])
def test_every_timer_has_its_service_and_a_time(name: str) -> None:
    assert name.replace(".timer", ".service") in SERVICES
    timer = read(f"units/{name}")
    assert "Persistent=yes" in timer
    assert "WantedBy=timers.target" in timer
    when = re.search(r"^OnCalendar=(.+)$", timer, re.M)
    assert when is not None
    if shutil.which("systemd-analyze"):
        subprocess.run(["systemd-analyze", "calendar", when[1]], check=True, capture_output=True)


def test_the_ports_agree() -> None:
    head, node = read_options("rollcall-head.service"), read_options("rollcall-node.service")
    gcs = re.search(r"--port=(\d+)", head)
    metrics = {re.findall(r"--metrics-export-port=(\d+)", unit)[0] for unit in (head, node)}
    serve = yaml.safe_load(find_path(Path("serve_config.yaml")).read_text())["http_options"]["port"]
    exporter = read_environment()["ROLLCALL_METRICS__PORT"]
    assert gcs is not None
    assert f"--address=head:{gcs[1]}" in node
    assert "--dashboard-host" not in head, "it deploys code: it stays on loopback"
    nodes = read("firewall/nodes.nft")
    assert f"$proxy tcp dport {serve} accept" in nodes
    (ray,) = metrics
    assert f"$prometheus tcp dport {{ {ray}, {exporter} }} accept" in nodes
    assert re.findall(r"server (\w+) (\w+):(\d+)", read("nodes.cfg")) == [
        (name, name, str(serve)) for name in ("node1", "node2")
    ]
    jobs = read_jobs("machines.yaml")
    assert jobs["rollcall"]["static_configs"] == [
        {"targets": [f"{n}:{exporter}" for n in ("node1", "node2")]}
    ]
    assert jobs["ray"]["static_configs"] == [
        {"targets": [f"{name}:{ray}" for name in ("head", "node1", "node2")]}
    ]


def read_jobs(name: str) -> dict[str, dict[str, object]]:
    content = yaml.safe_load(find_path(Path("config/prometheus") / name).read_text())
    return {job["job_name"]: job for job in content["scrape_configs"]}


def test_prometheus_runs_the_shipped_alerts_with_a_token() -> None:
    ours = yaml.safe_load(find_path(Path("config/prometheus/machines.yaml")).read_text())
    shipped = yaml.safe_load(find_path(Path("config/prometheus/prometheus.yaml")).read_text())
    assert ours["rule_files"] == shipped["rule_files"]
    assert ours["global"] == shipped["global"]
    jobs = read_jobs("machines.yaml")
    assert set(jobs) == set(read_jobs("prometheus.yaml"))
    assert jobs["rollcall"]["authorization"] == {"credentials_file": "/etc/prometheus/rollcall.token"}


@pytest.mark.parametrize(
    ("role", "opened"),
    [
        ("stores", {"nodes": {"5432", "6379", "6333", "6334", "2049"}}),
        ("nodes", {"nodes": {"every"}, "proxy": {"8000"}, "prometheus": {"8080", "9464"}}),
        ("proxy", {"everybody": {"80", "443"}}),
        ("monitor", {}),
    ],
)
def test_the_firewall_opens_what_it_must_and_no_more(role: str, opened: dict[str, set[str]]) -> None:
    text = read(f"firewall/{role}.nft")
    assert "hook input priority filter; policy drop;" in text
    assert "hook forward priority filter; policy drop;" in text
    found: dict[str, set[str]] = {}
    for line in re.findall(r"^ +((?:ip|tcp|udp|meta|iif|ct|accept).*accept)$", text, re.M):
        rule = re.fullmatch(r"(?:ip saddr \$(\w+) ?)?(?:tcp dport (\{ [\d, ]+ \}|\d+) )?accept", line)
        if rule is None:
            expected = ("ct state established,related", "iif lo", "meta l4proto { icmp, ipv6-icmp }")
            assert line in {f"{what} accept" for what in expected}
            continue
        found.setdefault(rule[1] or "everybody", set()).update(re.findall(r"\d+", rule[2] or "") or ["every"])
    assert found == {**opened, "admins": {"22"}}


def test_addresses_are_those_of_the_hosts() -> None:
    hosts = read_hosts()
    defined = dict(re.findall(r"^define (\w+) += (.+)$", read("firewall/addresses.nft"), re.M))
    assert defined["proxy"] == hosts["proxy"]
    assert defined["prometheus"] == hosts["monitor"]
    assert re.findall(r"[\d.]+", defined["nodes"]) == [hosts[name] for name in ("head", "node1", "node2")]
    page = find_path(PAGE).read_text()
    for name in ("stores", "head", "proxy", "monitor"):
        assert f"`{name}` | {hosts[name]} |" in page


@pytest.mark.parametrize("role", ["stores", "nodes", "proxy", "monitor"])
def test_nftables_takes_the_firewall(role: str, tmp_path: Path) -> None:
    addresses = REPOSITORY / MACHINES / "firewall" / "addresses.nft"
    text = read(f"firewall/{role}.nft")
    assert "/etc/nftables-addresses.nft" in text
    (tmp_path / "firewall.nft").write_text(text.replace("/etc/nftables-addresses.nft", str(addresses)))
    if not shutil.which("nft") or not shutil.which("unshare"):
        pytest.skip("needs nftables")
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "nft", "list", "ruleset"], capture_output=True).returncode != 0:
        pytest.skip("needs network namespaces")
    checked = subprocess.run(
        [*alone, "nft", "--check", "-f", str(tmp_path / "firewall.nft")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_the_page_can_be_followed() -> None:
    """Every block says for whom it is, and speaks of files and machines that are there."""
    text = find_path(PAGE).read_text()
    blocks = read_blocks(text)
    assert len(blocks) == text.count("```bash\n")
    for block in blocks:
        assert set(block.machines) <= {*read_hosts(), "door"}
        for path in re.findall(r"/opt/rollcall/source/([\w./-]+\w)", block.script):
            if "*" not in block.script.split(path, 1)[1][:2]:
                find_path(Path(path))
    listed = {path for path in (REPOSITORY / MACHINES).rglob("*") if path.is_file()}
    scripts = "".join(block.script for block in blocks)
    for path in listed:
        stem = path.stem if path.suffix in (".timer", ".service") else path.name
        shown = stem in scripts or (path.suffix == ".nft" and '"$role.nft"' in scripts)
        assert shown, f"the page does not say what {path.name} is for"
    for left_out in {block.left_out for block in blocks} - {""}:
        assert len(left_out) > 10
    told = text.split("## What the check does otherwise")[1]
    for word in ("Qdrant", "NFS", "scp", "environment"):
        assert word in told, f"the page does not say that {word} was not run"


def test_what_is_taken_from_compose_has_no_path_of_a_container_left() -> None:
    """The page's sed lines, on the files as they are now."""
    scripts = "".join(block.script for block in read_blocks(find_path(PAGE).read_text()))
    commands = re.findall(r"^sed -e .*?(?= > )", scripts.replace("\\\n", " "), re.M | re.S)
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command.replace("/opt/rollcall/source", str(REPOSITORY)))
        made = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert "/etc/rollcall/ca.pem" in made or "/etc/rollcall/qdrant.pem" in made
        assert not re.search(r"/run/secrets|/qdrant/s|^dir /data", made.replace("/var/lib/qdrant", ""), re.M)
