"""What the operator's page shows of a gateway. It is read when somebody asks, in slices, and costs nothing in between."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from mdstream._version import __version__
from mdstream.gateway import session_rows
from mdstream.gateway.kept_page import in_slices
from mdstream.model import State

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.bus import Health
    from mdstream.gateway.open_instrument import OpenInstrument
    from mdstream.gateway.open_instruments import OpenInstruments
    from mdstream.gateway.relief import Relief
    from mdstream.gateway.server import Server
    from mdstream.gateway.sessions import Sessions

MOST_ROWS: Final = 20
"""Of each list."""
_TOTALS: Final = ("updates", "deliveries", "bytes", "writes", "snapshots", "deltas", "conflated", "too_slow")

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the figures are of."""

    node: str
    stats: Callable[[], Mapping[str, Any]]
    """Of the hub."""
    sessions: Sessions
    server: Server
    instruments: OpenInstruments
    relief: Relief
    connected: Callable[[], bool]
    """Whether NATS is."""
    not_ready: Callable[[], str | None]


class Status:
    """Makes the figures of this process."""

    def __init__(self, parts: Parts, *, wall_us: Callable[[], int], now_s: Callable[[], float]) -> None:
        self._parts = parts
        self._wall_us = wall_us
        self._now_s = now_s
        self._started_us = wall_us()

    async def make(self) -> Figures:
        """JSON as ``docs/operations.md`` has it."""
        feeds, slow = _Feeds(), _Slow()
        await in_slices(feeds.take_all(iter(self._parts.instruments)), self._now_s)
        await in_slices(slow.take_all(iter(self._parts.sessions)), self._now_s)
        return {**self._head(), **self._traffic(), **self._feeds(feeds), "slow": slow.rows(self._now_s())}

    def _head(self) -> Figures:
        parts = self._parts
        return {
            "version": __version__,
            "node": parts.node,
            "time_us": self._wall_us(),
            "started_us": self._started_us,
            "not_ready": parts.not_ready(),
            "draining": parts.server.draining,
            "nats": _nats(parts.connected(), parts.instruments.health),
            "workers": [],
        }

    def _traffic(self) -> Figures:
        parts, stats = self._parts, self._parts.stats()
        sessions, overload = parts.sessions, parts.relief.overload
        return {
            "counts": {
                "connections": len(sessions),
                "max_connections": parts.server.group.max_connections,
                "half_open": parts.server.half_open,
                "topics": stats["topics"],
                "subscriptions": stats["subscriptions"],
                "slow_sessions": stats["slow_sinks"],
                "unread_bytes": parts.server.unread_bytes,
            },
            "totals": {
                **{name: stats[name] for name in _TOTALS},
                "opened": sessions.opened_total,
                "closed": sum(sessions.closes_total.values()),
                "refused": sum(parts.server.refused_total.values()),
                "commands": sum(sessions.commands_total.values()),
                "errors": sum(sessions.errors_total.values()),
                "shed": sum(parts.relief.shed_total.values()),
            },
            "flush_us": list(stats["flush_us"]),
            "latency_us": list(stats["latency_us"]),
            "loop": {
                "late_s": overload.load.late_s,
                "overload_level": overload.level,
                "stretch": overload.stretch,
                "memory_share": overload.load.memory_share,
                "nats_unread_bytes": overload.load.unread_bytes,
            },
        }

    def _feeds(self, feeds: _Feeds) -> Figures:
        refusals = self._parts.instruments.stats.refusals
        latest = heapq.nlargest(MOST_ROWS, refusals.latest(), key=lambda each: each.time_us)
        rows = [asdict(each) for each in latest]
        feeds.count_refused(each.instrument for each in refusals.latest())
        return {
            "instruments": feeds.states,
            "feeds": feeds.rows(),
            "troubled": feeds.troubled(),
            "refusals": {"total": refusals.total, "latest": rows},
        }


def _nats(connected: bool, health: Health | None) -> Figures:
    found: Figures = {"connected": connected, "reachable": False, "has_quorum": False, "answer_age_s": None}
    if health is not None:
        found.update(
            reachable=health.reachable, has_quorum=health.has_quorum, answer_age_s=health.answer_age_s
        )
    return found


