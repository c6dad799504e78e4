"""Thousands of clients are cut off at once: ``python benchmarks/storm.py --clients 5000`` (``--gateways 2 --kill one``).

NATS, a publisher and gateways are started here. Clients of the SDK, in processes of their own, have a book each. Then gateways are killed
(SIGKILL) and started again at once, on the same ports; ``--times 2`` does it once more as soon as all are back. A client is back when its
book is live again; at the end each compares its book with the publisher's. Printed: when clients were back, how many
resumed without a snapshot, connections refused, the gateways' greatest memory.

With ``--tls`` each new connection makes a full handshake (a P-256 certificate, made with openssl); with ``--tokens`` each client brings
a token of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from mdstream import feed
from mdstream.auth.signing import new_key, read_signing_key
from mdstream.bus import EmbeddedNats
from mdstream.client import Book, Policy, SubscriptionState, connect

DEPTH = 20
WAIT_S = 120.0
LEVELS = 200
TOKEN_S = 86_400
EVERYTHING = {"grants": [{"channels": ["*"], "instruments": ["*"]}]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--instruments", type=int, default=50)
    parser.add_argument("--per-second", type=float, default=1.0, help="updates of each instrument")
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--kill", choices=("all", "one"), default="all")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--settle", type=float, default=20.0, help="seconds before the first cut")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--tokens", action="store_true")
    parser.add_argument("--server-args", type=shlex.split, default=[], help="more options for mdstream serve")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        uvloop.run(serve_clients(Plan(**json.loads(sys.stdin.readline()))))
    else:
        uvloop.run(storm(options))


# ---- the clients


@dataclass(frozen=True, slots=True)
class Plan:
    """The clients of one process."""

    clients: list[list[str]]
    """The first gateway of each, and its instrument."""
    urls: list[str]
    authority: str | None
    """A file: the certificate that the gateways show."""
    key: str | None
    """A file: the key that signs tokens."""

    def tls(self) -> ssl.SSLContext | None:
        return None if self.authority is None else ssl.create_default_context(cafile=self.authority)

    def tokens(self) -> list[str | None]:
        """Of each client."""
        if self.key is None:
            return [None] * len(self.clients)
        key, now_s = read_signing_key(Path(self.key).read_bytes()), int(time.time())
        same = {"aud": "mdstream", "iat": now_s, "exp": now_s + TOKEN_S, "md": EVERYTHING}
        return [key.sign({"sub": f"client-{os.getpid()}-{n}", **same}) for n in range(len(self.clients))]


class Follower:
    """One client, and when it was back."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.back_at: float | None = 0.0
        self.cut_at = 0.0
        self.resumed = True
        self.gone = False
        """Its connection was lost since the cut."""
        book.on_update(self._updated)
        book.on_state(self._changed)

    def cut(self) -> None:
        self.back_at, self.cut_at, self.resumed = None, time.monotonic(), True

    def _updated(self, update: Any) -> None:
        if self.back_at is None and update.kind == "snapshot":
            self.resumed = False

    def _changed(self, state: SubscriptionState) -> None:
        if self.back_at is None and self.gone and state is SubscriptionState.LIVE:
            self.back_at = time.monotonic() - self.cut_at


async def serve_clients(plan: Plan) -> None:
    """Connects, obeys until stdin ends, and closes what still tries to connect."""
    followers: list[Follower] = []
    clients: list[Any] = []
    tls = plan.tls()
    for (url, name), token in zip(plan.clients, plan.tokens(), strict=True):
        order = [url, *(each for each in plan.urls if each != url)]
        client = await connect(order, policy=Policy(persist=True), token=token, ssl=tls).__aenter__()
        follower = Follower(await client.book(name, depth=DEPTH))
        client.on_state(lambda state, follower=follower: _note(follower, state))
        followers.append(follower)
        clients.append(client)
    print("ready", flush=True)
    await obey(followers, clients)
    await asyncio.gather(*(client.close() for client in clients))


