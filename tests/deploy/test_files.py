"""The files of deploy/ that do not run in the tests: at least they are what the programs that read them take."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mdstream.gateway.config import load
from mdstream.webhooks.hooks import load_hooks
from mdstream.webhooks.signing import new_secret

DEPLOY = Path(__file__).parents[2] / "deploy"
KUSTOMIZED = ("base", "example")


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


def check(*command: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile_has_no_known_faults() -> None:
    check(program("hadolint"), str(DEPLOY / "docker/Dockerfile"))


def test_haproxy_takes_its_configuration() -> None:
    check(program("haproxy"), "-c", "-f", str(DEPLOY / "haproxy/haproxy.cfg"))


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    text = (DEPLOY / "nginx/nginx.conf").read_text()
    file.write_text(text.replace("pid /run/nginx.pid;", f"pid {tmp_path}/nginx.pid;"))
    check(program("nginx"), "-t", "-c", str(file), "-p", str(tmp_path))


@pytest.mark.parametrize(
    "unit",
    [
        "mdstream-gateway.service",
        "mdstream-feed@.service",
        "mdstream-candles.service",
        "mdstream-alerts.service",
        "mdstream-webhooks.service",
    ],
)
def test_systemd_takes_its_units(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / unit).read_text()
    command = tmp_path / "mdstream"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / unit).write_text(text.replace("/opt/mdstream/bin/mdstream", str(command)))
    assert check(program("systemd-analyze"), "verify", str(tmp_path / unit)) == ""


@pytest.mark.parametrize("folder", [*KUSTOMIZED, "candles", "alerts", "webhooks"])
def test_kubernetes_takes_its_objects(folder: str, tmp_path: Path) -> None:
    rendered = tmp_path / "objects.yaml"
    rendered.write_text(check(program("kubectl"), "kustomize", str(DEPLOY / "kubernetes" / folder)))
    said = check(program("kubernetes-validate"), "--strict", str(rendered))
    assert said.count("passed") == rendered.read_text().count("\nkind:") + rendered.read_text().startswith(
        "kind:"
    )


@pytest.mark.parametrize("folder", KUSTOMIZED)
def test_the_gateway_takes_its_settings(folder: str, tmp_path: Path) -> None:
    """With a key in the place of the cluster's secret."""
    key = tmp_path / "tokens.pub"
    key.write_text("")
    text = (DEPLOY / "kubernetes" / folder / "gateway.toml").read_text()
    file = tmp_path / "gateway.toml"
    file.write_text(text.replace("/etc/mdstream/keys/tokens.pub", str(key)))
    config = load(file, {})
    assert config.workers > 1
    assert config.nats_replicas == 3
    assert config.drain_deadline_ms < 25_000  # terminationGracePeriodSeconds, less preStop


def test_the_sender_of_webhooks_takes_its_receivers(tmp_path: Path) -> None:
    """With a secret in the place of the cluster's."""
    secret, file = tmp_path / "crm.hook", tmp_path / "hooks.toml"
    secret.write_text(new_secret())
    text = (DEPLOY / "kubernetes/webhooks/hooks.toml").read_text()
    file.write_text(text.replace("/run/secrets/mdstream/crm.hook", str(secret)))
    (hook,) = load_hooks(file)
    assert hook.name == "crm"


def test_compose_gives_the_gateway_settings_that_it_knows(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="there is no PyYAML")
    found = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    services = found["services"]
    assert {
        "nats-1",
        "nats-2",
        "nats-3",
        "gateway-1",
        "gateway-2",
        "haproxy",
        "sim",
        "candles",
        "alerts",
    } == set(services)
    for name in ("gateway-1", "gateway-2"):
        environment = services[name]["environment"] | {"MDSTREAM_AUTH_KEY_FILE": os.devnull}
        config = load(None, environment)
        assert config.node == name
        assert len(config.nats) == config.nats_replicas == 3
    for file in (each["file"] for each in found["configs"].values()):
        assert (DEPLOY / "compose" / file).is_file(), file
    for service in services.values():
        for each in service.get("configs", ()):
            assert each["source"] in found["configs"]


def test_the_versions_of_python_agree() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    versions = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert f"FROM python:{versions[-1]}-" in (DEPLOY / "docker/Dockerfile").read_text()
