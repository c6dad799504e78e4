"""The wall clock is stepped, both ways: time stamps follow it, and nothing else does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from support.fanout import JSON

HOUR_US = 3_600_000_000
STEPS = pytest.mark.parametrize(
    "step_us", [HOUR_US, -HOUR_US, 60_000_000], ids=["hour on", "hour back", "minute on"]
)


@pytest.fixture
def make_world(make_world):
    """A world whose wall clock shows a real date."""

    def make(**options):
        world = make_world(**options)
        world.wall_ahead = 1_700_000_000_000_000
        return world

    return make


@STEPS
def test_heartbeats_keep_their_pace_and_show_the_new_time(make_world, step_us):
    world = make_world(heartbeat_us=1_000_000)
    client = world.client()
    world.hub.attach(client.sink)
    world.after(1000)
    world.wall_ahead += step_us
    world.after(2000)
    client.read()
    times = [heartbeat["time"] for heartbeat in client.heartbeats]
    assert len(times) == 3
    assert [later - earlier for earlier, later in pairwise(times)] == [
        1_000_000 + step_us,
        1_000_000,
    ]


@STEPS
def test_intervals_keep_their_pace(make_world, step_us):
    world = make_world()
    client = world.client()
    sub = client.subscribe(world.topic(interval_ms=500))

    def deltas_in_2_s() -> int:
        before = len(sub.messages)
        for lots in range(1, 41):
            world.publish(world.feed.update({100: lots}))
            world.after(50)
        client.read()
        return len(sub.messages) - before

    deltas_in_2_s()
    assert deltas_in_2_s() == 4
    world.wall_ahead += step_us
    assert deltas_in_2_s() == 4
    world.wall_ahead -= step_us
    assert deltas_in_2_s() == 4


@STEPS
def test_a_slow_sink_has_as_long_as_ever(make_world, step_us):
    world = make_world(slow_limit_us=1_000_000)
    client = world.client()
    client.subscribe(world.topic())
    client.sink.drain(room=1)
    world.hub.send(client.sink, b"{}")
    assert client.sink.blocked
    world.after(500)
    world.wall_ahead += step_us
    world.after(500)
    assert client.sink.close_code == 0
    world.after(50)
    assert client.sink.close_code == 4408


@STEPS
def test_a_resume_ahead_waits_two_seconds(make_world, step_us):
    world = make_world()
    client, moved = world.client(JSON), world.client(JSON)
    sub = client.subscribe(world.topic())
    sub.seq = 1000
    again = moved.subscribe(world.topic(), resume=sub)
    assert moved.resumed
    world.after(1000)
    world.wall_ahead += step_us
    world.after(950)
    moved.read()
    assert again.messages == []
    world.after(100)
    moved.read()
    assert [message["type"] for message in again.messages] == ["snapshot"]


@STEPS
def test_latency_is_by_the_wall_clock_which_event_times_are_by(make_world, step_us):
    world = make_world()
    client = world.client()
    client.subscribe(world.topic())
    world.feed.ts = world.now + world.wall_ahead + step_us - 2_000
    world.wall_ahead += step_us
    world.publish(world.feed.update({100: 1}))
    assert 1_000 < world.hub.stats()["latency_total_us"] < 1_000_000
