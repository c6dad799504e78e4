"""Maps as clients are sent them: the golden vectors, pages, prefixes, and what slow clients lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.map_log import (
    PAGE_BYTES,
    CountView,
    MapLog,
    MapView,
    PresentRow,
    WhoView,
)
from mdstream.gateway.row_log import MOST_GONE
from mdstream.maps import Change, MapState, decode_change, encode_change, presence_value

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "maps.json").read_text(encoding="utf-8"))
T0 = 1_753_000_000_000_000


class Kept:
    """A map and its log."""

    def __init__(self, log: MapLog | None = None) -> None:
        self.state = MapState()
        self.log = MapLog() if log is None else log

    def put(self, seq: int, delete: tuple[str, ...] = (), by: str | None = None, **values: Any) -> None:
        change = Change({key: (value, None) for key, value in values.items()}, delete, by=by)
        self.log.follow(self.state, self.state.apply(seq, T0 + seq, change))


def view_of(vector: dict[str, Any]) -> tuple[MapView, int | None]:
    """A view that sends this vector next, and since when."""
    fields = vector["fields"]
    kept = Kept(MapLog(PresentRow) if vector["type"] == "presence" else MapLog())
    state, since = kept.state, fields["prev"]
    for key in fields.get("delete", ()):
        kept.put(state.seq + 1, **{key: presence_value("", 0, None, "g")})
    others = fields.get("count", 0) - len(fields.get("set", {}))
    for number in range(others):
        kept.put(state.seq + 1, **{f"old{number}": presence_value("", 0, None, "g")})
    if since:
        list(kept.log.begin(state))
        state.seq = since
        kept.log._log.begin(since)
    sets = fields.get("set", {})
    for key, row in sets.items():
        value = presence_value(*row, "g") if vector["type"] == "presence" else row[0]
        rev, by, ts_us = (fields["seq"], None, T0) if vector["type"] == "presence" else row[1:]
        applied = state._put(rev, Change({key: (value, None)}, by=by))
        state._entries[key] = state._entries[key]._replace(ts_us=ts_us)
        state.seq = max(state.seq, rev)
        kept.log.follow(state, applied)
    if fields["seq"]:
        state.seq = fields["seq"]
        kept.log.follow(state, state._remove(fields.get("delete", ())[::-1]))
    kinds = {"map": MapView, "presence": WhoView if "set" in fields else CountView}
    made = kinds[vector["type"]](kept.log)
    made.sub = fields["sub"]
    return made, since


@pytest.mark.parametrize(
    "vector",
    [each for each in VECTORS["data"] if each["fields"]["pages"] == 1],
    ids=lambda each: each["name"],
)
def test_messages_are_the_vectors(vector: dict[str, Any]) -> None:
    made, since = view_of(vector)
    assert [each.decode() for each in made.missing(JSON, since)] == [vector["json"]]
    assert [each.hex() for each in made.missing(MSGPACK, since)] == [vector["msgpack"]]


@pytest.mark.parametrize("vector", VECTORS["bus"], ids=lambda each: each["name"])
def test_the_bus_is_the_vectors(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["msgpack"])
    if "snap" in vector["subject"]:
        state = MapState()
        state.load(payload, 0)
        assert state.whole(9_999).page(0) == payload
        return
    change = decode_change(payload)
    assert encode_change(change) == payload
    assert decode_change(json.dumps(vector["values"][0]).encode()) == change


def test_a_slow_client_is_sent_each_key_once() -> None:
    kept = Kept()
    view = MapView(kept.log)
    kept.put(5, a=1, b=1)
    for seq in range(6, 60):
        kept.put(seq, a=seq)
    kept.put(70, ("b",), c=1)
    (message,) = view.missing(MSGPACK, 5)
    assert msgpack.unpackb(message) == [
        12,
        0,
        5,
        70,
        1,
        1,
        {"c": [1, 70, None, T0 + 70], "a": [59, 59, None, T0 + 59]},
        ["b"],
    ]


def test_a_prefix_shows_nothing_else() -> None:
    kept = Kept()
    view = MapView(kept.log, "lot.")
    kept.put(1, **{"lot.1": 1, "x": 2})
    kept.put(2, ("x",), y=3)
    assert list(msgpack.unpackb(view.missing(MSGPACK, None)[0])[6]) == ["lot.1"]
    assert msgpack.unpackb(view.missing(MSGPACK, 1)[0])[6:] == [{}, []]


def test_a_large_map_comes_in_pages() -> None:
    kept = Kept()
    for seq in range(1, 40):
        kept.put(seq, **{f"k{seq}": "x" * 10_000})
    for format in (JSON, MSGPACK):
        messages = MapView(kept.log).missing(format, None)
        assert len(messages) > 5 and all(len(each) <= PAGE_BYTES for each in messages)
    pages = [msgpack.unpackb(each) for each in messages]
    assert [each[4] for each in pages] == list(range(1, len(pages) + 1))
    assert {key for each in pages for key in each[6]} == {f"k{seq}" for seq in range(1, 40)}


def test_who_lacks_more_than_is_remembered_is_sent_everything() -> None:
    kept = Kept()
    for at in range(0, MOST_GONE + 200, 200):
        kept.put(at + 1, **{f"k{n}": 1 for n in range(at, at + 200)})
        kept.put(at + 2, tuple(f"k{n}" for n in range(at, at + 200)))
    kept.put(99_999, last=1)
    view = MapView(kept.log)
    assert not view.reaches(1) and view.reaches(99_998)
    assert msgpack.unpackb(view.missing(MSGPACK, 1)[0])[2] is None
    assert msgpack.unpackb(view.missing(MSGPACK, 99_998)[0])[2] == 99_998


def test_how_many_are_present_is_one_short_message() -> None:
    kept = Kept(MapLog(PresentRow))
    for seq in range(1, 41):
        kept.put(seq, **{f"s{seq}.{n}": presence_value("u", 1, None, "g") for n in range(250)})
    view = CountView(kept.log)
    assert [json.loads(each)["count"] for each in view.missing(JSON, None)] == [10_000]
    assert len(view.missing(MSGPACK, 1)[0]) < 30


def test_thousands_that_come_at_once_are_shown_page_by_page() -> None:
    kept = Kept(MapLog(PresentRow))
    view = WhoView(kept.log)
    for seq in range(1, 41):
        kept.put(seq, **{f"s{seq}.{n}": presence_value("u", 1, None, "g") for n in range(250)})
    shown: set[str] = set()
    since, messages = 0, 0
    is_all = False
    while not is_all:
        is_all = view.advance()
        (message,) = view.missing(MSGPACK, since or None)
        assert len(message) <= PAGE_BYTES
        kind, _, _, since, _, _, count, rows, _ = msgpack.unpackb(message)
        assert (kind, count) == (13, 10_000) and not shown & rows.keys()
        shown |= rows.keys()
        messages += 1
    assert len(shown) == 10_000 and since == 40 and messages > 5
