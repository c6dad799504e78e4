"""What of the embedded server needs no server: finding the binary, and refusing a directory in use."""

from __future__ import annotations

import asyncio
import importlib.metadata
from pathlib import Path

import pytest

from mdstream.bus import embedded
from mdstream.bus.embedded import EmbeddedNats
from mdstream.errors import BusError, BusUnavailable


def test_the_binary_of_the_package_is_found() -> None:
    assert embedded.find_binary().name == "nats-server"


def test_without_a_binary_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def not_installed(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", not_installed)
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(embedded.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BusError, match=r"install mdstream-gateway\[embedded\], or put nats-server on PATH"):
        embedded.find_binary()


@pytest.mark.process
def test_a_server_that_dies_at_once_is_reported_with_its_output(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(BusError, match=r"status 3[\s\S]*no such luck"):
        asyncio.run(EmbeddedNats.start(data_dir=tmp_path / "data", binary=program))


@pytest.mark.process
def test_a_server_that_never_serves_is_reported_and_killed(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho still thinking\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(BusUnavailable, match=r"within 0.5 s[\s\S]*still thinking"):
        asyncio.run(EmbeddedNats.start(data_dir=tmp_path / "data", binary=program, deadline_s=0.5))
