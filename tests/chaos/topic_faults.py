"""Faults of runs on topics alone: devices and publishers that die or stand still, links that work one way, a cluster that is away."""

from __future__ import annotations

import asyncio
import signal

from chaos.faults import NODE_START_S, cut, fault, frozen, leader
from chaos.schedule import Event
from chaos.stage import GATEWAYS, Child, Stage
from chaos.topic_stage import TopicStage


def _chosen(stage: Stage, event: Event, kind: str) -> tuple[TopicStage, str]:
    assert isinstance(stage, TopicStage)
    names = list(stage.devices if kind == "device" else stage.writers)
    return stage, names[event.choose(len(names))]


async def _killed(stage: Stage, event: Event, kind: str) -> str:
    topics, name = _chosen(stage, event, kind)
    topics.end(name)
    await asyncio.sleep(event.seconds)
    await (topics.start_device if kind == "device" else topics.start_writer)(name)
    return name


async def _stopped(process: Child, event: Event) -> None:
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(event.seconds)
    process.signal(signal.SIGCONT)


@fault("device killed")
async def device_killed(stage: Stage, event: Event) -> str:
    return await _killed(stage, event, "device")


@fault("device stopped")
async def device_stopped(stage: Stage, event: Event) -> str:
    topics, name = _chosen(stage, event, "device")
    topics.stopped.add(name)
    await _stopped(topics.devices[name], event)
    topics.stopped.discard(name)
    return name


@fault("publisher killed")
async def publisher_killed(stage: Stage, event: Event) -> str:
    return await _killed(stage, event, "publisher")


@fault("publisher stopped")
async def publisher_stopped(stage: Stage, event: Event) -> str:
    topics, name = _chosen(stage, event, "publisher")
    await _stopped(topics.writers[name], event)
    return name


@fault("publisher cut off from NATS")
async def publisher_cut_off(stage: Stage, event: Event) -> str:
    name = stage.publishers[event.choose(len(stage.publishers))]
    await cut(stage, stage.links_to_nats(name), event.seconds)
    return name


@fault("gateway deaf to NATS")
async def gateway_deaf_to_nats(stage: Stage, event: Event) -> str:
    """What it says arrives; it is told nothing."""
    who = f"gateway {event.choose(GATEWAYS)}"
    await frozen(stage, stage.links_to_nats(who), event.seconds, "in")
    return who


@fault("gateway mute to NATS")
async def gateway_mute_to_nats(stage: Stage, event: Event) -> str:
    """It is told everything; nothing that it says arrives."""
    who = f"gateway {event.choose(GATEWAYS)}"
    await frozen(stage, stage.links_to_nats(who), event.seconds, "out")
    return who


@fault("all nodes killed")
async def all_nodes_killed(stage: Stage, event: Event) -> str:
    """What is in memory is lost: presence."""
    for node in stage.nodes:
        node.kill()
    await asyncio.sleep(event.seconds)
    await asyncio.gather(*(node.restart(NODE_START_S) for node in stage.nodes))
    return "all nodes"


@fault("stream leader stopped")
async def stream_leader_stopped(stage: Stage, event: Event) -> str:
    """For so long that the others choose another one, which it learns when it goes on."""
    number = await leader(stage, event)
    stage.nodes[number].pause()
    await asyncio.sleep(event.seconds)
    stage.nodes[number].resume_process()
    return f"node {number}"
