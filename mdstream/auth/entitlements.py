"""What a client may see and say: the claim ``md`` of a token, compiled once and asked for each command.

::

    {"grants": [{"channels": ["book", "ticker"], "instruments": ["SIM:*", "BINANCE:BTC*"], "depth": 20, "interval_ms": 100}]}

A grant names instruments, or topics (``topic_grants``). What no grant allows is refused. A request is allowed if one grant allows all of
it. ``entitlements.schema.json`` next to this module is the claim's JSON schema, ``docs/entitlements.md`` explains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

from mdstream.auth import topic_grants
from mdstream.auth.patterns import ANY, Pattern, PatternSet, clipped
from mdstream.auth.topic_grants import VERBS, TopicGrant, Verb
from mdstream.model import INSTRUMENT_CHANNELS, MAX_NUMBER, Channel
from mdstream.topics import TOPIC_CHANNELS, TopicPattern

CLAIM: Final = "md"
MAX_GRANTS: Final = 64
MAX_PATTERNS: Final = 1_024
"""In all grants together."""
MAX_MS: Final = 86_400_000
"""The greatest interval and the greatest delay: a day."""

_CHANNELS = tuple(channel.value for channel in INSTRUMENT_CHANNELS)
_REQUIRED = ("channels", "instruments")
_LIMITS = {"depth": MAX_NUMBER, "interval_ms": MAX_MS, "delay_ms": MAX_MS}
_KEYS = (*_REQUIRED, *_LIMITS, "publish")
_TOPIC_REQUIRED = ("channels", "topics")
_TOPIC_KEYS = (*_TOPIC_REQUIRED, *VERBS)
_FULL = MAX_NUMBER
"""In place of depth 0, the full book: no depth is greater."""
_REMEMBERED = 256
_OFFERS_SHOWN = 3

Scope: TypeAlias = frozenset[Pattern]
"""Users with the same scope may see the same instruments of a channel."""

Offer: TypeAlias = tuple[int, int, int]
"""What a grant allows of an instrument's channel: greatest depth (``_FULL``: the full book), smallest interval, delay."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of the claim. ``depth`` is the greatest, 0 for the full book; ``interval_ms`` is the smallest."""

    channels: tuple[str, ...]
    instruments: tuple[Pattern, ...]
    depth: int = 0
    interval_ms: int = 0
    delay_ms: int = 0

    @property
    def is_everything(self) -> bool:
        limits = (self.depth, self.interval_ms, self.delay_ms)
        return limits == (0, 0, 0) and self.channels == _CHANNELS and _ALL_INSTRUMENTS in self.instruments

    def offer(self, channel: str) -> Offer:
        depth = self.depth if channel == Channel.BOOK else 0
        return depth or _FULL, self.interval_ms, self.delay_ms


_ALL_INSTRUMENTS = Pattern.parse(ANY)


