"""Profiles say what to measure. A TOML file and flags change them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mdstream.errors import ConfigError
from mdstream.model import DEPTHS, INTERVALS_MS
from mdstream.wording import explained

Channel = Literal["book", "trades", "ticker"]
Kind = Literal["stream", "idle", "storm", "slow", "reconnect", "ingest"]
Format = Literal["json", "msgpack"]

CHANNELS: tuple[Channel, ...] = ("book", "trades", "ticker")
FORMATS: tuple[Format, ...] = ("msgpack", "json")

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Rate = Annotated[float, Meta(ge=0, le=10_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Share = Annotated[float, Meta(gt=0, le=1)]
Depth = Annotated[int, Meta(ge=0)]
Interval = Annotated[int, Meta(ge=0)]


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share of the connections, with the number of symbols, channel, depth and interval of each."""

    share: Share
    symbols: Count
    channel: Channel = "book"
    depth: Depth = 0
    interval_ms: Interval = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The load of one measurement."""

    name: str
    summary: str
    kind: Kind = "stream"
    """stream: all read. idle: no updates. storm: all connect at once. slow: some read too slowly. reconnect: all are cut and
    resume. ingest: one connection, so that the gateway's reading of the bus is measured."""
    symbols: Count = 1
    rate: Rate = 200.0
    """Updates per second, over all symbols."""
    burst: Count = 1
    """Updates published back to back."""
    zipf: Annotated[float, Meta(ge=0, le=4)] = 0.0
    """Exponent of the Zipf distribution of updates over symbols; 0 is even."""
    changes: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Level changes per update."""
    per_message: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Updates in one NATS message."""
    connections: Count = 500
    per_connection: Count = 1
    """Symbols per connection."""
    channel: Channel = "book"
    depth: Depth = 0
    """Levels per side, 0 is the full book."""
    interval_ms: Interval = 0
    mix: tuple[Group, ...] = ()
    """Several kinds of connections; they replace ``per_connection``, ``channel``, ``depth`` and ``interval_ms``."""
    slow_share: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    """Share of the connections that read too slowly."""
    storm: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """More connections, which are cut off once a second and come back within it, while the others are measured."""
    formats: tuple[Format, ...] = FORMATS
    seconds: Seconds = 5.0
    """Length of the window, which follows ``warm_s`` of the same load."""
    warm_s: Annotated[float, Meta(ge=0, le=600)] = 1.0
    processes: Annotated[int, Meta(ge=1, le=256)] = 1
    """Load processes that the connections are spread over."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The kinds of connections, at least one."""
        single = Group(
            share=1.0,
            symbols=self.per_connection,
            channel=self.channel,
            depth=self.depth,
            interval_ms=self.interval_ms,
        )
        return self.mix or (single,)

    @property
    def channels(self) -> set[str]:
        return {group.channel for group in self.groups}

    @property
    def trades(self) -> float:
        """The share of what is published that is a trade: all, where there are only trades to subscribe to; half, beside other channels."""
        if "trades" not in self.channels:
            return 0.0
        return 1.0 if self.channels == {"trades"} else 0.5


BUILT_IN: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="fan-out", summary="one symbol, 200 updates/s, to 500 connections: what a delivery costs"
        ),
        Profile(
            name="symbols",
            summary="100 symbols, 2,000 updates/s, 500 connections on 10 each: many topics, few subscribers each",
            symbols=100,
            rate=2_000,
            per_connection=10,
        ),
        Profile(
            name="burst",
            summary="500 updates back to back every 100 ms on 100 symbols, 200 connections on 10: merging under load",
            symbols=100,
            rate=5_000,
            burst=500,
            connections=200,
            per_connection=10,
        ),
        Profile(
            name="mixed",
            summary="200 symbols of uneven rates, 5,000 updates/s; 300 connections at three depths and intervals",
            symbols=200,
            rate=5_000,
            burst=5,
            zipf=1.0,
            connections=300,
            mix=(
                Group(share=0.6, symbols=5, depth=20, interval_ms=100),
                Group(share=0.3, symbols=20, depth=20, interval_ms=250),
                Group(share=0.1, symbols=50),
            ),
        ),
        Profile(
            name="trades",
            summary="100 symbols, 2,000 trades/s, 500 connections on 10 each: every trade, never merged",
            symbols=100,
            rate=2_000,
            per_connection=10,
            channel="trades",
        ),
        Profile(
            name="channels",
            summary="100 symbols, 2,000 books and trades/s; 300 connections: tickers and books at 100 ms, trades, full books",
            symbols=100,
            rate=2_000,
            connections=300,
            mix=(
                Group(share=0.4, symbols=20, channel="ticker", interval_ms=100),
                Group(share=0.3, symbols=10, depth=20, interval_ms=100),
                Group(share=0.2, symbols=10, channel="trades"),
                Group(share=0.1, symbols=10),
            ),
        ),
        Profile(
            name="idle",
            summary="5,000 connections that are subscribed, no updates: memory per connection",
            kind="idle",
            symbols=100,
            rate=0,
            connections=5_000,
            depth=20,
            formats=("msgpack",),
            seconds=2,
        ),
        Profile(
            name="storm",
            summary="3,000 connections at once, each with a subscribe and a snapshot of 20 levels: connections per second",
            kind="storm",
            symbols=100,
            rate=0,
            connections=3_000,
            depth=20,
            seconds=1,
        ),
        Profile(
            name="slow-readers",
            summary="as fan-out on 10 symbols, every tenth connection reads too slowly: what they cost the others",
            kind="slow",
            symbols=10,
            rate=500,
            connections=200,
            per_connection=10,
            slow_share=0.1,
        ),
        Profile(
            name="reconnect",
            summary="300 connections are cut in the middle of a stream and resume: nothing may be missing",
            kind="reconnect",
            symbols=20,
            rate=1_000,
            connections=300,
            per_connection=5,
        ),
        Profile(
            name="ingest",
            summary="200 symbols, 100,000 updates/s of one change each, one connection: what reading the bus costs",
            kind="ingest",
            symbols=200,
            rate=100_000,
            burst=100,
            changes=1,
            connections=1,
            per_connection=200,
            depth=20,
            interval_ms=100,
        ),
    )
}

