"""What a subscription takes in memory, however many there are and however often clients come and go."""

from __future__ import annotations

import pytest
from doubles.memory_sink import MemorySink

from mdstream._core.fanout.hub import Hub

MOST = 96  # bytes


def taken(topics, sinks) -> int:
    return sum(one.subscription_bytes for one in [*topics, *sinks])


def hub_with(instruments: int):
    hub = Hub()
    named = [hub.add_instrument(f"SIM:{i}", -2, -3) for i in range(instruments)]
    return hub, [hub.topic(instrument, "book") for instrument in named]


@pytest.mark.parametrize(("sinks", "topics"), [(1, 1), (1, 2), (2, 1), (700, 1), (1, 700), (100, 40)])
def test_bytes_of_a_subscription_as_they_come_and_as_they_go(sinks, topics):
    hub, subscribed = hub_with(topics)
    peers = [MemorySink(i & 1, keep=False) for i in range(sinks)]
    count = 0
    for topic in subscribed:
        for peer in peers:
            hub.subscribe(peer, topic)
            count += 1
            if count % 97 == 0 or count < 200:
                assert taken(subscribed, peers) <= MOST * count
    for topic in subscribed:
        for peer in peers[::-1]:
            assert taken(subscribed, peers) <= MOST * count
            hub.unsubscribe(peer, topic)
            count -= 1
    assert taken(subscribed, peers) == 0


def test_a_crowd_that_leaves_gives_its_memory_back():
    hub, (topic,) = hub_with(1)
    crowd = [MemorySink(1, keep=False) for _ in range(1000)]
    for peer in crowd:
        hub.subscribe(peer, topic)
    for peer in crowd[10:]:
        peer.close()
    assert topic.subscribers == 10
    assert taken([topic], crowd) <= MOST * 10
