"""The settings of maps and presence."""

from __future__ import annotations

from dataclasses import dataclass

from mdstream.gateway.settings import Group, Whole
from mdstream.gateway.topic_settings import TopicSettings

_maps = Group("keyed state and presence, in the JetStream streams MD_MAPS and MD_PRESENCE", rank=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings(TopicSettings):
    """A part of ``GatewayConfig``."""

    max_maps: int = _maps(
        4_096,
        Whole(1, 1_000_000),
        "maps, presence included, that this gateway keeps at a time; more are refused as unavailable",
    )
    max_map_bytes: int = _maps(
        536_870_912,
        Whole(1_048_576, 2**50, "bytes"),
        "keys and values of all maps that it keeps; more are refused as unavailable",
    )
    max_user_map_bytes: int = _maps(
        67_108_864,
        Whole(0, 2**50, "bytes"),
        "keys and values that one user may have set in all maps; more are refused as map_full; 0 is no limit",
    )
    alerts_per_second: int = _maps(
        10,
        Whole(1, 1_000_000),
        "alerts that one user sets per second, in the long run: each may be on an instrument that is followed for it alone",
    )
    alerts_burst: int = _maps(
        1_000, Whole(1, 10_000_000), "the same at once; more are refused as rate_limited"
    )
    puts_per_second: int = _maps(
        50,
        Whole(1, 1_000_000),
        "changes of one map by one user (or one address, where users are not known) per second, in the long run",
    )
    puts_burst: int = _maps(200, Whole(1, 10_000_000), "the same at once; more are refused as rate_limited")
