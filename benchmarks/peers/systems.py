"""The systems that are compared: for each, two servers to which clients connect, and what is between them. Each is started by itself, on
loopback, with ports that are free and a directory that goes with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from mdstream.bus.embedded import find_binary
from peers import wires

PEERS = Path(__file__).resolve().parents[2] / "build" / "peers"
START_S = 30.0
KEPT = 10_000
"""How many messages of a topic are kept, where they are kept."""


@dataclass
class Running:
    """The processes of a system by what they are, and where its two servers listen."""

    directory: Path
    urls: list[str] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
        log = (self.directory / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=os.environ | (env or {}),
        )

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def cpu_us(self) -> dict[str, float]:
        """CPU of each process since it began, its threads and its children that have ended included."""
        return {name: _cpu_us(process.pid) for name, process in self.processes.items()}

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class System:
    name: str
    wire: type[wires.Wire]
    launch: Callable[[Running], None]
    needs: tuple[str, ...] = ()
    """Files below build/peers."""

    @contextmanager
    def running(self) -> Iterator[Running]:
        with TemporaryDirectory(prefix="mdstream-peers-") as directory:
            running = Running(Path(directory))
            try:
                self.launch(running)
                yield running
            finally:
                running.stop()

    @property
    def is_installed(self) -> bool:
        return all((PEERS / name).exists() for name in self.needs)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def listening(running: Running, *ports: int) -> None:
    """Returns when something listens on each port. Raises RuntimeError if a process ends, with what it said."""
    async with asyncio.timeout(START_S):
        for port in ports:
            while not _listens(port):
                for name, process in running.processes.items():
                    if process.poll() is not None:
                        said = (running.directory / f"{name}.log").read_text()[-2_000:]
                        raise RuntimeError(f"{name} ended: {said}")
                await asyncio.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * 1e6 / os.sysconf("SC_CLK_TCK")


# ---- mdstream


def mdstream(storage: str) -> Callable[[Running], None]:
    def launch(running: Running) -> None:
        nats, *ports = free_ports(5)
        _nats(running, nats, jetstream=True)
        for gateway in range(2):
            port, admin = ports[2 * gateway : 2 * gateway + 2]
            budgets = "commands", "publishes"
            many = [f"{budget}_{kind} = 1000000" for budget in budgets for kind in ("burst", "per_second")]
            settings = [
                f'nats = ["nats://127.0.0.1:{nats}"]',
                f"port = {port}",
                f"admin_port = {admin}",
                f'events_storage = "{storage}"',
                f"events_max_per_topic = {KEPT}",
                f"events_max_bytes = {64 * 1024 * 1024}",
                f"decoded_bytes_burst = {2**30}",
                f"decoded_bytes_per_second = {2**30}",
            ]
            path = running.write(f"gateway{gateway}.toml", "\n".join(settings + many))
            running.start(
                f"gateway {gateway + 1}", sys.executable, "-m", "mdstream.cli", "serve", "--config", path
            )
            running.urls.append(f"ws://127.0.0.1:{port}")

    return launch


# ---- Centrifugo


def centrifugo(broker: str) -> Callable[[Running], None]:
    def launch(running: Running) -> None:
        port, *ports = free_ports(3)
        channel: dict[str, object] = {
            "allow_subscribe_for_client": True,
            "allow_publish_for_client": True,
        }
        if broker == "redis":
            _redis(running, port)
            engine: dict[str, object] = {
                "engine": {"type": "redis", "redis": {"address": f"redis://127.0.0.1:{port}"}}
            }
            channel |= {"history_size": KEPT, "history_ttl": "300s", "force_recovery": True}
        else:
            _nats(running, port)
            nats = {"url": f"nats://127.0.0.1:{port}"}
            engine = {"broker": {"enabled": True, "type": "nats", "nats": nats}}
        for node, own in enumerate(ports):
            config = {
                "http_server": {"address": "127.0.0.1", "port": str(own)},
                "client": {"insecure": True},
                "channel": {"without_namespace": channel},
                **engine,
            }
            path = running.write(f"node{node}.json", json.dumps(config))
            running.start(f"node {node + 1}", PEERS / "centrifugo", "--config", path)
            running.urls.append(f"ws://127.0.0.1:{own}")

    return launch


# ---- Socket.IO


def socketio(running: Running) -> None:
    port, *ports = free_ports(3)
    _redis(running, port)
    node = shutil.which("node") or "node"
    for number, own in enumerate(ports):
        script = PEERS / "socketio" / "server.mjs"
        running.start(f"server {number + 1}", node, script, str(own), f"redis://127.0.0.1:{port}")
        running.urls.append(f"ws://127.0.0.1:{own}")


# ---- NATS


def nats_websocket(running: Running) -> None:
    ports = free_ports(6)
    routes = [f"nats://127.0.0.1:{port}" for port in ports[4:]]
    for number in range(2):
        client, own, route = ports[number], ports[2 + number], ports[4 + number]
        config = f"""
            host: 127.0.0.1
            port: {client}
            websocket {{ host: 127.0.0.1, port: {own}, no_tls: true }}
            cluster {{ name: peers, host: 127.0.0.1, port: {route}, routes: {json.dumps(routes)} }}
        """
        path = running.write(f"server{number}.conf", config)
        running.start(f"server {number + 1}", find_binary(), "-c", path)
        running.urls.append(f"ws://127.0.0.1:{own}")


def _nats(running: Running, port: int, *, jetstream: bool = False) -> None:
    storing = ["-js", "-sd", running.directory / "jetstream"] if jetstream else []
    running.start("NATS", find_binary(), "-a", "127.0.0.1", "-p", str(port), *storing)
    _wait(port)


def _redis(running: Running, port: int) -> None:
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    running.start("Redis", PEERS / "redis-server", "--port", str(port), *options)
    _wait(port)


def _wait(port: int) -> None:
    """What connects to it does so once, and ends where it cannot."""
    for _ in range(int(START_S / 0.05)):
        if _listens(port):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


SYSTEMS = (
    System("mdstream, JetStream in memory", wires.Mdstream, mdstream("memory")),
    System("mdstream, JetStream in files", wires.Mdstream, mdstream("file")),
    System(
        "Centrifugo, Redis with history",
        wires.Centrifugo,
        centrifugo("redis"),
        ("centrifugo", "redis-server"),
    ),
    System("Centrifugo, NATS", wires.Centrifugo, centrifugo("nats"), ("centrifugo",)),
    System(
        "Socket.IO, Redis adapter",
        wires.SocketIo,
        socketio,
        ("redis-server", "socketio/node_modules/socket.io"),
    ),
    System("nats-server, WebSocket", wires.Nats, nats_websocket),
)
