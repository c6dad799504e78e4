"""What an attack happens in: a nats-server, a market, a gateway as a process, honest clients, and the meters on all of them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attack.target import Target
from mdstream.bus import EmbeddedNats
from mdstream.parent_death import killed_with_parent
from support.program import ROOT, Program

DEADLINE_S = 30.0
TESTS = str(ROOT / "tests")
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_TRACE = re.compile(r"Traceback|AddressSanitizer|runtime error:|internal error")
_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug|info|warning|error) [a-z_.]+: (?!FORGED)"
)
"""How every line of the log begins. ``FORGED`` is what the hostile texts of the tables would begin one with."""


def environment() -> dict[str, str]:
    paths = [TESTS, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def module() -> tuple[str, ...]:
    """The command that runs a module until this process dies: a run that is killed leaves none of its processes."""
    return tuple(killed_with_parent([sys.executable, "-m"]))


def on_core(pid: int, core: int) -> None:
    """Keeps a process to one core, where the machine has more than one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for thread in threads(pid):
            os.sched_setaffinity(thread, {cores[core % len(cores)]})


def before_others(pid: int) -> None:
    """Gives a process its core whenever it wants it, where that is allowed."""
    with suppress(PermissionError):
        for thread in threads(pid):
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))


def threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


class HonestClients:
    """The process of the clients that must not notice anything."""

    def __init__(self, port: int, temporary: Path, *options: str) -> None:
        with (temporary / "honest.log").open("w") as log:
            self._process = subprocess.Popen(
                [*module(), "attack.honest", str(port), *options],
                cwd=ROOT,
                env=os.environ | environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None and self._process.stdin is not None
        assert self._process.stdout.readline() == "ready\n", (temporary / "honest.log").read_text()

    @property
    def process(self) -> subprocess.Popen[str]:
        return self._process

    def _ask(self, order: str) -> list[dict[str, Any]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        reports: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return reports

    def mark(self) -> None:
        self._ask("mark")

    def report(self) -> list[dict[str, Any]]:
        return self._ask("report")

    def faults(self) -> list[str]:
        return [fault for report in self.report() for fault in report["faults"]]

    def wait_for_updates(self, deadline_s: float = DEADLINE_S) -> None:
        """Returns when each of them has had an update from now on."""
        self.mark()
        until = time.monotonic() + deadline_s
        while not all(report["updates"] for report in self.report()):
            assert time.monotonic() < until, f"honest clients are sent nothing: {self.report()}"
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Usage:
    """What the gateway has, now or at its worst."""

    rss_bytes: int = 0
    topics: int = 0
    sessions: int = 0
    instruments: int = 0
    descriptors: int = 0
    socket_bytes: int = 0
    """Of the kernel, for all TCP sockets of the machine."""


class GatewayUnderAttack:
    """``mdstream serve`` with these settings; its log is searched for what must never be there."""

    def __init__(
        self, nats_url: str, temporary: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> None:
        self.program = Program(
            "mdstream.cli", "serve", "--nats", nats_url, "--port", "0", "--admin-port", "0",
            "--log-level", "info", *arguments, temporary=temporary, env=env, command=module(),
        )  # fmt: skip
        found = self.program.until_error(
            r"clients at ws\S*?://[^:]+:(\d+)\S*, probes and metrics at http://[^:]+:(\d+)"
        )
        self.port, self.admin_port = int(found[1]), int(found[2])
        self.program.until_error("connected to NATS")
        self.pid = self.program.process.pid
        self._read = 0

    def stop(self) -> None:
        with self.program:
            if self.program.process.poll() is None:
                self.program.end(signal.SIGKILL)

    def metrics(self) -> str:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.admin_port}/metrics", timeout=DEADLINE_S
        ) as page:
            text: str = page.read().decode()
            return text

    def metric(self, name: str, text: str | None = None) -> float:
        """The sum of a metric over its labels."""
        page = self.metrics() if text is None else text
        found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        return sum(float(value) for value in found)

    def usage(self) -> Usage:
        page = self.metrics()
        return Usage(
            rss_bytes=self.rss_bytes(),
            topics=int(self.metric("mdstream_topics", page)),
            sessions=int(self.metric("mdstream_connections", page)),
            instruments=int(self.metric("mdstream_instruments", page)),
            descriptors=self.descriptors(),
            socket_bytes=socket_bytes(),
        )

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def said_wrong(self) -> list[str]:
        """Lines of its log since the last call that tell of a fault of the gateway's own, or are not its own."""
        lines = self.program.errors.splitlines()
        new, self._read = lines[self._read :], len(lines)
        return [line for line in new if _TRACE.search(line) or not is_genuine(line)]


def is_genuine(line: str) -> bool:
    """Whether a line is one of the gateway's own, and shows as what it is."""
    return line.isprintable() and (_LINE.match(line) is not None or line.startswith("  | "))


def socket_bytes() -> int:
    found = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return int(found[1]) * PAGE if found else 0


@dataclass
class Sampler:
    """Looks at the gateway's memory many times a second; the worst is kept."""

    gateway: GatewayUnderAttack
    worst: Usage = field(default_factory=Usage)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Sampler]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.worst.rss_bytes = max(self.worst.rss_bytes, self.gateway.rss_bytes())
            self.worst.socket_bytes = max(self.worst.socket_bytes, socket_bytes())


