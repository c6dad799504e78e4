"""Maps and presence in the Python client: the golden vectors, pages, gaps, and what a new connection brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mdstream.client import events, protocol
from mdstream.client.map import Map, MapUpdate
from mdstream.client.presence import Presence
from mdstream.client.protocol import Request
from mdstream.client.protocol_json import JsonCodec
from mdstream.client.protocol_msgpack import MsgpackCodec

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "maps.json").read_text(encoding="utf-8"))
EPOCH = 1_753_000_000_000_000


@pytest.mark.parametrize("vector", VECTORS["data"], ids=lambda each: each["name"])
def test_both_formats_give_the_same(vector: dict[str, Any]) -> None:
    (text,) = JsonCodec().decode(vector["json"].encode())
    (packed,) = MsgpackCodec().decode(bytes.fromhex(vector["msgpack"]))
    assert text == packed and isinstance(text, events.MapPage | events.PresencePage)
    assert (text.sub, text.prev, text.seq) == tuple(vector["fields"][name] for name in ("sub", "prev", "seq"))


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda each: each["name"])
def test_the_answers_are_read(vector: dict[str, Any]) -> None:
    (text,) = JsonCodec().decode(vector["json"].encode())
    (packed,) = MsgpackCodec().decode(bytes.fromhex(vector["msgpack"]))
    assert text == packed
    if isinstance(text, events.Refused):
        assert text.current is not None and text.current["ask"] is None
        assert text.current["bid"] == events.MapRow(11, 121, "bob", EPOCH + 5_000_000)


def test_the_commands_are_the_vectors() -> None:
    wanted = {each["name"]: each["json"] for each in VECTORS["commands"]}

    def said(command: protocol.Command) -> str:
        return msgspec.json.encode(command).decode()

    maps = [Request("map", "desk.auction"), Request("map", "user")]
    assert said(protocol.subscribe(1, maps)) == wanted["subscribe to maps"]
    part = [each._replace(prefix="lot.", interval_ms=100) for each in maps]
    resumed = protocol.subscribe(1, part, {"user": (EPOCH, 118)})
    assert said(resumed) == wanted["subscribe to a part of a map, resumed"]
    count = Request("presence", "desk.auction", interval_ms=1000)
    assert said(protocol.subscribe(1, [count])) == wanted["how many are present"]
    who = Request("presence", "desk.auction", join=True, who=True, info='{"name":"Alice"}')
    assert protocol.subscribe(1, [who]) == json.loads(wanted["subscribe to presence"])
    fields = {"topic": "desk.auction", "set": {"bid": 10, "by": None}}
    assert said(protocol.put(2, fields)) == wanted["put"]


def page(
    prev: int | None,
    seq: int,
    rows: dict[str, Any],
    gone: tuple[str, ...] = (),
    page: int = 1,
    pages: int = 1,
) -> events.MapPage:
    made = {key: events.MapRow(value, seq, None, 1) for key, value in rows.items()}
    return events.MapPage(9, prev, seq, page, pages, made, list(gone))


def accepted(link: Any, subscription: Any, resumed: bool = False, epoch: int = EPOCH) -> None:
    subscription.requested()
    subscription.accept(events.Subscribed(9, "map", topic="m", epoch=epoch, resumed=resumed), 0.0)


class Link:
    def __init__(self) -> None:
        from mdstream.client.policy import Policy
        from mdstream.client.states import Stats

        self.policy, self.stats = Policy(), Stats()
        self.random = lambda: 0.0
        self.recovers: list[int] = []

    def due(self, when: float) -> None: ...
    def send_recover(self, subscription: Any, from_seq: int) -> None:
        self.recovers.append(from_seq)

    def unsubscribe(self, subscription: Any) -> None: ...


@pytest.fixture
def link() -> Link:
    return Link()


def values(map: Map) -> dict[str, Any]:
    return {key: entry.value for key, entry in map.entries.items()}


def test_pages_count_once_the_last_is_there(link: Link) -> None:
    map = Map(Request("map", "m"), link)
    told: list[MapUpdate] = []
    map.on_update(told.append)
    accepted(link, map)
    map.take(page(None, 5, {"a": 1}, pages=2), 0.0)
    assert not map.trusted and not values(map) and not told
    map.take(page(None, 5, {"b": 2}, page=2, pages=2), 0.0)
    assert map.trusted and values(map) == {"a": 1, "b": 2} and map.seq == 5 == map.rev("a")
    assert [each.whole for each in told] == [True] and map.resume == (EPOCH, 5)
    map.take(page(5, 7, {"a": 3}, ("b", "never")), 0.0)
    assert values(map) == {"a": 3} and told[-1].deleted == ("b",) and map["a"] == 3


def test_a_message_that_begins_too_late_shows_a_gap(link: Link) -> None:
    map = Map(Request("map", "m"), link)
    accepted(link, map)
    map.take(page(None, 5, {"a": 1}), 0.0)
    map.take(page(8, 9, {"a": 9}), 0.0)
    assert not map.trusted and link.recovers == [6] and values(map) == {"a": 1}
    map.take(page(5, 9, {"a": 9}), 0.0)
    assert map.trusted and values(map) == {"a": 9}
    map.take(page(5, 9, {"a": 0}), 0.0)
    assert values(map) == {"a": 9}
    map.take(page(7, 12, {"b": 1}), 0.0)
    assert values(map) == {"a": 9, "b": 1} and map.gaps == 1


def test_a_page_that_is_missing_shows_too(link: Link) -> None:
    map = Map(Request("map", "m"), link)
    accepted(link, map)
    map.take(page(None, 5, {"a": 1}), 0.0)
    map.take(page(5, 7, {"b": 1}, page=2, pages=2), 0.0)
    assert not map.trusted and link.recovers == [6]


def test_a_heartbeat_shows_a_lost_tail(link: Link) -> None:
    map = Map(Request("map", "m"), link)
    accepted(link, map)
    map.take(page(None, 5, {"a": 1}), 0.0)
    map.take_heartbeat(5, 0.0)
    assert map.trusted
    map.take_heartbeat(6, 0.0)
    assert link.recovers == [6]


def test_numbers_of_another_stream_mean_nothing(link: Link) -> None:
    map = Map(Request("map", "m"), link)
    accepted(link, map)
    map.take(page(None, 500, {"a": 1}), 0.0)
    map.detach("lost")
    assert map.resume == (EPOCH, 500)
    accepted(link, map, epoch=EPOCH + 1)
    assert map.resume is None
    map.take(page(None, 2, {"b": 1}), 0.0)
    assert map.trusted and values(map) == {"b": 1} and map.resume == (EPOCH + 1, 2)


def test_a_resumed_map_goes_on(link: Link) -> None:
    map = Map(Request("map", "m"), link)
    accepted(link, map)
    map.take(page(None, 5, {"a": 1}), 0.0)
    map.detach("lost")
    accepted(link, map, resumed=True)
    assert map.trusted
    map.take(page(5, 6, {"b": 1}), 0.0)
    assert values(map) == {"a": 1, "b": 1}


def test_who_is_present(link: Link) -> None:
    here = Presence(Request("presence", "room", who=True), link)
    accepted(link, here)
    rows = {"s1": events.PresentRow("alice", 1, {"x": 1}), "s2": events.PresentRow("bob", 2)}
    here.take(events.PresencePage(9, None, 5, 1, 1, 2, rows, []), 0.0)
    assert here.count == 2 and here.sessions["s1"].info == {"x": 1}
    here.take(events.PresencePage(9, 5, 6, 1, 1, 1, {}, ["s2"]), 0.0)
    assert here.count == 1 and set(here.sessions) == {"s1"}


def test_how_many_are_present(link: Link) -> None:
    here = Presence(Request("presence", "room"), link)
    told: list[int] = []
    here.on_update(lambda update: told.append(update.count))
    accepted(link, here)
    here.take(events.PresencePage(9, None, 0, 1, 1, 0), 0.0)
    here.take(events.PresencePage(9, 0, 7, 1, 1, 10_000), 0.0)
    assert here.trusted and told == [0, 10_000] and not here.sessions