DEFAULT = ("fan-out", "symbols", "burst", "idle", "storm")
"""The profiles that run by default: about two minutes."""

OVERRIDES = (
    "symbols",
    "rate",
    "burst",
    "connections",
    "per_connection",
    "channel",
    "depth",
    "interval_ms",
    "seconds",
    "processes",
    "changes",
    "storm",
)
"""The values that a flag may change, in each profile."""

SWEEPS = ("connections", "rate", "symbols", "depth")
"""The values that a sweep may change."""

QUICK_SECONDS = 1.0
QUICK_CONNECTIONS = 1_000


def choose(
    names: Iterable[str], known: Mapping[str, Profile], overrides: Mapping[str, Any], *, quick: bool = False
) -> list[Profile]:
    """The profiles with these names, changed by ``overrides`` (field → value), shorter if ``quick``. Raises ConfigError."""
    chosen = []
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no profile {name!r}{_hint(name, known)}")
        profile = _shortened(known[name]) if quick else known[name]
        chosen.append(changed(profile, overrides))
    return chosen


def changed(profile: Profile, overrides: Mapping[str, Any]) -> Profile:
    """The profile with some values changed. Raises ConfigError for a value that is not allowed."""
    values = dict(overrides)
    if profile.mix and values.keys() & {"per_connection", "channel", "depth", "interval_ms"}:
        raise ConfigError(
            f"profile {profile.name} is a mix of several kinds of connections, which have symbols per connection, "
            "channel, depth and interval of their own: set these in a file of profiles (--profiles)"
        )
    symbols = values.get("symbols", profile.symbols)
    if "per_connection" not in values and not profile.mix and isinstance(symbols, int):
        # A connection cannot subscribe to more symbols than there are.
        values["per_connection"] = min(profile.per_connection, symbols)
    table = {**msgspec.to_builtins(profile), **values}
    return _made(table, f"profile {profile.name}")


def load(file: Path) -> dict[str, Profile]:
    """The built-in profiles and those of a TOML file: a table each, where ``base`` names the profile that it changes.

    Raises ConfigError, naming the file, the profile and the key.
    """
    try:
        with file.open("rb") as stream:
            tables = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    known = dict(BUILT_IN)
    for name, table in tables.items():
        known[name] = _from_table(name, table, known, f"{file}: profile {name}")
    return known


def _from_table(name: str, table: object, known: Mapping[str, Profile], place: str) -> Profile:
    if not isinstance(table, dict):
        raise ConfigError(f"{place} must be a table, [{name}]")
    values = dict(table)
    base = values.pop("base", name if name in known else None)
    if base is None:
        values.setdefault("summary", name)
        return _made({"name": name, **values}, place)
    if base not in known:
        raise ConfigError(f"{place}: base is {base!r}, which is no profile{_hint(str(base), known)}")
    return _made({**msgspec.to_builtins(known[base]), **values, "name": name}, place)


def _made(table: Mapping[str, Any], place: str) -> Profile:
    try:
        profile = msgspec.convert(table, Profile)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{place}: {explained(error)}") from None
    for problem in _problems(profile):
        raise ConfigError(f"{place}: {problem}")
    return profile


def _problems(profile: Profile) -> Iterable[str]:
    """What is wrong with the values together."""
    for group in profile.groups:
        if group.symbols > profile.symbols:
            yield f"a connection wants {group.symbols} symbols, but there are {profile.symbols}"
        if group.depth not in DEPTHS:
            yield f"depth is {group.depth}; a gateway serves {', '.join(map(str, DEPTHS))}"
        if group.interval_ms not in INTERVALS_MS:
            yield f"interval_ms is {group.interval_ms}; a gateway serves {', '.join(map(str, INTERVALS_MS))}"
        if group.channel != "book" and group.depth:
            yield f"depth is {group.depth}, but channel {group.channel} has none; set it to 0"
        if group.channel == "trades" and group.interval_ms:
            yield f"interval_ms is {group.interval_ms}, but trades are never merged; set it to 0"
    if abs(sum(group.share for group in profile.groups) - 1) > 1e-9:
        yield "the shares of the mix must add up to 1"
    if profile.kind not in ("idle", "storm") and profile.rate <= 0:
        yield "rate must be above 0"
    if profile.kind == "ingest" and profile.channels != {"book"}:
        yield "kind ingest reads books; it has no other channel"
    if profile.storm and profile.kind not in ("stream", "slow"):
        yield f"storm is {profile.storm}: it goes beside connections that are measured, with kind stream or slow, not {profile.kind}"
    if profile.processes > profile.connections:
        yield f"processes is {profile.processes}, but there are only {profile.connections} connections to spread"
    if not profile.formats:
        yield "formats is empty; it must name json, msgpack or both"


def _shortened(profile: Profile) -> Profile:
    return msgspec.structs.replace(
        profile,
        seconds=min(profile.seconds, QUICK_SECONDS),
        warm_s=min(profile.warm_s, 0.5),
        connections=min(profile.connections, QUICK_CONNECTIONS),
        formats=profile.formats[:1],
    )


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; `mdstream bench --list` shows all"
