from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mdstream.cli import demo_text
from mdstream.cli.demo_options import DemoOptions

OPTIONS = DemoOptions(
    symbols=("BTC-USD", "ETH-USD"),
    rate=2_000,
    seed=1,
    nats="embedded",
    host="127.0.0.1",
    port=None,
    admin_port=None,
    for_s=None,
    lines=False,
)


def banner(port: int, admin_port: int, options: DemoOptions = OPTIONS, ui: object = None) -> str:
    gateway: Any = SimpleNamespace(
        ui=ui,
        port=port,
        admin_port=admin_port,
        url=f"ws://127.0.0.1:{port}/v1/stream",
        admin_url=f"http://127.0.0.1:{admin_port}",
    )
    keys: Any = SimpleNamespace(token_file=Path("/tmp/x/token"), token="a.b-c_d.e")
    return demo_text.banner(options, gateway, "nats://127.0.0.1:4222", keys, on_screen=False)


def test_on_the_default_ports_the_commands_need_no_url() -> None:
    shown = banner(8080, 8081)
    assert "watch SIM:BTC-USD\n" in shown
    assert "MDSTREAM_TOKEN=$(cat /tmp/x/token)\n" in shown
    assert "--url" not in shown and "is taken" not in shown


def test_the_page_has_its_token_in_the_fragment_which_is_sent_nowhere() -> None:
    page = "http://127.0.0.1:8080/#token=a.b-c_d.e&instruments=SIM:BTC-USD,SIM:ETH-USD&demo=1"
    assert f"trading page        {page}\n" in banner(8080, 8081, ui=object())
    assert "`make web` builds it" in banner(8080, 8081)


def test_on_other_ports_they_name_it_and_why() -> None:
    shown = banner(5001, 5002)
    assert "ws://127.0.0.1:5001/v1/stream  (port 8080 is taken)" in shown
    assert "http://127.0.0.1:5002/metrics  (port 8081 is taken)" in shown
    assert "watch SIM:BTC-USD --url ws://127.0.0.1:5001/v1/stream\n" in shown


@pytest.mark.parametrize(("on_path", "shown"), [(True, "mdstream"), (False, ".venv/bin/mdstream")])
def test_the_program_is_called_as_it_can_be_found(
    on_path: bool, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "mdstream"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", str(program.parent) if on_path else "/nowhere")
    assert f"\n  {shown} watch SIM:BTC-USD\n" in banner(8080, 8081)
