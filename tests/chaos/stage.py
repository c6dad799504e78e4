"""All parts of a long run: three nodes of NATS, gateways behind links and HAProxy, writers with a journal, clients, and meters."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats

from attack.arena import environment
from chaos.schedule import KINDS, LEAD_S, TAIL_S
from mdstream.parent_death import killed_with_parent
from support.ports import free_port
from support.program import ROOT
from support.stepped_clock import SteppedClock
from truth.rig import GatewayProcess, start_cluster

STALE_S, HEARTBEAT_S, STATUS_S = 2.0, 1.0, 0.3
BEHIND_S = max(STALE_S, 2 * HEARTBEAT_S) + 1.0
"""How long a client may be told ``live`` and have less than was published: a lost node, or a frozen link, is silence at first."""
GATEWAYS = 3
VENUE = "CHAOS"
FAST_S, SLOW_S = 0.05, 0.25
FEED_STARTS = 5


@dataclass(frozen=True)
class Options:
    seed: int = 1
    seconds: float = 600.0
    every_s: float = 5.0
    clients: int = 500
    processes: int = 3
    instruments: int = 12
    quiet_s: tuple[float, float] = (LEAD_S, TAIL_S)
    """Without faults, at the start and at the end."""
    old_tree: Path | None = None
    """Another version of mdstream, for a mix of versions; its core is compiled."""


class Child:
    """A program of this folder: orders in, one line of answer each."""

    def __init__(self, *arguments: str, plan: Any, log: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.log = arguments[0], log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                killed_with_parent([sys.executable, "-m", *arguments]), cwd=ROOT, env=os.environ | environment() | (env or {}),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip
        self._plan = plan
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        answer = await self._exchange(self._plan)
        if answer != "ready":
            raise RuntimeError(f"{self.name} ended: {self.log.read_text()[-2000:]}")

    async def order(self, **order: Any) -> Any:
        async with self._turn:
            return await self._exchange(order)

    async def _exchange(self, value: Any) -> Any:
        return await asyncio.to_thread(self._ask, json.dumps(value).encode() + b"\n")

    def _ask(self, line: bytes) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return None
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else None

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class ChaosGateway(GatewayProcess):
    """May be of another version."""

    tree: Path | None = None
    log: Path | None = None

    def keep_log(self) -> None:
        """Of the life that has ended, or goes on."""
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{self.program.errors}\n")

    def start(self) -> None:
        self.keep_log()
        if self.tree is None:
            super().start()
            return
        env, self._env = self._env, (self._env or {}) | {"PYTHONPATH": str(self.tree)}
        command, self.command = self.command, (sys.executable, "-P", "-m")
        super().start()
        self._env, self.command = env, command


@dataclass
class Sample:
    """Memory and open files of each process, at a time."""

    at_s: float
    rss_mb: dict[str, float] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)


class Stage:
    kinds = KINDS
    publishers: tuple[str, ...] = ("feed",)
    """Who has links to NATS, beside the gateways."""
    streams: tuple[str, ...] = ("MD_LOG", "MD_STATE")
    """Whose leaders are killed and made to step down."""

    def __init__(self, options: Options, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.names = [f"{VENUE}:S{number}" for number in range(options.instruments)]
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self._stack = AsyncExitStack()
        self._lives = 0
        self.small_disk: Path | None = None
        """Where the last node stores, if a disk could be mounted."""
        self.said: list[str] = []
        """What parts said that did not start."""
        self.haproxy: subprocess.Popen[bytes] | None = None

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    # ---- the parts

    async def start(self) -> None:
        journals = self.directory / "journals"
        journals.mkdir(parents=True, exist_ok=True)
        self.nodes = await start_cluster(self._node_directories(), extra="no_advertise: true")
        for node in self.nodes:
            self._stack.push_async_callback(node.stop)
        self.clock = SteppedClock(self._made("gateway-clock"))
        self.feed_clock = SteppedClock(self._made("feed-clock"))
        self._plan_links()
        self.proxy = Child("chaos.proxy", plan=self._links, log=self.directory / "proxy.log")
        self._stack.callback(self.proxy.kill)
        await self.proxy.ready()
        await self._start_parts()
        self.admin = await nats.connect(
            [node.url for node in self.nodes],
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            error_cb=_expected,
        )
        self._stack.push_async_callback(self.admin.close)
        self.began = time.monotonic()

    async def _start_parts(self) -> None:
        self.feeder = await self.start_feeder()
        await self._start_gateways()
        self._start_haproxy()
        await self._start_clients()

    def _made(self, name: str) -> Path:
        (self.directory / name).mkdir()
        return self.directory / name

    def _node_directories(self) -> list[Path | None]:
        """The last node's storage is a small disk of its own, where we may mount one."""
        disk = self._made("small-disk")
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(disk)], capture_output=True, check=False
        )
        if mounted.returncode:
            return [None, None, None]
        self._stack.callback(subprocess.run, ["umount", "-l", str(disk)], check=False)
        self.small_disk = disk
        return [None, None, disk]

    def _plan_links(self) -> None:
        """A link for the clients of each gateway, and three to NATS for each gateway and each publisher."""
        self.gateway_ports = [free_port() for _ in range(GATEWAYS)]
        self._links: dict[str, tuple[int, int]] = {}
        for number, port in enumerate(self.gateway_ports):
            self._links[f"clients {number}"] = (free_port(), port)
        for who in (*(f"gateway {number}" for number in range(GATEWAYS)), *self.publishers):
            for number, node in enumerate(self.nodes):
                self._links[f"{who} nats {number}"] = (free_port(), node.port)

    def links_to_nats(self, who: str) -> list[str]:
        return [f"{who} nats {number}" for number in range(len(self.nodes))]

    def _nats_urls(self, who: str) -> list[str]:
        return [f"nats://127.0.0.1:{self._links[link][0]}" for link in self.links_to_nats(who)]

    async def start_feeder(self) -> Child:
        """The next life of the writer; returns when all its instruments are open. One that cannot start is started again."""
        for _ in range(FEED_STARTS):
            feeder = self._feeder()
            try:
                await feeder.ready()
            except RuntimeError as error:
                self.said.append(str(error))
                feeder.kill()
            else:
                return feeder
        raise RuntimeError(self.said[-1])

    def _feeder(self) -> Child:
        self._lives += 1
        journal = self.directory / "journals" / f"{self._lives:04d}.journal"
        pauses = {name: FAST_S if number == 0 else SLOW_S for number, name in enumerate(self.names)}
        plan = {"venue": VENUE, "nats": self._nats_urls("feed"), "status_s": STATUS_S, "instruments": pauses}
        feeder = Child(
            "chaos.feeder",
            str(journal),
            plan=plan,
            log=self.directory / "feeder.log",
            env=self.feed_clock.env,
        )
        self._stack.callback(feeder.kill)
        return feeder

    async def _start_gateways(self) -> None:
        self.gateways: list[ChaosGateway] = []
        for number, port in enumerate(self.gateway_ports):
            gateway = await asyncio.to_thread(self._gateway, number, port)
            gateway.log = self.directory / f"gateway-{number}.log"
            self._stack.push_async_callback(asyncio.to_thread, gateway.kill)
            self._stack.callback(gateway.keep_log)
            self.gateways.append(gateway)
        for gateway in self.gateways:
            await asyncio.to_thread(gateway.wait_ready)

    def _gateway(self, number: int, port: int) -> ChaosGateway:
        """The first one's clock can be stepped."""
        return ChaosGateway(
            ",".join(self._nats_urls(f"gateway {number}")), self.directory, self.clock.env if number == 0 else None, port=port,
            node=f"gateway-{number}", stale_after_ms=int(STALE_S * 1000), heartbeat_ms=int(HEARTBEAT_S * 1000),
            drain_spread_ms=1000, drain_deadline_ms=3000, **self._settings(),
        )  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        """Of the gateways, beside the usual ones."""
        return {}

    def _start_haproxy(self) -> None:
        self.lb_port = 0
        if (program := shutil.which("haproxy")) is None:
            return
        self.lb_port = free_port()
        servers = "\n".join(
            f"  server g{number} 127.0.0.1:{self._links[f'clients {number}'][0]} check port {gateway.admin_port} inter 200ms fall 1 rise 1"
            for number, gateway in enumerate(self.gateways)
        )
        (self.directory / "haproxy.cfg").write_text(
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  maxconn 4000\n"
            f"frontend clients\n  bind 127.0.0.1:{self.lb_port}\n  default_backend gateways\n"
            f"backend gateways\n  balance leastconn\n  option redispatch\n  option httpchk GET /readyz\n{servers}\n"
        )
        self._haproxy_command = [program, "-db", "-f", str(self.directory / "haproxy.cfg")]
        self.run_haproxy()
        self._stack.callback(self.end_haproxy)

    def run_haproxy(self) -> None:
        self.haproxy = subprocess.Popen(
            self._haproxy_command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end_haproxy(self) -> None:
        if self.haproxy is not None:
            self.haproxy.kill()
            self.haproxy.wait()

    async def _start_clients(self) -> None:
        self.clients: list[Child] = []
        for number in range(self.options.processes):
            plan = {
                "seed": f"{self.options.seed}/{number}", "journals": str(self.directory / "journals"),
                "groups": self._groups(), "ramp_s": 3.0,
                "bounds": {"silent_s": STALE_S + 1.0, "behind_s": BEHIND_S, "doubt_s": 1.0 + HEARTBEAT_S},
            }  # fmt: skip
            child = Child("chaos.clients", plan=plan, log=self.directory / f"clients-{number}.log")
            self._stack.callback(child.kill)
            self.clients.append(child)
        await asyncio.gather(*(child.ready() for child in self.clients))

    def _groups(self) -> list[dict[str, Any]]:
        """Of one process: a few on the fast instrument, where a silence shows; the rest on the others, a third behind HAProxy."""
        each = self.options.clients // self.options.processes
        ports = self.client_ports
        orders = [ports[at:] + ports[:at] for at in range(len(ports))]
        fast, slow = self.names[:1], self.names[1:]
        sizes = {"fast": max(2, each // 20), "one line": max(1, each // 40), "two lines": max(1, each // 40)}
        rest = each - sum(sizes.values())
        balanced = rest // 3 if self.lb_port else 0
        groups = [
            {"name": "fast", "kind": "book", "instruments": fast, "ports": orders, "count": sizes["fast"]},
            {"name": "one line", "kind": "sdk", "lines": 1, "instruments": fast, "ports": orders, "count": sizes["one line"]},
            {"name": "two lines", "kind": "sdk", "lines": 2, "instruments": fast, "ports": orders, "count": sizes["two lines"]},
            {"name": "slow", "kind": "any", "instruments": slow, "ports": orders, "count": rest - balanced},
        ]  # fmt: skip
        if balanced:
            groups.append(
                {
                    "name": "balanced",
                    "kind": "any",
                    "instruments": slow,
                    "ports": [[self.lb_port]],
                    "count": balanced,
                }
            )
        return groups

    @property
    def client_ports(self) -> list[int]:
        return [self._links[f"clients {number}"][0] for number in range(GATEWAYS)]

    # ---- what faults use

    async def link(self, link: str, do: str, **options: Any) -> None:
        await self.proxy.order(do=do, link=link, **options)

    async def tell_clients(self, **order: Any) -> list[Any]:
        return await asyncio.gather(*(child.order(**order) for child in self.clients))

    async def restart(self, number: int) -> None:
        """Starts a gateway that has ended, and returns when it is ready."""
        gateway = self.gateways[number]
        gateway.start()
        await asyncio.to_thread(gateway.wait_ready)

    @property
    def wanted(self) -> int:
        """How many clients there are."""
        return self.options.processes * sum(group["count"] for group in self._groups())

    async def live(self) -> int:
        return sum(await self.tell_clients(do="live"))

    # ---- meters

    def sample(self) -> None:
        sample = Sample(round(self.now_s, 1))
        for name, pid in self._pids().items():
            with suppress(OSError, ValueError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                sample.rss_mb[name] = round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
                sample.files[name] = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counted, not opened
        self.samples.append(sample)

    def _pids(self) -> dict[str, int]:
        pids = {f"gateway {n}": gateway.program.process.pid for n, gateway in enumerate(self.gateways)}
        pids |= {f"node {n}": node.pid for n, node in enumerate(self.nodes) if node.pid is not None}
        return pids | {name: child.process.pid for name, child in self._children().items()}

    def _children(self) -> dict[str, Child]:
        return {"feed": self.feeder}

    async def stop(self) -> None:
        await self._stack.aclose()


async def _expected(error: Exception) -> None:
    """Nodes die here."""
