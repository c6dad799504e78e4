"""Keyed state: how a change of a map looks, and what becomes of a map by a change. Without I/O.

The log decides. Every reader applies the changes of a topic in the order of the stream, by the rules of ``MapState.apply``, and so all
readers have the same map after the same number. A change is atomic: all of it is applied, or nothing.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from mdstream.alert import MAX_ALERTS
from mdstream.nesting import is_deep
from mdstream.topics import is_of_alerts

MAX_KEY: Final = 128
"""Characters of a key."""
MAX_VALUE_BYTES: Final = 16_384
"""Of one value, as MessagePack."""
MAX_CHANGE_BYTES: Final = 65_536
MAX_CHANGE_KEYS: Final = 256
MAX_KEYS: Final = 65_536
MAX_MAP_BYTES: Final = 8 * 1024 * 1024
MAX_TTL_MS: Final = 366 * 86_400_000
MAX_BY: Final = 256
MOST_DEEP: Final = 32
"""Lists and maps within each other, in a value."""
MAX_NUMBER: Final = 2**53 - 1
_ENTRY_BYTES: Final = 32
"""What an entry counts besides its key and its value."""
_FORMAT: Final = 1
"""Of snapshots; readers of another format read the log instead."""

_to_msgpack = msgspec.msgpack.Encoder().encode
_from_msgpack = msgspec.msgpack.Decoder().decode
_from_json = msgspec.json.Decoder().decode


class Outcome(StrEnum):
    """What became of a change."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """What it expected did not hold."""
    LIMIT = "limit"
    """The map would have too many keys or bytes."""
    INVALID = "invalid"
    """It is no change."""


class Entry(NamedTuple):
    """What a key holds. ``rev`` is the number of the change that set it, ``ts_us`` when that was stored."""

    value: Any
    rev: int
    by: str | None
    ts_us: int
    ttl_ms: int | None
    size: int

    @property
    def expires_us(self) -> int | None:
        return None if self.ttl_ms is None else self.ts_us + self.ttl_ms * 1000


class Applied(NamedTuple):
    """What a change did: keys that have a new value, keys that are gone. ``key`` is the one for which it was refused."""

    outcome: Outcome
    set: Sequence[str] = ()
    gone: Sequence[str] = ()
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One atomic change. ``expire`` and ``drop_node`` each stand alone: they are of those who keep the map, not of those who use it."""

    set: Mapping[str, tuple[Any, int | None]] = field(default_factory=dict)
    """By key: the value, and its time to live in ms (None: for good)."""
    delete: Sequence[str] = ()
    expect: Mapping[str, int] = field(default_factory=dict)
    """By key: the ``rev`` that must hold, 0 if the key must not exist."""
    by: str | None = None
    expire: Mapping[str, int] = field(default_factory=dict)
    """By key: the ``rev`` whose time is over."""
    drop_node: str | None = None
    """Of presence: all entries of this gateway go."""


# ---- a change as bytes


def encode_change(change: Change) -> bytes:
    fields: dict[str, Any] = {}
    if change.set:
        fields["set"] = {key: list(each) for key, each in change.set.items()}
    for name in ("delete", "expect", "expire"):
        if given := getattr(change, name):
            fields[name] = given
    for name in ("by", "drop_node"):
        if (text := getattr(change, name)) is not None:
            fields[name] = text
    return _to_msgpack(fields)


def decode_change(payload: bytes) -> Change:
    """Raises ValueError that says what is wrong; the text holds nothing of the payload but names of fields."""
    if len(payload) > MAX_CHANGE_BYTES:
        raise ValueError(f"a change has at most {MAX_CHANGE_BYTES} bytes, this one has {len(payload)}")
    fields = _decode(payload)
    if not isinstance(fields, dict):
        raise ValueError("a change is a map with set, delete, expect")
    if unknown := fields.keys() - _FIELDS:
        raise ValueError(
            f"a change has {len(unknown)} unknown fields; there are {', '.join(sorted(_FIELDS))}"
        )
    change = Change(
        _read_set(fields.get("set", {})),
        _read_keys(fields.get("delete", ())),
        _read_revs("expect", fields.get("expect", {})),
        _read_text("by", fields.get("by")),
        _read_revs("expire", fields.get("expire", {})),
        _read_text("drop_node", fields.get("drop_node")),
    )
    check_change(change)
    return change


