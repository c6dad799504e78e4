"""When a map is told to be stale."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.fair_places import GATEWAY, Asker
from mdstream.gateway.map_topics import MapTopics
from mdstream.model import Channel


def make_topics(told: list[bool], **settings: Any) -> MapTopics:
    return MapTopics(
        GatewayConfig(**settings),
        None,  # type: ignore[arg-type]
        wall_us=lambda: 7,
        now_s=lambda: 0.0,
        replaced=lambda topics: None,
        told=lambda each: told.append(bool(each.stale_us)),
        is_silent=lambda instance: False,
    )


def make_map() -> Any:
    """One that is being opened, with NATS."""
    reader = SimpleNamespace(is_read=False, is_following=False)
    stream = SimpleNamespace(bus=SimpleNamespace(connected=True))
    return SimpleNamespace(stream=stream, reader=reader, was_read=False, stale_us=0, live_us=0)


def test_a_map_that_is_opened_is_not_stale():
    told: list[bool] = []
    topics, each = make_topics(told), make_map()
    topics._look_at(each)
    each.reader.is_read = each.was_read = True
    topics._look_at(each)
    assert told == []


def test_a_map_that_is_read_again_is_stale_until_it_follows():
    told: list[bool] = []
    topics, each = make_topics(told), make_map()
    each.was_read = True
    topics._look_at(each)
    assert told == [True]
    each.reader.is_read = True
    topics._look_at(each)
    assert told == [True]
    each.reader.is_following = True
    topics._look_at(each)
    assert told == [True, False]


def test_a_map_is_stale_without_nats_whether_it_was_read_or_not():
    for was_read in (False, True):
        told: list[bool] = []
        topics, each = make_topics(told), make_map()
        each.was_read = each.reader.is_read = was_read
        each.stream.bus.connected = False
        topics._look_at(each)
        assert told == [True]


def test_who_has_opened_as_many_bytes_as_are_free_opens_no_more() -> None:
    topics = make_topics([], max_map_bytes=9 * 2**20)
    greedy, other = Asker("greedy", is_counted=True), Asker("other", is_counted=True)
    for number in range(3):
        assert topics._has_bytes(greedy) is (number < 2)
        state = SimpleNamespace(bytes=3 * 2**20)
        topics._maps[Channel.MAP, f"t{number}"] = SimpleNamespace(asker=greedy, state=state)  # type: ignore[assignment]
        assert topics._has_bytes(other) is (number < 2)
    assert not topics._has_bytes(GATEWAY)
