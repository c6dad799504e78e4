"""Whole systems of processes: NATS, gateways, proxies, feed handlers and clients, as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.truth_tap import TruthTap
from mdstream.bus import connect as connect_bus
from support.program import Program

ROOT = Path(__file__).parents[2]


class Clients:
    """``follow.py`` as a process, of the version in a tree."""

    def __init__(self, tree: Path, url: str, count: int, format: str, *instruments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/deploy/follow.py"), url, str(count), format, *instruments],
            env=os.environ | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def ready(self) -> None:
        assert await asyncio.to_thread(self._process.stdout.readline) == "ready\n"  # type: ignore[union-attr]

    def reset(self) -> None:
        """Silence counts from now on."""
        self._process.stdin.write("reset\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]

    async def end(self) -> list[dict[str, Any]]:
        """What they saw."""
        said, _ = await asyncio.to_thread(self._process.communicate)
        found: list[dict[str, Any]] = json.loads(said)
        return found

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()  # type: ignore[union-attr]


class System:
    """Starts processes of a given tree; all end with the test."""

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._stack = ExitStack()

    def program(self, *arguments: str, tree: Path = ROOT, **options: Any) -> Program:
        folder = self._temporary / f"program-{len(self._stack._exit_callbacks)}"  # type: ignore[attr-defined]
        folder.mkdir()
        env = {"PYTHONPATH": str(tree)} | options.pop("env", {})
        command = options.pop("command", (sys.executable, "-P", "-m"))
        return self._stack.enter_context(
            Program(*arguments, temporary=folder, env=env, command=command, **options)
        )

    def gateway(self, nats: str, port: int, admin_port: int, *options: str, tree: Path = ROOT) -> Program:
        places = ("--port", str(port), "--admin-port", str(admin_port))
        return self.program("mdstream.cli", "serve", "--nats", nats, *places, *options, tree=tree)

    def feed(self, nats: str, *options: str, tree: Path = ROOT) -> Program:
        return self.program("mdstream.cli", "feed", "sim", "--nats", nats, *options, tree=tree)

    def clients(self, url: str, count: int, format: str, *instruments: str, tree: Path = ROOT) -> Clients:
        clients = Clients(tree, url, count, format, *instruments)
        self._stack.callback(clients.kill)
        return clients

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path)
    yield system
    system.close()


async def until_ready(admin_port: int) -> None:
    """Returns when ``/readyz`` says 200."""
    while await asyncio.to_thread(_status, f"http://127.0.0.1:{admin_port}/readyz") != 200:
        await asyncio.sleep(0.02)


async def until_open(port: int, program: Program) -> None:
    """Returns when the program listens there."""
    while True:
        assert program.process.poll() is None, program.errors
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def start_haproxy(system: System, ports: list[int]) -> Program:
    """With the configuration that is shipped. ``ports``: of both gateways, for clients and admin pages in turns, and its own."""
    environment = {
        "LISTEN": f"127.0.0.1:{ports[4]}",
        "GATEWAY_1": f"127.0.0.1:{ports[0]}",
        "GATEWAY_2": f"127.0.0.1:{ports[2]}",
        "ADMIN_PORT_1": str(ports[1]),
        "ADMIN_PORT_2": str(ports[3]),
    }
    file = str(ROOT / "deploy/haproxy/haproxy.cfg")
    return system.program(
        "-db",
        "-f",
        file,
        command=(shutil.which("haproxy") or "haproxy",),
        env=environment | {"PATH": os.environ["PATH"]},
    )


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


@asynccontextmanager
async def _tapping(nats: str) -> AsyncIterator[TruthTap]:
    tap = TruthTap()
    async with await connect_bus(nats) as bus:
        await bus.ensure_streams()

        def take(subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
            tap.take(subject.decode(), payload)

        for stream in ("book", "snap"):
            await bus.subscribe(f"md.*.*.{stream}", take)
        await bus.flush()
        yield tap


@pytest.fixture
def tapping() -> Callable[[str], Any]:
    """``async with tapping(nats_url) as tap``: the truth of all books from now on."""
    return _tapping