async def obey(followers: Sequence[Follower], clients: Sequence[Any]) -> None:
    """Reads commands from stdin: ``cut``, ``wait``, ``check``, ``count``; answers each in a line."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *arguments = line.split()
        if command == "cut":
            for follower in followers:
                follower.gone = False
                follower.cut()
            print("cut", flush=True)
        elif command == "wait":
            affected = int(arguments[0])
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline and any(
                each.back_at is None for each in followers if each.gone or affected
            ):
                await asyncio.sleep(0.05)
            gone = [each for each in followers if each.gone]
            print(json.dumps([[each.back_at, each.resumed] for each in gone]), flush=True)
        elif command == "check":
            print(
                json.dumps([[f.book.request.instrument, f.book.seq, digest(f.book)] for f in followers]),
                flush=True,
            )
        elif command == "count":
            counts = [(each.stats.gaps, each.stats.crc_errors, each.stats.recoveries) for each in clients]
            print(json.dumps([sum(each) for each in zip(*counts, strict=True)]), flush=True)


def _note(follower: Follower, state: Any) -> None:
    if state == "reconnecting":
        follower.gone = True


def digest(book: Any) -> str:
    sides = [[[int(n) for n in level] for level in side.tolist()] for side in (book.bids, book.asks)]
    return hashlib.sha256(json.dumps(sides).encode()).hexdigest()[:16]


# ---- what they connect to


class Gateway:
    """``mdstream serve``, on the same ports after a restart."""

    def __init__(self, nats_url: str, arguments: Sequence[str]) -> None:
        self._nats_url = nats_url
        self._arguments = arguments
        self.port, self.admin_port = free_port(), free_port()
        self.peak_bytes = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mdstream.cli", "serve", "--nats", self._nats_url]
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port), "--log-level", "warning"]
        self.process = subprocess.Popen(
            [
                *command,
                *ports,
                "--max-connections",
                "19000",
                "--audit-lines-per-second",
                "0",
                *self._arguments,
            ]
        )

    @property
    def url(self) -> str:
        scheme = "wss" if "--tls-cert" in self._arguments else "ws"
        return f"{scheme}://127.0.0.1:{self.port}/v1/stream"

    def kill(self) -> None:
        self.note_memory()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def note_memory(self) -> None:
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        if found := re.search(r"VmHWM:\s+(\d+) kB", text):
            self.peak_bytes = max(self.peak_bytes, int(found[1]) * 1024)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=1):
                return True
        except OSError:
            return False

    def metric(self, pattern: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics") as page:
            found = re.findall(rf"^{pattern} (\S+)$", page.read().decode(), re.MULTILINE)
        return sum(map(float, found))


@dataclass(frozen=True, slots=True)
class Secrets:
    """The files of TLS and of tokens, those that are wanted."""

    authority: str | None = None
    key: str | None = None
    arguments: Sequence[str] = ()
    """Of the gateways."""


def make_secrets(folder: Path, options: argparse.Namespace) -> Secrets:
    arguments: list[str] = []
    authority = key = None
    if options.tls:
        authority, private = str(folder / "tls.pem"), str(folder / "tls.key")
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        command += [
            "-subj",
            "/CN=storm",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            private,
            "-out",
            authority,
        ]
        subprocess.run(command, check=True, capture_output=True)
        arguments += ["--tls-cert", authority, "--tls-key", private]
    if options.tokens:
        key, public = str(folder / "tokens.key"), folder / "tokens.pub"
        signing, verifying = new_key()
        Path(key).write_bytes(signing)
        public.write_bytes(verifying or b"")
        arguments += ["--auth-key-file", str(public)]
    return Secrets(authority, key, arguments)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


async def until_ready(gateways: Sequence[Gateway]) -> float:
    began = time.monotonic()
    while not all([await asyncio.to_thread(each.is_ready) for each in gateways]):
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def publish(
    publisher: Any, names: Sequence[str], per_second: float, stop: asyncio.Event
) -> dict[str, Any]:
    chance = random.Random(1)
    writers = {}
    for name in names:
        writer = writers[name] = await publisher.instrument(name, price_exp=-2, size_exp=-4)
        bids = [n for i in range(LEVELS) for n in (100_000 - i, 1 + i)]
        asks = [n for i in range(LEVELS) for n in (100_001 + i, 1 + i)]
        writer.replace_ticks(bids, asks)
    while not stop.is_set():
        began = time.monotonic()
        for writer in writers.values():
            move = chance.randrange(60)
            writer.update_ticks(
                [100_000 - move, chance.randrange(1, 999)], [100_001 + move, chance.randrange(1, 999)]
            )
            await asyncio.sleep(1 / per_second / len(writers) / 2)
        await asyncio.sleep(max(began + 1 / per_second - time.monotonic(), 0))
    return writers


class Child:
    """A process of clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, plan: Plan) -> Child:
        command = [sys.executable, __file__, "--child"]
        pipe = asyncio.subprocess.PIPE
        child = cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**26))
        child.tell(json.dumps(asdict(plan)))
        return child

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()

    async def ask(self, command: str) -> str:
        self.tell(command)
        return await self.answer()

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()


async def storm(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="mdstream-storm-") as folder:
        await storm_with(options, make_secrets(Path(folder), options))