class Arena:
    """All parts; ``stop`` ends them. The gateway may be replaced by one with other settings."""

    def __init__(
        self, temporary: Path, *arguments: str, token: str = "", depth: int = 2_000, pinned: bool = False
    ) -> None:
        """``arguments`` of the gateway; ``token`` of the honest clients; ``depth`` of the deep book."""
        self.refusals: set[bytes] = set()
        """The answers to tokens that are not good, which must all be one."""
        with ExitStack() as parts:
            self._start(parts, temporary, depth, arguments, token)
            self._parts = parts.pop_all()
        if pinned:
            self._pin()

    def _start(
        self, parts: ExitStack, temporary: Path, depth: int, arguments: tuple[str, ...], token: str
    ) -> None:
        """Starts all parts; where one does not start, those before it end."""
        self.nats = asyncio.run(EmbeddedNats.start())
        parts.callback(lambda: asyncio.run(self.nats.stop()))
        self.market = Program(
            "attack.market",
            self.nats.url,
            temporary=temporary,
            env=environment() | {"ATTACK_DEPTH": str(depth)},
            command=module(),
        )
        parts.callback(self._stop_market)
        self.market.until("ready")
        self.gateway = GatewayUnderAttack(self.nats.url, temporary, *arguments)
        parts.callback(self.gateway.stop)
        self.honest = HonestClients(self.gateway.port, temporary, *(("--token", token) if token else ()))
        parts.callback(self.honest.stop)

    def _pin(self) -> None:
        """The gateway has the first core. On the other, we and the attackers, whom we start, come last: what they take there from NATS
        and from the honest clients is not the gateway's doing."""
        assert self.nats.pid is not None
        self._parts.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        on_core(self.gateway.pid, 0)
        for pid in (self.nats.pid, self.market.process.pid, self.honest.process.pid):
            on_core(pid, 1)
            before_others(pid)
        on_core(os.getpid(), 1)

    @property
    def target(self) -> Target:
        return Target(self.gateway.port, self.gateway.admin_port, self.nats.url)

    def check(self, *, refused_feed: bool = False) -> None:
        """What must hold after anything at all: honest clients go on without a fault, and the log shows no fault of ours.

        ``refused_feed``: the gateway refused what came for their instruments. It then recovers from the log, or from the writer's
        snapshot if one comes just then: that one may be shown.
        """
        self.honest.wait_for_updates()
        faults = [each for each in self.honest.faults() if not (refused_feed and each.endswith(": reload"))]
        assert not faults, faults
        wrong = self.gateway.said_wrong()
        assert not wrong, "\n".join([*wrong, self.gateway.program.errors[-3000:]])
        assert self.gateway.program.process.poll() is None, self.gateway.program.errors[-3000:]

    def settled(self, sessions: int, deadline_s: float = DEADLINE_S) -> Usage:
        """Returns when only so many sessions are left."""
        until = time.monotonic() + deadline_s
        while (usage := self.gateway.usage()).sessions > sessions:
            assert time.monotonic() < until, f"{usage.sessions} sessions are left, {sessions} should be"
            time.sleep(0.05)
        return usage

    def _stop_market(self) -> None:
        with self.market:
            if self.market.process.poll() is None:
                self.market.end(signal.SIGKILL)

    def stop(self) -> None:
        self._parts.close()
