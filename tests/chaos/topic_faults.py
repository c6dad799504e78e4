"""Faults of runs on topics alone: devices and publishers that die, stand still, or are cut off."""

from __future__ import annotations

import asyncio
import signal

from chaos.faults import cut, fault
from chaos.schedule import Event
from chaos.stage import Stage
from chaos.topic_stage import TopicStage


def _chosen(stage: Stage, event: Event, kind: str) -> tuple[TopicStage, str]:
    assert isinstance(stage, TopicStage)
    names = list(stage.devices if kind == "device" else stage.writers)
    return stage, names[event.choose(len(names))]


@fault("device killed")
async def device_killed(stage: Stage, event: Event) -> str:
    topics, name = _chosen(stage, event, "device")
    topics.end(name)
    await asyncio.sleep(event.seconds)
    await topics.start_device(name)
    return name


@fault("device stopped")
async def device_stopped(stage: Stage, event: Event) -> str:
    topics, name = _chosen(stage, event, "device")
    topics.stopped.add(name)
    topics.devices[name].signal(signal.SIGSTOP)
    await asyncio.sleep(event.seconds)
    topics.devices[name].signal(signal.SIGCONT)
    topics.stopped.discard(name)
    return name


@fault("publisher killed")
async def publisher_killed(stage: Stage, event: Event) -> str:
    topics, name = _chosen(stage, event, "publisher")
    topics.end(name)
    await asyncio.sleep(event.seconds)
    await topics.start_writer(name)
    return name


@fault("publisher stopped")
async def publisher_stopped(stage: Stage, event: Event) -> str:
    topics, name = _chosen(stage, event, "publisher")
    topics.writers[name].signal(signal.SIGSTOP)
    await asyncio.sleep(event.seconds)
    topics.writers[name].signal(signal.SIGCONT)
    return name


@fault("publisher cut off from NATS")
async def publisher_cut_off(stage: Stage, event: Event) -> str:
    name = stage.publishers[event.choose(len(stage.publishers))]
    await cut(stage, stage.links_to_nats(name), event.seconds)
    return name