class Entitlements:
    """Make it with ``from_claim``, which gives the same object for the same grants: many users share it."""

    __slots__ = ("__weakref__", "_grants", "_is_everything", "_may", "_offers", "_patterns", "_topic_grants")

    def __init__(self, grants: Sequence[Grant], of_topics: Sequence[TopicGrant] = ()) -> None:
        self._grants = tuple(grants)
        self._topic_grants = tuple(of_topics)
        self._is_everything = any(grant.is_everything for grant in self._grants)
        self._patterns = PatternSet(
            (pattern, 1 << number)
            for number, grant in enumerate(self._grants)
            for pattern in grant.instruments
        )
        self._offers: dict[tuple[str, int], tuple[Offer, ...]] = {}
        """By channel and the grants that match."""
        self._may: dict[tuple[Verb, str, str], bool] = {}
        """By what, channel and topic: what the grants of topics say."""

    @classmethod
    def from_claim(cls, claim: object) -> Entitlements:
        """Raises ValueError that says where the claim is wrong, as in ``md.grants[2].instruments[0] is …``."""
        grants = _read_claim(claim)
        found = _shared.get(grants)
        if found is None:
            found = _shared[grants] = cls(
                [each for each in grants if isinstance(each, Grant)],
                [each for each in grants if isinstance(each, TopicGrant)],
            )
        return found

    def check(self, channel: str, instrument: str, depth: int, interval_ms: int) -> str | None:
        """Why a subscription is not allowed, in terms of what is; None if it is allowed.

        ``instrument`` may be any text. The answer never depends on what exists.
        """
        if self.delay_ms(channel, instrument, depth, interval_ms) is None:
            return self._explain(channel, instrument)
        return None

    def delay_ms(self, channel: str, instrument: str, depth: int, interval_ms: int) -> int | None:
        """By how much a subscription is late: the least of the grants that allow it. None if none does."""
        if self._is_everything:
            return 0
        wanted = depth or _FULL
        for most, least_ms, delay_ms in self._find_offers(channel, instrument):
            if wanted <= most and interval_ms >= least_ms:
                return delay_ms
        return None

    def may_see(self, instrument: str) -> bool:
        """Whether any channel of an instrument is allowed, and so its name may be told."""
        return self._is_everything or self._patterns.match(instrument) != 0

    def scope(self, channel: str, interval_ms: int, served_ms: int = 0) -> Scope:
        """The patterns of the instruments of which a channel is allowed, with this interval, on a gateway that is so late."""
        return frozenset(
            pattern
            for grant in self._grants
            if channel in grant.channels and grant.interval_ms <= interval_ms and grant.delay_ms <= served_ms
            for pattern in grant.instruments
        )

    def may(self, verb: Verb, channel: str, topic: str, subject: str) -> bool:
        """What a user may do with a topic, which may be any text. The answer never depends on what exists."""
        if topic_grants.is_own(verb, channel, topic, subject):
            return True
        found = self._may.get((verb, channel, topic))
        if found is None:
            if len(self._may) >= _REMEMBERED:
                self._may.clear()
            found = topic_grants.allow(self._topic_grants, verb, channel, topic)
            self._may[verb, channel, topic] = found
        return found

    def _find_offers(self, channel: str, instrument: str) -> tuple[Offer, ...]:
        """What the grants allow of this channel, by delay; without what another one allows too."""
        mask = self._patterns.match(instrument)
        found = self._offers.get((channel, mask))
        if found is None:
            if len(self._offers) >= _REMEMBERED:
                self._offers.clear()
            matching = [grant for number, grant in enumerate(self._grants) if mask >> number & 1]
            found = _best(grant.offer(channel) for grant in matching if channel in grant.channels)
            self._offers[channel, mask] = found
        return found

    def _explain(self, channel: str, instrument: str) -> str:
        name = clipped(instrument)
        offers = self._find_offers(channel, instrument)
        granted = [each for each in _CHANNELS if self._find_offers(each, instrument)]
        if not granted:
            return f"{name} is not among the instruments that you may see"
        if not offers:
            return f"you may not see {channel} of {name}; you may see {', '.join(granted)}"
        allowed = " or ".join(_describe(channel, offer) for offer in offers[:_OFFERS_SHOWN])
        return f"this is more than you may see of {channel} of {name}, which is {allowed}"


_shared: WeakValueDictionary[tuple[Grant | TopicGrant, ...], Entitlements] = WeakValueDictionary()

ALL: Final = Entitlements((Grant(_CHANNELS, (_ALL_INSTRUMENTS,)),), (topic_grants.EVERYTHING,))
"""Everything."""
NONE: Final = Entitlements(())
"""Nothing."""