class _Feeds:
    """The open instruments, by venue: how many, in which states, and the age of the venue's last word."""

    def __init__(self) -> None:
        self._venues: dict[str, Figures] = {}
        self.states: dict[str, int] = {state.value: 0 for state in State}
        self._troubled: list[Figures] = []

    def take_all(self, instruments: Iterator[OpenInstrument]) -> Iterator[None]:
        """A step for each."""
        for instrument in instruments:
            self._take(instrument)
            yield

    def _take(self, instrument: OpenInstrument) -> None:
        status, age_ms = instrument.statuses["book"], instrument.age_ms
        venue = self._venue(instrument.id.venue)
        venue["instruments"] += 1
        state = status.state.value
        self.states[state] += 1
        venue["states"][state] = venue["states"].get(state, 0) + 1
        if age_ms is not None:
            venue["newest_ms"] = least(venue["newest_ms"], age_ms)
            venue["oldest_ms"] = greatest(venue["oldest_ms"], age_ms)
        if status.state is not State.LIVE and len(self._troubled) < MOST_ROWS:
            named = {"instrument": instrument.name, "state": state, "code": status.code}
            self._troubled.append({**named, "reason": status.reason, "age_ms": age_ms})

    def _venue(self, name: str) -> Figures:
        new = {
            "venue": name,
            "instruments": 0,
            "states": {},
            "newest_ms": None,
            "oldest_ms": None,
            "refused": 0,
        }
        return self._venues.setdefault(name, new)

    def count_refused(self, instruments: Iterator[str]) -> None:
        """Of those that are kept to be shown, by venue."""
        for name in instruments:
            self._venue(name.partition(":")[0])["refused"] += 1

    def rows(self) -> list[Figures]:
        return [self._venues[name] for name in sorted(self._venues)]

    def troubled(self) -> list[Figures]:
        return self._troubled


class _Slow:
    """The sessions that do not read, those with most waiting first."""

    def __init__(self) -> None:
        self._found: list[Session] = []

    def take_all(self, sessions: Iterator[Session]) -> Iterator[None]:
        """A step for each."""
        for session in sessions:
            if session.sink.blocked and session.open:
                self._found.append(session)
            yield

    def rows(self, now_s: float) -> list[Figures]:
        still = [each for each in self._found if each.open]
        worst = heapq.nlargest(MOST_ROWS, still, key=lambda each: each.bytes_pending)
        return [session_rows.row(each, now_s) for each in worst]


# ---- of several workers


def merge(figures: Sequence[Figures]) -> Figures:
    """One page of those of all workers, which is at least one: sums of what each has of its own, the worst of what all see alike."""
    first, *others = figures
    merged = {**first, "started_us": min(each["started_us"] for each in figures)}
    for each in others:
        merged["draining"] = merged["draining"] or each["draining"]
        merged["nats"] = _join_nats(merged["nats"], each["nats"])
        for name in ("counts", "totals"):
            merged[name] = {key: value + each[name][key] for key, value in merged[name].items()}
        for name in ("loop", "instruments"):
            merged[name] = {key: max(value, each[name][key]) for key, value in merged[name].items()}
        for name in ("flush_us", "latency_us"):
            merged[name] = [sum(pair) for pair in zip(merged[name], each[name], strict=True)]
        merged["feeds"] = _join_feeds(merged["feeds"], each["feeds"])
        merged["refusals"] = max(merged["refusals"], each["refusals"], key=lambda one: one["total"])
    merged["troubled"] = _join_troubled(figures)
    rows = [row for each in figures for row in each["slow"]]
    merged["slow"] = heapq.nlargest(MOST_ROWS, rows, key=lambda row: row["unread_bytes"])
    return merged


def _join_nats(one: Figures, other: Figures) -> Figures:
    joined: Figures = {key: one[key] and other[key] for key in ("connected", "reachable", "has_quorum")}
    return {**joined, "answer_age_s": greatest(one["answer_age_s"], other["answer_age_s"])}


def _join_feeds(one: Sequence[Figures], other: Sequence[Figures]) -> list[Figures]:
    """Workers open the same instruments, and read the same of them."""
    joined = {each["venue"]: each for each in one}
    for feed in other:
        known = joined.get(feed["venue"])
        joined[feed["venue"]] = feed if known is None else _join_feed(known, feed)
    return [joined[venue] for venue in sorted(joined)]


def _join_feed(one: Figures, other: Figures) -> Figures:
    states = {
        state: max(one["states"].get(state, 0), other["states"].get(state, 0))
        for state in {**one["states"], **other["states"]}
    }
    return {
        "venue": one["venue"],
        "instruments": max(one["instruments"], other["instruments"]),
        "states": states,
        "newest_ms": least(one["newest_ms"], other["newest_ms"]),
        "oldest_ms": greatest(one["oldest_ms"], other["oldest_ms"]),
        "refused": max(one["refused"], other["refused"]),
    }


def _join_troubled(figures: Sequence[Figures]) -> list[Figures]:
    found = {row["instrument"]: row for each in figures for row in each["troubled"]}
    return list(found.values())[:MOST_ROWS]


def least(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def greatest(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)


def nothing() -> Figures:
    """Where no worker answers."""
    return {
        "draining": False,
        "nats": _nats(False, None),
        "counts": {},
        "totals": {},
        "flush_us": [],
        "latency_us": [],
        "loop": {},
        "instruments": {},
        "feeds": [],
        "troubled": [],
        "refusals": {"total": 0, "latest": []},
        "slow": [],
    }