_FIELDS: Final = frozenset({"set", "delete", "expect", "expire", "by", "drop_node", "ref"})


def check_change(change: Change) -> None:
    """Raises ValueError for one that has too many keys, or says nothing, or too much."""
    keys = len(change.set) + len(change.delete)
    if keys > MAX_CHANGE_KEYS or max(len(change.expect), len(change.expire)) > MAX_CHANGE_KEYS:
        raise ValueError(f"a change has at most {MAX_CHANGE_KEYS} keys")
    if not change.set.keys().isdisjoint(change.delete):
        raise ValueError("a key is both set and deleted")
    kinds = (bool(keys), bool(change.expire), change.drop_node is not None)
    if sum(kinds) != 1 or (change.expect and not keys):
        raise ValueError("a change sets or deletes keys")


def _decode(payload: bytes) -> Any:
    try:
        if not payload.startswith(b"{"):
            return _from_msgpack(payload)
        if is_deep(payload.decode()):
            raise ValueError("a change is nested too deep")
        return _from_json(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("a change is one map, in JSON or MessagePack") from None


def _read_set(raw: Any) -> dict[str, tuple[Any, int | None]]:
    if not isinstance(raw, dict):
        raise ValueError("set is a map")
    return {check_key(key): _read_pair(pair) for key, pair in raw.items()}


def _read_pair(raw: Any) -> tuple[Any, int | None]:
    if not isinstance(raw, list) or len(raw) != 2:
        raise ValueError("a key is set to [value, ttl_ms or null]")
    value, ttl_ms = raw
    check_value(value)
    if ttl_ms is not None:
        _check_number("ttl_ms", ttl_ms, 1, MAX_TTL_MS)
    return value, ttl_ms


def _read_keys(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple) or len(raw) > MAX_CHANGE_KEYS:
        raise ValueError(f"delete is an array of at most {MAX_CHANGE_KEYS} keys")
    return tuple(dict.fromkeys(map(check_key, raw)))


def _read_revs(name: str, raw: Any) -> dict[str, int]:
    if not isinstance(raw, dict):
        raise ValueError(f"{name} is a map of keys and numbers")
    for rev in raw.values():
        _check_number(name, rev, 0, MAX_NUMBER)
    return {check_key(key): rev for key, rev in raw.items()}


def _read_text(name: str, raw: Any) -> str | None:
    if raw is not None and (not isinstance(raw, str) or len(raw) > MAX_BY):
        raise ValueError(f"{name} is a string of at most {MAX_BY} characters, or left out")
    return raw


def _check_number(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most}")


def check_key(key: Any) -> str:
    """Raises ValueError."""
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY:
        raise ValueError(f"a key is a string of 1 to {MAX_KEY} characters")
    return key


def check_value(value: Any) -> int:
    """How many bytes it takes; raises ValueError for one that JSON and MessagePack cannot both hold, or that is too large."""
    _check_plain(value, MOST_DEEP)
    try:
        size = len(_to_msgpack(value))
    except (OverflowError, UnicodeEncodeError):
        raise ValueError("a value holds a number beyond 64 bits, or a string that is no Unicode") from None
    if size > MAX_VALUE_BYTES:
        raise ValueError(f"a value has at most {MAX_VALUE_BYTES} bytes as MessagePack, this one has {size}")
    return size


def _check_plain(value: Any, deep: int) -> None:
    if deep == 0:
        raise ValueError(f"a value is nested more than {MOST_DEEP} deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a map in a value has keys that are no strings")
        for each in value.values():
            _check_plain(each, deep - 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_plain(each, deep - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a value holds a number that is not finite")
    elif value is not None and not isinstance(value, bool | int | str):
        raise ValueError("a value holds what JSON cannot hold")


# ---- a map


def state_of(topic: str) -> MapState:
    """An empty map of this topic: that of a user's alerts holds fewer keys."""
    return MapState(max_keys=MAX_ALERTS) if is_of_alerts(topic) else MapState()


class MapState:
    """A map after the change ``seq``."""

    def __init__(self, *, max_keys: int = MAX_KEYS, max_bytes: int = MAX_MAP_BYTES) -> None:
        self.seq = 0
        self.ts_us = 0
        """When the newest change was stored: the time of the log."""
        self.bytes = 0
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._entries: dict[str, Entry] = {}
        self._of_authors: Counter[str] = Counter()
        """Bytes of what each has set, by ``by``."""
        self._nodes: Counter[str] = Counter()
        """How many entries of presence each gateway has."""
        self._due: list[tuple[int, str, int]] = []
        """A heap of when which key with which ``rev`` expires. Those that were set again are dropped when they are due, or are many."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """In the order in which they were set."""
        return iter(self._entries.items())

    # ---- changes

    def apply(self, seq: int, ts_us: int, change: Change) -> Applied:
        """Applies the change with this number of the stream, which was stored at ``ts_us``. Raises ValueError for one that was applied."""
        self.skip(seq, ts_us)
        if change.drop_node is not None:
            return self._remove(self._of_node(change.drop_node))
        if change.expire:
            over = [key for key, rev in change.expire.items() if self._is_over(key, rev)]
            return self._remove(over)
        for key, rev in change.expect.items():
            if self.rev(key) != rev:
                return Applied(Outcome.CONFLICT, key=key)
        return self._put(seq, change)

    def skip(self, seq: int, ts_us: int) -> None:
        """The message with this number changes nothing."""
        if seq <= self.seq:
            raise ValueError(f"change {seq} comes after {self.seq}")
        self.seq = seq
        self.ts_us = max(self.ts_us, ts_us)

    def rev(self, key: str) -> int:
        """The number of the change that set a key; 0 if it does not exist."""
        entry = self._entries.get(key)
        return 0 if entry is None else entry.rev

    def _put(self, seq: int, change: Change) -> Applied:
        new = {
            key: Entry(value, seq, change.by, self.ts_us, ttl_ms, size_of(key, value))
            for key, (value, ttl_ms) in change.set.items()
        }
        gone = [key for key in change.delete if key in self._entries]
        if not self._has_room(new, gone):
            return Applied(Outcome.LIMIT)
        self._remove(gone)
        for key, entry in new.items():
            self._set(key, entry)
        return Applied(Outcome.APPLIED, tuple(new), gone)

    def _has_room(self, new: Mapping[str, Entry], gone: Iterable[str]) -> bool:
        """A change that makes a map smaller is never refused."""
        entries = self._entries
        keys = sum(key not in entries for key in new) - sum(1 for _ in gone)
        size = sum(each.size - self._size_of(key) for key, each in new.items()) - sum(
            map(self._size_of, gone)
        )
        too_many = keys > 0 and len(entries) + keys > self._max_keys
        return not too_many and not (size > 0 and self.bytes + size > self._max_bytes)

    def _size_of(self, key: str) -> int:
        entry = self._entries.get(key)
        return 0 if entry is None else entry.size

    def _set(self, key: str, entry: Entry) -> None:
        self._take_out(key)
        self._count(entry, entry.size)
        self._entries[key] = entry
        if (node := node_of(entry)) is not None:
            self._nodes[node] += 1
        if (expires_us := entry.expires_us) is not None:
            heapq.heappush(self._due, (expires_us, key, entry.rev))
            if len(self._due) > 2 * len(self._entries) + 64:
                self._due = [each for each in self._due if self.rev(each[1]) == each[2]]
                heapq.heapify(self._due)

    def _remove(self, keys: Iterable[str]) -> Applied:
        return Applied(Outcome.APPLIED, (), [key for key in keys if self._take_out(key)])

    def _take_out(self, key: str) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._count(entry, -entry.size)
        if (node := node_of(entry)) is not None:
            self._nodes[node] -= 1
            if not self._nodes[node]:
                del self._nodes[node]
        return True

    def _count(self, entry: Entry, size: int) -> None:
        self.bytes += size
        if entry.by is not None:
            self._of_authors[entry.by] += size
            if not self._of_authors[entry.by]:
                del self._of_authors[entry.by]

    def bytes_of(self, author: str) -> int:
        """What of it one user has set."""
        return self._of_authors[author]

    # ---- what ends by itself

    def due(self, now_us: int, most: int = MAX_CHANGE_KEYS) -> dict[str, int]:
        """Keys whose time is over by now, and their ``rev``: what to publish as ``expire``. They stay until that is applied."""
        over: dict[str, int] = {}
        kept: list[tuple[int, str, int]] = []
        while self._due and self._due[0][0] <= now_us and len(over) < most:
            each = heapq.heappop(self._due)
            if self.rev(each[1]) == each[2]:
                over[each[1]] = each[2]
                kept.append(each)
        for each in kept:
            heapq.heappush(self._due, each)
        return over

    @property
    def next_due_us(self) -> int | None:
        """When the next key may expire."""
        return self._due[0][0] if self._due else None

    def _is_over(self, key: str, rev: int) -> bool:
        """By the time of the log, so that a gateway whose clock is ahead ends nothing early."""
        entry = self._entries.get(key)
        if entry is None or entry.rev != rev or entry.expires_us is None:
            return False
        return entry.expires_us <= self.ts_us

    # ---- presence

    def _of_node(self, node: str) -> list[str]:
        return [key for key, entry in self._entries.items() if node_of(entry) == node]

    def nodes(self) -> set[str]:
        """The gateways that have entries."""
        return set(self._nodes)

    # ---- snapshots

    def whole(self, most_bytes: int) -> WholeMap:
        """The map as it is now, in pages of about so many bytes."""
        parts: list[list[tuple[str, Entry]]] = [[]]
        size = 0
        for key, entry in self._entries.items():
            if parts[-1] and size + entry.size > most_bytes:
                parts.append([])
                size = 0
            parts[-1].append((key, entry))
            size += entry.size
        return WholeMap(self.seq, self.ts_us, parts)

    def load(self, page: bytes, number: int) -> None:
        """Takes the next page of a whole map, the first into an empty one. Raises ValueError, and is empty then, if it is none."""
        try:
            self._load(_from_msgpack(page), number)
        except (msgspec.MsgspecError, TypeError, ValueError, IndexError, RecursionError):
            self._entries.clear()
            self._of_authors.clear()
            self._nodes.clear()
            self._due.clear()
            self.seq = self.bytes = self.ts_us = 0
            raise ValueError("this is no page of a whole map") from None

    def _load(self, page: list[Any], number: int) -> None:
        format, seq, ts_us, its_number, _, rows = page
        for each in (seq, ts_us):
            _check_number("a number of a page", each, 0, MAX_NUMBER)
        if number == 0:
            self.seq, self.ts_us = seq, ts_us
        if (format, seq, ts_us, its_number) != (_FORMAT, self.seq, self.ts_us, number):
            raise ValueError("a page of another map")
        for key, value, rev, by, set_us, ttl_ms in rows:
            for each in (rev, set_us, ttl_ms or 0):
                _check_number("a number of a key", each, 0, MAX_NUMBER)
            self._set(
                check_key(key), Entry(value, rev, _read_text("by", by), set_us, ttl_ms, size_of(key, value))
            )


class WholeMap:
    """A map at one number; each page is encoded when it is asked for."""

    def __init__(self, seq: int, ts_us: int, parts: list[list[tuple[str, Entry]]]) -> None:
        self.seq = seq
        self._ts_us = ts_us
        self._parts = parts

    def __len__(self) -> int:
        """Pages; at least one."""
        return len(self._parts)

    def page(self, number: int) -> bytes:
        rows = [[key, *entry[:-1]] for key, entry in self._parts[number]]
        return _to_msgpack([_FORMAT, self.seq, self._ts_us, number, len(self), rows])


def pages_of(first: bytes) -> tuple[int, int]:
    """The number of a snapshot and how many pages it has, by its first page. Raises ValueError."""
    try:
        format, seq, _, number, pages, _ = _from_msgpack(first)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise ValueError("this is no snapshot of a map") from None
    if (format, number) != (_FORMAT, 0) or type(seq) is not int or type(pages) is not int:
        raise ValueError("this is no first page of a snapshot of a map")
    return seq, pages


def size_of(key: str, value: Any) -> int:
    """What an entry counts, in bytes."""
    return len(key.encode()) + len(_to_msgpack(value)) + _ENTRY_BYTES


def presence_value(user: str, since_us: int, info: Any, node: str) -> list[Any]:
    """What a session has in a map of presence."""
    return [user, since_us, info, node]


def node_of(entry: Entry) -> str | None:
    """The gateway of an entry of presence; None where it is none."""
    value = entry.value
    if isinstance(value, list) and len(value) == 4 and isinstance(value[3], str):
        return value[3]
    return None
