"""All hostile inputs, by what they are sent to."""

from __future__ import annotations

from attack import (
    table_admin,
    table_alerts,
    table_commands,
    table_entitled,
    table_events,
    table_feed,
    table_frames,
    table_handshake,
    table_maps,
    table_proxies,
    table_revoked,
    table_tokens,
    table_topics,
)
from attack.rows import Row

OPEN: dict[str, list[Row]] = {
    "handshake": [*table_handshake.ROWS],
    "commands": [*table_commands.ROWS],
    "frames": [*table_frames.FRAMES],
    "compression": [*table_frames.COMPRESSION],
    "feed": [*table_feed.ROWS],
    "admin": [*table_admin.ROWS],
    "maps": table_maps.OPEN,
    "alerts": table_alerts.OPEN,
    "topics": table_topics.OPEN,
}
"""On a gateway that asks nobody who he is."""
TABLES: dict[str, list[Row]] = OPEN | {
    "tokens": table_tokens.ROWS,
    "entitlements": table_entitled.ROWS,
    "maps of users": [*table_maps.ENTITLED, *table_maps.CHANGED],
    "alerts of users": table_alerts.ENTITLED,
    "events": table_events.ROWS,
    "topics of users": table_topics.OF_USERS,
    "revocations": table_revoked.ROWS,
    **{f"proxies ({protocol})": rows for protocol, rows in table_proxies.PROTOCOLS.items()},
}


def distinct() -> int:
    """How many inputs there are; one that is played on several gateways counts once."""
    return len({id(row) for rows in TABLES.values() for row in rows})
