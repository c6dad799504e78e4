"""The server under test: our own gateway, running gateways, or the C floor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from mdstream.bench.meters import AdminMeter, Meter, NoMeter, ProcessMeter
from mdstream.bench.parts import Gateway, Part
from mdstream.bench.profiles import Profile
from mdstream.bench.setup import Setup, address
from mdstream.children import Log

SPARE_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class BenchVenue:
    """A venue of made-up instruments on a NATS server."""

    nats: str
    """With its password, if it has one."""
    name: str
    symbols: int
    nats_argument: str = ""
    """What a command line holds instead of ``nats``: everybody can read it."""

    @property
    def instruments(self) -> list[str]:
        return [f"{self.name}:S{number:05}" for number in range(self.symbols)]

    @property
    def subjects(self) -> list[str]:
        return [f"md.{self.name}.S{number:05}" for number in range(self.symbols)]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and the meter that reads what the server uses."""

    gateways: Sequence[tuple[str, int]]
    meter: Meter
    is_floor: bool = False
    cores: int = 1
    """That it can use fully: one for each process that serves connections, as far as they have them."""


async def started_gateway(setup: Setup, venue: BenchVenue, profile: Profile, stack: AsyncExitStack) -> Target:
    """Starts ``mdstream serve`` for one measurement and returns when it is ready."""
    arguments = [
        *("--max-connections", str(profile.connections + profile.storm + SPARE_CONNECTIONS)),
        *(("--workers", str(setup.workers)) if setup.workers > 1 else ()),
        *setup.server_args,
        *(
            "--nats",
            venue.nats_argument or venue.nats,
            "--host",
            "127.0.0.1",
            "--port",
            str(setup.port),
            "--admin-port",
            "0",
        ),
        *("--drain-spread-ms", "0", "--drain-deadline-ms", "1000", "--log-level", "info"),
    ]
    gateway = await Gateway.start(arguments, setup.server_cpus, stack)
    meter = ProcessMeter([gateway.pid], [gateway.admin_url])
    cores = min(setup.workers, len(setup.server_cpus) or setup.workers)
    return Target([address(gateway.url)], meter, cores=cores)


async def started_floor(setup: Setup, venue: BenchVenue, log: Log, stack: AsyncExitStack) -> Target:
    """Starts the C floor on the CPU of the server."""
    part = await Part.start("relay", "the C floor", log, setup.server_cpus, stack)
    url = urlsplit(venue.nats)
    listening = await part.order(
        "listen",
        instruments=venue.instruments,
        subjects=venue.subjects,
        nats_host=url.hostname,
        nats_port=url.port,
        nats_user=url.username,
        nats_password=url.password,
    )
    return Target([("127.0.0.1", listening["port"])], ProcessMeter([part.pid]), is_floor=True)


def running_gateways(setup: Setup) -> Target:
    """The gateways of ``setup.urls``, with a meter if the setup has pids or admin addresses."""
    meter: Meter = NoMeter()
    if setup.server_pids:
        meter = ProcessMeter(setup.server_pids, setup.admin)
    elif setup.admin:
        meter = AdminMeter(setup.admin)
    return Target(setup.gateways, meter, cores=len(setup.gateways))
