"""What each kind of fault does. A fault begins, lasts, and is over when its coroutine returns."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from nats.errors import Error as NatsError

from chaos.schedule import Event, Kind
from chaos.stage import GATEWAYS, Stage

Fault = Callable[[Stage, Event], Awaitable[str]]
"""Returns what was hit."""
FAULTS: dict[str, Fault] = {}
DELAY_S = 0.25
TAKEN_S, LEFT_S = 0.35, 0.02
"""A gateway has the processor for so little time between others, in an overload."""
HOUR_S = 3600
STORM = 60
NODE_START_S = 30.0


def fault(name: str) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return register


def possible(stage: Stage) -> list[Kind]:
    """The kinds that this machine and these options allow."""
    lacking = {
        "load balancer restarted": stage.lb_port == 0,
        "disk of a node full": stage.small_disk is None,
        "gateway of another version": stage.options.old_tree is None,
    }
    return [kind for kind in stage.kinds if not lacking.get(kind.name, False)]


# ---- gateways


@fault("gateway killed")
async def gateway_killed(stage: Stage, event: Event) -> str:
    number = event.choose(GATEWAYS)
    await asyncio.to_thread(stage.gateways[number].kill)
    await asyncio.sleep(event.seconds)
    await stage.restart(number)
    return f"gateway {number}"


@fault("gateway stopped")
async def gateway_stopped(stage: Stage, event: Event) -> str:
    number = event.choose(GATEWAYS)
    with stage.gateways[number].paused():
        await asyncio.sleep(event.seconds)
    return f"gateway {number}"


@fault("overload")
async def overload(stage: Stage, event: Event) -> str:
    """Others take the processor from a gateway: it runs for a moment now and then, and cannot keep up."""
    number = event.choose(GATEWAYS)
    gateway = stage.gateways[number]
    ends_s = time.monotonic() + event.seconds
    while time.monotonic() < ends_s:
        with gateway.paused():
            await asyncio.sleep(TAKEN_S)
        await asyncio.sleep(LEFT_S)
    level = await asyncio.to_thread(_overload_level, gateway.admin_port)
    return f"gateway {number}, which came to level {level}"


def _overload_level(admin_port: int) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as page:
            found = re.search(r"^mdstream_overload_level (\d+)", page.read().decode(), re.MULTILINE)
    except OSError:
        return "unknown"
    return found[1] if found else "unknown"


async def _drained(stage: Stage, number: int, pause_s: float = 0.0) -> None:
    await asyncio.to_thread(stage.gateways[number].stop, signal.SIGTERM)
    await asyncio.sleep(pause_s)
    await stage.restart(number)


@fault("gateway drained")
async def gateway_drained(stage: Stage, event: Event) -> str:
    number = event.choose(GATEWAYS)
    await _drained(stage, number, event.seconds)
    return f"gateway {number}"


@fault("rolling restart")
async def rolling_restart(stage: Stage, event: Event) -> str:
    for number in range(GATEWAYS):
        await _drained(stage, number)
    return "all gateways, one after the other"


@fault("all gateways killed")
async def all_gateways_killed(stage: Stage, event: Event) -> str:
    await asyncio.gather(*(asyncio.to_thread(gateway.kill) for gateway in stage.gateways))
    await asyncio.sleep(event.seconds)
    await asyncio.gather(*(stage.restart(number) for number in range(GATEWAYS)))
    return "all gateways"


@fault("gateway of another version")
async def gateway_of_another_version(stage: Stage, event: Event) -> str:
    number = event.choose(GATEWAYS)
    gateway = stage.gateways[number]
    gateway.tree = stage.options.old_tree
    await _drained(stage, number)
    await asyncio.sleep(event.seconds)
    gateway.tree = None
    await _drained(stage, number)
    return f"gateway {number}"


def _steps(event: Event) -> int:
    return (-HOUR_S, 60, HOUR_S)[event.choose(3)]


@fault("clock of a gateway stepped")
async def clock_of_a_gateway_stepped(stage: Stage, event: Event) -> str:
    stage.clock.step(_steps(event))
    await asyncio.sleep(event.seconds)
    stage.clock.step(0)
    return f"gateway 0 by {_steps(event)} s"


# ---- links


@fault("load balancer restarted")
async def load_balancer_restarted(stage: Stage, event: Event) -> str:
    stage.end_haproxy()
    await asyncio.sleep(event.seconds)
    stage.run_haproxy()
    return "HAProxy"


@fault("clients cut off")
async def clients_cut_off(stage: Stage, event: Event) -> str:
    link = f"clients {event.choose(GATEWAYS)}"
    await stage.link(link, "refuse")
    await stage.link(link, "cut")
    await asyncio.sleep(event.seconds)
    await stage.link(link, "accept")
    return link


@fault("some clients cut off")
async def some_clients_cut_off(stage: Stage, event: Event) -> str:
    link = f"clients {event.choose(GATEWAYS)}"
    await stage.link(link, "cut", share=0.4)
    return link


async def _delayed(stage: Stage, links: list[str], seconds: float) -> None:
    for link in links:
        await stage.link(link, "delay", seconds=DELAY_S)
    await asyncio.sleep(seconds)
    for link in links:
        await stage.link(link, "delay", seconds=0.0)


async def frozen(stage: Stage, links: list[str], seconds: float, way: str | None = None) -> None:
    for link in links:
        await stage.link(link, "freeze", way=way)
    await asyncio.sleep(seconds)
    for link in links:
        await stage.link(link, "thaw")


@fault("clients' link delayed")
async def clients_link_delayed(stage: Stage, event: Event) -> str:
    link = f"clients {event.choose(GATEWAYS)}"
    await _delayed(stage, [link], event.seconds)
    return link


@fault("clients' link frozen")
async def clients_link_frozen(stage: Stage, event: Event) -> str:
    link = f"clients {event.choose(GATEWAYS)}"
    await frozen(stage, [link], event.seconds)
    return link


async def cut(stage: Stage, links: list[str], seconds: float) -> None:
    for do in ("refuse", "cut"):
        for link in links:
            await stage.link(link, do)
    await asyncio.sleep(seconds)
    for link in links:
        await stage.link(link, "accept")


@fault("gateway cut off from NATS")
async def gateway_cut_off_from_nats(stage: Stage, event: Event) -> str:
    who = f"gateway {event.choose(GATEWAYS)}"
    await cut(stage, stage.links_to_nats(who), event.seconds)
    return who


@fault("gateway's link to NATS delayed")
async def gateways_link_delayed(stage: Stage, event: Event) -> str:
    who = f"gateway {event.choose(GATEWAYS)}"
    await _delayed(stage, stage.links_to_nats(who), event.seconds)
    return who


@fault("gateway's link to NATS frozen")
async def gateways_link_frozen(stage: Stage, event: Event) -> str:
    who = f"gateway {event.choose(GATEWAYS)}"
    await frozen(stage, stage.links_to_nats(who), event.seconds)
    return who


@fault("feed cut off from NATS")
async def feed_cut_off_from_nats(stage: Stage, event: Event) -> str:
    await cut(stage, stage.links_to_nats("feed"), event.seconds)
    return "feed"


# ---- NATS


async def _node_down(stage: Stage, number: int, seconds: float) -> str:
    node = stage.nodes[number]
    node.kill()
    await asyncio.sleep(seconds)
    await node.restart(NODE_START_S)
    return f"node {number}"


@fault("node killed")
async def node_killed(stage: Stage, event: Event) -> str:
    return await _node_down(stage, event.choose(len(stage.nodes)), event.seconds)


@fault("node stopped")
async def node_stopped(stage: Stage, event: Event) -> str:
    number = event.choose(len(stage.nodes))
    stage.nodes[number].pause()
    await asyncio.sleep(event.seconds)
    stage.nodes[number].resume_process()
    return f"node {number}"


async def leader(stage: Stage, event: Event) -> int:
    """The node that leads one of the streams; another one while none does."""
    with suppress(NatsError, TimeoutError):
        stream = stage.streams[event.choose(len(stage.streams))]
        info = await stage.admin.jetstream().stream_info(stream)
        if info.cluster and info.cluster.leader:
            return int(info.cluster.leader.rpartition("-")[2])
    return event.choose(len(stage.nodes))


@fault("stream leader killed")
async def stream_leader_killed(stage: Stage, event: Event) -> str:
    return await _node_down(stage, await leader(stage, event), event.seconds)


@fault("stream leader stepped down")
async def stream_leader_stepped_down(stage: Stage, event: Event) -> str:
    for stream in stage.streams:
        with suppress(NatsError, TimeoutError):  # there may be no leader
            await stage.admin.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", b"", timeout=5)
    return " and ".join(stage.streams)


@fault("quorum lost")
async def quorum_lost(stage: Stage, event: Event) -> str:
    stays = event.choose(len(stage.nodes))
    others = [node for number, node in enumerate(stage.nodes) if number != stays]
    for node in others:
        node.pause()
    await asyncio.sleep(event.seconds)
    for node in others:
        node.resume_process()
    return f"all nodes but {stays}"


@fault("storage of a node lost")
async def storage_of_a_node_lost(stage: Stage, event: Event) -> str:
    number = event.choose(len(stage.nodes))
    node = stage.nodes[number]
    node.kill()
    await asyncio.to_thread(shutil.rmtree, node.data_dir / "jetstream", ignore_errors=True)
    await asyncio.sleep(event.seconds)
    await node.restart(NODE_START_S)
    return f"node {number}"


@fault("disk of a node full")
async def disk_of_a_node_full(stage: Stage, event: Event) -> str:
    assert stage.small_disk is not None
    filler = stage.small_disk / "filler"
    await asyncio.to_thread(_fill, filler)
    await asyncio.sleep(event.seconds)
    filler.unlink()
    await stage.nodes[-1].restart(
        NODE_START_S
    )  # as an operator does: JetStream stays off after a failed write
    return f"node {len(stage.nodes) - 1}"


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


@fault("log purged")
async def log_purged(stage: Stage, event: Event) -> str:
    with suppress(NatsError, TimeoutError):  # nobody can purge it while it has no leader
        await stage.admin.jetstream().purge_stream("MD_LOG")
        return "MD_LOG"
    return "MD_LOG, in vain"


# ---- the feed


@fault("feed killed")
async def feed_killed(stage: Stage, event: Event) -> str:
    stage.feeder.kill()
    await asyncio.sleep(event.seconds)
    stage.feeder = await stage.start_feeder()
    return "feed"


@fault("feed stopped")
async def feed_stopped(stage: Stage, event: Event) -> str:
    stage.feeder.signal(signal.SIGSTOP)
    await asyncio.sleep(event.seconds)
    stage.feeder.signal(signal.SIGCONT)
    return "feed"


@fault("feed taken over")
async def feed_taken_over(stage: Stage, event: Event) -> str:
    """Another writer begins while this one writes. (Where feeds hold a lease, the follower is told to take over here.)"""
    former, stage.feeder = stage.feeder, await stage.start_feeder()
    await asyncio.sleep(1.0)
    former.kill()
    return "feed"


def _name(stage: Stage, event: Event) -> str:
    return stage.names[event.choose(len(stage.names))]


@fault("decimals changed")
async def decimals_changed(stage: Stage, event: Event) -> str:
    await stage.feeder.order(do="rescale", instrument=_name(stage, event))
    return _name(stage, event)


@fault("trading halted")
async def trading_halted(stage: Stage, event: Event) -> str:
    await stage.feeder.order(do="halt", instrument=_name(stage, event))
    await asyncio.sleep(event.seconds)
    await stage.feeder.order(do="trade", instrument=_name(stage, event))
    return _name(stage, event)


@fault("venue silent")
async def venue_silent(stage: Stage, event: Event) -> str:
    await stage.feeder.order(do="silence", instrument=_name(stage, event))
    await asyncio.sleep(event.seconds)
    await stage.feeder.order(do="speak", instrument=_name(stage, event))
    return _name(stage, event)


@fault("burst")
async def burst(stage: Stage, event: Event) -> str:
    await stage.feeder.order(do="burst", instrument=_name(stage, event))
    return _name(stage, event)


@fault("clock of the feed stepped")
async def clock_of_the_feed_stepped(stage: Stage, event: Event) -> str:
    """An hour ahead would be an epoch that nobody accepts; that has a test of its own."""
    seconds = (-HOUR_S, -60, 60)[event.choose(3)]
    stage.feed_clock.step(seconds)
    await asyncio.sleep(event.seconds)
    stage.feed_clock.step(0)
    return f"by {seconds} s"


# ---- clients


@fault("all clients hang up")
async def all_clients_hang_up(stage: Stage, event: Event) -> str:
    await stage.tell_clients(do="hang up")
    return "all clients"


@fault("slow readers")
async def slow_readers(stage: Stage, event: Event) -> str:
    await stage.tell_clients(do="slow", share=0.1, seconds=event.seconds)
    await asyncio.sleep(event.seconds)
    return "a tenth of the clients"


@fault("storm of strangers")
async def storm_of_strangers(stage: Stage, event: Event) -> str:
    await stage.tell_clients(do="storm", count=STORM, ports=stage.client_ports, seconds=event.seconds)
    await asyncio.sleep(event.seconds)
    return f"{STORM * len(stage.clients)} connections"
