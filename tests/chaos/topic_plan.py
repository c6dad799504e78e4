"""What a run on topics consists of: three users on two devices each, a hundred topics with their policies, maps and halls."""

from __future__ import annotations

from typing import Any, Final

USERS: Final = ("ann", "bob", "cho")
DEVICES: Final = ("phone", "laptop")
EACH_DEVICE, ONE_DEVICE, AT_MOST_ONCE = "device", "user", "none"
"""How a topic is acknowledged, as the gateways say it."""
SHARED: Final = (
    *(f"one.t{n}" for n in range(33)),
    *(f"each.t{n}" for n in range(32)),
    *(f"plain.t{n}" for n in range(32)),
)
OWN: Final = tuple(f"user.{user}" for user in USERS)
TOPICS: Final = (*SHARED, *OWN)
POLICIES: Final = "one.*:user:all,each.*:device:all,plain.*:none,user.*:user:all"
MAPS: Final = tuple(f"board.m{n}" for n in range(10))
HALLS: Final = tuple(f"hall.h{n}" for n in range(3))
GHOST_S: Final = 10.0
"""So long after its end nobody may be shown a session."""

READER: Final[list[dict[str, Any]]] = [
    {"channels": ["events"], "topics": ["one.*", "each.*", "plain.*"]},
    {"channels": ["map", "presence"], "topics": ["board.*", "hall.*"], "write": True, "who": True},
]
WRITER: Final[list[dict[str, Any]]] = [
    {"channels": ["events"], "topics": ["one.*", "each.*", "plain.*", "user.*"], "publish": True}
]


def policy_of(topic: str) -> str:
    kind = topic.partition(".")[0]
    return {"each": EACH_DEVICE, "plain": AT_MOST_ONCE}.get(kind, ONE_DEVICE)


def readers_of(topic: str) -> tuple[str, ...]:
    """The users who follow it."""
    kind, _, name = topic.partition(".")
    return (name,) if kind == "user" else USERS
