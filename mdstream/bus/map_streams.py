"""The streams of keyed state: ``MD_MAPS``, in files, and ``MD_PRESENCE``, in memory."""

from __future__ import annotations

import json
import logging
from typing import Final, NamedTuple

from nats.js import JetStreamContext, api

from mdstream.bus import streams
from mdstream.bus.options import StreamOptions

logger = logging.getLogger(__name__)

MD_MAPS: Final = "MD_MAPS"
MD_PRESENCE: Final = "MD_PRESENCE"
LIVE: Final = "mdstream"
"""Changes are published again below this, once they are stored."""
CHANGES_KEPT: Final = 10_000
"""Of each map. Gateways store the whole map well before so many have come."""
MAPS_MAX_BYTES: Final = 1024 * 1024 * 1024
PRESENCE_MAX_BYTES: Final = 256 * 1024 * 1024
DUPLICATES_S: Final = 120.0
"""How long a change that comes again with the same id is stored once."""


class MapKind(NamedTuple):
    """Where maps are: those of users, or those of presence."""

    stream: str
    subject: str
    is_kept: bool
    """In files; else in memory, because it can be written again."""

    def log(self, topic: str) -> str:
        """Of changes."""
        return f"{self.subject}.{topic}"

    def live(self, topic: str) -> str:
        """Where a change comes once it is stored."""
        return f"{LIVE}.{self.subject}.{topic}"

    def head(self, topic: str) -> str:
        return f"{self.subject}snap.head.{topic}"

    def page(self, topic: str, seq: int, page: int) -> str:
        return f"{self.subject}snap.page.{seq}.{page}.{topic}"

    def pages(self, topic: str, seq: int) -> str:
        return f"{self.subject}snap.page.{seq}.*.{topic}"


MAPS: Final = MapKind(MD_MAPS, "map", is_kept=True)
PRESENCE: Final = MapKind(MD_PRESENCE, "presence", is_kept=False)


class Found(NamedTuple):
    """A stream: when it was created, in µs, and the number of its newest message. One that was lost and made again is another one."""

    created_us: int
    last_seq: int


async def ensure(js: JetStreamContext, options: StreamOptions, kind: MapKind) -> Found:
    """Creates the stream if it does not exist. Raises nats.errors.Error."""
    found = (await streams.ensure_stream(js, _config(options, kind))).republish
    if found is None or not str(found.dest).startswith(f"{LIVE}.{kind.subject}."):
        logger.warning(
            "stream %s exists and is left as it is, but it does not republish to %s.%s.>: gateways show no live changes",
            *(kind.stream, LIVE, kind.subject),
        )
    told = await streams.info(js, kind.stream)
    return Found(streams.created_us(told), told["state"]["last_seq"])


async def purge(js: JetStreamContext, stream: str, what: dict[str, object]) -> None:
    """Removes messages: those of ``filter``, before ``seq``. Raises nats.errors.Error."""
    request = json.dumps(what).encode()
    await js._api_request(f"{js._prefix}.STREAM.PURGE.{stream}", request, timeout=js._timeout)


def _config(options: StreamOptions, kind: MapKind) -> api.StreamConfig:
    """A full stream refuses changes: what is stored is never dropped for the sake of another map."""
    what = "keyed state" if kind.is_kept else "who is connected"
    return api.StreamConfig(
        name=kind.stream,
        description=f"mdstream: changes of {what}, and whole maps from time to time",
        subjects=[f"{kind.subject}.>", f"{kind.subject}snap.>"],
        max_msgs_per_subject=CHANGES_KEPT,
        max_bytes=MAPS_MAX_BYTES if kind.is_kept else PRESENCE_MAX_BYTES,
        discard=api.DiscardPolicy.NEW,
        duplicate_window=DUPLICATES_S,
        allow_rollup_hdrs=True,
        republish=api.RePublish(src=f"{kind.subject}.>", dest=f"{LIVE}.{kind.subject}.>"),
        storage=api.StorageType.FILE if kind.is_kept else api.StorageType.MEMORY,
        num_replicas=options.replicas,
        allow_direct=True,
    )