def _best(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Those that no other one includes, the least delay first."""
    kept: list[Offer] = []
    for offer in sorted(offers, key=lambda each: (each[2], -each[0], each[1])):
        if not any(depth >= offer[0] and interval_ms <= offer[1] for depth, interval_ms, _ in kept):
            kept.append(offer)
    return tuple(kept)


def _describe(channel: str, offer: Offer) -> str:
    depth, interval_ms, _ = offer
    interval = f"interval_ms {interval_ms} or more" if interval_ms else "any interval_ms"
    if channel != Channel.BOOK:
        return interval
    return f"{'any depth' if depth == _FULL else f'a depth of at most {depth}'} with {interval}"


# ---- reading the claim


def _read_claim(claim: object) -> tuple[Grant | TopicGrant, ...]:
    given = _map(CLAIM, claim, ("grants",), ("grants",))
    entries = _list(f"{CLAIM}.grants", given["grants"], MAX_GRANTS)
    grants = tuple(_read_either(f"{CLAIM}.grants[{i}]", entry) for i, entry in enumerate(entries))
    for what, patterns in (
        ("instruments", sum(len(each.instruments) for each in grants if isinstance(each, Grant))),
        ("topics", sum(len(each.topics) for each in grants if isinstance(each, TopicGrant))),
    ):
        if patterns > MAX_PATTERNS:
            raise ValueError(
                f"{CLAIM}.grants has {patterns} patterns of {what}; at most {MAX_PATTERNS} are allowed"
            )
    return grants


def _read_either(place: str, entry: object) -> Grant | TopicGrant:
    if isinstance(entry, dict) and "topics" in entry:
        return _read_topic_grant(place, entry)
    return _read_grant(place, entry)


def _read_topic_grant(place: str, entry: object) -> TopicGrant:
    given = _map(place, entry, _TOPIC_REQUIRED, _TOPIC_KEYS)
    verbs = {verb: given[verb] for verb in VERBS if verb in given}
    for verb, value in verbs.items():
        if not isinstance(value, bool):
            raise ValueError(f"{place}.{verb} must be true or false")
    channels = _read_channels(f"{place}.channels", given["channels"], TOPIC_CHANNELS)
    return TopicGrant(channels, _read_topics(f"{place}.topics", given["topics"]), **verbs)


def _read_topics(place: str, raw: object) -> tuple[TopicPattern, ...]:
    patterns = []
    for i, text in enumerate(_list(place, raw, MAX_PATTERNS, least=1)):
        try:
            patterns.append(TopicPattern.parse(text))
        except ValueError as error:
            raise ValueError(f"{place}[{i}] {error}") from None
    return tuple(patterns)


def _read_grant(place: str, entry: object) -> Grant:
    given = _map(place, entry, _REQUIRED, _KEYS)
    limits = {name: _number(f"{place}.{name}", given.get(name, 0), most) for name, most in _LIMITS.items()}
    if not isinstance(given.get("publish", False), bool):
        raise ValueError(f"{place}.publish must be true or false")
    channels = _read_channels(f"{place}.channels", given["channels"], _CHANNELS)
    return Grant(channels, _read_patterns(f"{place}.instruments", given["instruments"]), **limits)


def _read_channels(place: str, raw: object, known: Sequence[str]) -> tuple[str, ...]:
    names = _list(place, raw, len(known) + 1, least=1)
    for i, name in enumerate(names):
        if name != ANY and name not in known:
            raise ValueError(f"{place}[{i}] must be one of {', '.join(known)} or *")
    return tuple(name for name in known if ANY in names or name in names)


def _read_patterns(place: str, raw: object) -> tuple[Pattern, ...]:
    patterns = []
    for i, text in enumerate(_list(place, raw, MAX_PATTERNS, least=1)):
        try:
            patterns.append(Pattern.parse(text))
        except ValueError as error:
            raise ValueError(f"{place}[{i}] {error}") from None
    return tuple(patterns)


def _map(place: str, raw: object, required: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"{place} must be a map with {' and '.join(required)}")
    for name in raw:
        if name not in known:
            close = get_close_matches(clipped(str(name)), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise ValueError(f"{place} has the unknown key {clipped(str(name))!r}; {hint}")
    for name in required:
        if name not in raw:
            raise ValueError(f"{place} has no {name}")
    return raw


def _list(place: str, raw: object, most: int, least: int = 0) -> list[Any]:
    if not isinstance(raw, list) or not least <= len(raw) <= most:
        raise ValueError(f"{place} must be an array with {least} to {most} entries")
    return raw


def _number(place: str, raw: object, most: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= most:
        raise ValueError(f"{place} must be a whole number from 0 to {most}")
    return raw
