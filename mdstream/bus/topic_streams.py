"""The streams of topics: which messages they keep, and for how long. Each publishes again what it has stored, with its number.

``MD_EVENTS`` keeps events. The key-value bucket ``MD_POSITIONS`` keeps up to which event each user has acknowledged.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nats.js import api

from mdstream.bus.streams import ensure

if TYPE_CHECKING:
    from nats.js import JetStreamContext

logger = logging.getLogger(__name__)

MD_EVENTS: Final = "MD_EVENTS"
EVENT_SUBJECT: Final = "ev"
LIVE_EVENTS: Final = "mdstream.ev"
"""MD_EVENTS publishes what it has stored again, below this."""
POSITIONS: Final = "MD_POSITIONS"
"""A key-value bucket; its stream has ``KV_`` before the name."""
POSITIONS_STREAM: Final = f"KV_{POSITIONS}"
POSITIONS_SUBJECT: Final = f"$KV.{POSITIONS}"

DUPLICATES_S: Final = 120.0
"""How long the server recognises a message that comes again with the same key."""
POSITIONS_KEPT_S: Final = 30 * 86_400.0
"""A position that does not move for so long is forgotten; where events are kept for longer, four times as long as these."""

POSITIONS_BYTES: Final = 128 * 1024 * 1024
"""Room for about a million."""


@dataclass(frozen=True, slots=True)
class TopicStreamOptions:
    """How a stream of topics is created; an existing stream is not changed."""

    keep_s: float = 7 * 86_400.0
    max_bytes: int = 1024 * 1024 * 1024
    max_per_topic: int = 10_000
    storage: str = "file"
    replicas: int = 1


async def ensure_events(js: JetStreamContext, options: TopicStreamOptions) -> None:
    """Creates MD_EVENTS and MD_POSITIONS if they do not exist. Raises BusError, which says what to do, or BusUnavailable."""
    for config in (_events_config(options), _positions_config(options)):
        await ensure_topic_stream(js, config)


async def ensure_topic_stream(js: JetStreamContext, config: api.StreamConfig) -> None:
    """Creates one if it does not exist; says in the log what it lacks. Raises BusError, BusUnavailable."""
    found = await ensure(js, config)
    wanted = config.republish
    if wanted is not None and (found.republish is None or found.republish.dest != wanted.dest):
        logger.warning(
            "stream %s exists and is left as it is, but it does not republish to %s: what comes live is late",
            *(config.name, wanted.dest),
        )
    if config.allow_direct and not found.allow_direct:
        logger.warning(
            "stream %s exists and is left as it is, but it does not allow direct questions: its topics cannot be read; "
            "`nats stream edit %s --allow-direct` allows them",
            *(config.name, config.name),
        )


def _events_config(options: TopicStreamOptions) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_EVENTS,
        description="mdstream: events of topics",
        subjects=[f"{EVENT_SUBJECT}.>"],
        max_age=options.keep_s,
        max_bytes=options.max_bytes,
        max_msgs_per_subject=options.max_per_topic,
        discard=api.DiscardPolicy.OLD,
        duplicate_window=min(DUPLICATES_S, options.keep_s),
        republish=api.RePublish(src=f"{EVENT_SUBJECT}.>", dest=f"{LIVE_EVENTS}.>"),
        storage=api.StorageType(options.storage),
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _positions_config(options: TopicStreamOptions) -> api.StreamConfig:
    """As clients of NATS create a key-value bucket."""
    return api.StreamConfig(
        name=POSITIONS_STREAM,
        description="mdstream: up to which event each user has acknowledged",
        subjects=[f"{POSITIONS_SUBJECT}.>"],
        max_msgs_per_subject=1,
        max_age=max(POSITIONS_KEPT_S, 4 * options.keep_s),
        max_bytes=min(options.max_bytes, POSITIONS_BYTES),
        discard=api.DiscardPolicy.OLD,
        deny_delete=True,
        allow_rollup_hdrs=True,
        storage=api.StorageType(options.storage),
        num_replicas=options.replicas,
        allow_direct=True,
    )