async def storm_with(options: argparse.Namespace, secrets: Secrets) -> None:
    figures: dict[str, Any] = {
        name: getattr(options, name) for name in ("clients", "gateways", "tls", "tokens")
    }
    figures["cuts"] = []
    names = [f"SYM{i}" for i in range(options.instruments)]
    stop = asyncio.Event()
    async with await EmbeddedNats.start() as nats, feed.connect(nats.url, venue="STORM") as publisher:
        publishing = asyncio.create_task(publish(publisher, names, options.per_second, stop))
        await asyncio.sleep(1)
        arguments = [*secrets.arguments, *options.server_args]
        gateways = [Gateway(nats.url, arguments) for _ in range(options.gateways)]
        try:
            await until_ready(gateways)
            children = await start_children(options, secrets, [each.url for each in gateways], names)
            await asyncio.sleep(options.settle)
            for number in range(options.times):
                victims = gateways if options.kill == "all" else [gateways[number % len(gateways)]]
                figures["cuts"].append(await cut(gateways, victims, children))
                await asyncio.sleep(2)
            stop.set()
            writers = await publishing
            await asyncio.sleep(3)
            figures["wrong_books"] = await wrong_books(children, writers)
            counts = [
                json.loads(each) for each in await asyncio.gather(*(child.ask("count") for child in children))
            ]
            figures["gaps"], figures["crc_errors"], figures["recoveries"] = (
                sum(each) for each in zip(*counts, strict=True)
            )
            figures["peak_bytes"] = [each.peak_bytes for each in gateways]
            peak_mib = max(figures["peak_bytes"]) / 2**20
            wrong = {name: figures[name] for name in ("wrong_books", "gaps", "crc_errors")}
            await asyncio.gather(*(child.end() for child in children))
            print(f"{wrong}; memory at most {peak_mib:.0f} MiB a gateway")
        finally:
            for gateway in gateways:
                gateway.kill()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


async def start_children(
    options: argparse.Namespace, secrets: Secrets, urls: list[str], names: Sequence[str]
) -> list[Child]:
    plans: list[list[list[str]]] = [[] for _ in range(options.processes)]
    for number in range(options.clients):
        plans[number % options.processes].append(
            [urls[number // options.processes % len(urls)], f"STORM:{names[number % len(names)]}"]
        )
    children = [await Child.start(Plan(plan, urls, secrets.authority, secrets.key)) for plan in plans]
    for child in children:
        assert (await child.answer()).strip() == "ready"
    return children


async def cut(
    gateways: Sequence[Gateway], victims: Sequence[Gateway], children: Sequence[Child]
) -> dict[str, Any]:
    affected = int(len(victims) == len(gateways))
    await asyncio.gather(*(child.ask("cut") for child in children))
    for gateway in victims:
        gateway.kill()
    for gateway in victims:
        gateway.start()
    ready = asyncio.create_task(until_ready(victims))
    await asyncio.sleep(1)
    answers = await asyncio.gather(*(child.ask(f"wait {affected}") for child in children))
    ready_s = await ready
    found = [each for answer in answers for each in json.loads(answer)]
    back = sorted(at for at, _ in found if at is not None)
    for gateway in gateways:
        gateway.note_memory()
    refused = sum(each.metric(r"mdstream_connections_refused_total.*") for each in gateways)
    resumed = sum(resumed for at, resumed in found if at is not None)
    result = {
        "cut": len(found),
        "back": len(back),
        "half_s": back[len(back) // 2] if back else None,
        "most_s": back[len(back) * 99 // 100] if back else None,
        "last_s": back[-1] if back else None,
        "gateway_ready_s": ready_s,
        "resumed": resumed,
        "refused": refused,
    }
    print(
        f"{len(found)} cut, {len(back)} back: half in {result['half_s']:.2f} s, 99 % in {result['most_s']:.2f} s, the last in "
        f"{result['last_s']:.2f} s; gateway ready in {ready_s:.2f} s; {resumed / len(back):.1%} resumed; {refused:.0f} refused",
        flush=True,
    )
    return result


async def wrong_books(children: Sequence[Child], writers: dict[str, Any]) -> int:
    right = {}
    for name, writer in writers.items():
        bids, asks = writer.book.arrays(depth=DEPTH)
        sides = [[[int(n) for n in level] for level in side.tolist()] for side in (bids, asks)]
        right[f"STORM:{name}"] = hashlib.sha256(json.dumps(sides).encode()).hexdigest()[
            :16
        ]  # the number of a cut view stays where nothing in it changes
    answers = await asyncio.gather(*(child.ask("check") for child in children))
    return sum(text != right[name] for answer in answers for name, _, text in json.loads(answer))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
