"""Signs of life and attendance with a clock and a bus of the test's own: who is silent, and what is written again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mdstream.bus.map_streams import PRESENCE
from mdstream.bus.maps import Put
from mdstream.errors import BusUnavailable
from mdstream.gateway import presence
from mdstream.gateway.alive import SILENT_S, Alive, new_instance
from mdstream.gateway.presence import Attendance, Presence, in_changes
from mdstream.maps import MAX_CHANGE_BYTES, MAX_CHANGE_KEYS, Change, MapState, encode_change, presence_value


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeBus:
    """Hears what is published, and lets the test say something."""

    def __init__(self) -> None:
        self.connected = True
        self.is_deaf = False
        """What it is told does not come back."""
        self.published: list[str] = []
        self.reconnected: Callable[[], None] = lambda: None

    async def subscribe(self, subject: str, hear: Any) -> object:
        self.say = lambda instance: hear(f"mdctl.alive.{instance}".encode(), b"", b"", None)
        return object()

    async def unsubscribe(self, subscription: object) -> None: ...

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        self.reconnected = call
        return lambda: None

    async def publish(self, subject: str, payload: bytes) -> None:
        self.published.append(subject)
        if not self.is_deaf:
            self.say(subject.removeprefix("mdctl.alive."))


async def listening() -> tuple[Alive, FakeBus, Clock]:
    clock, bus = Clock(), FakeBus()
    alive = Alive("me-1", clock)
    alive.use(bus)  # type: ignore[arg-type]
    await alive.begin()
    return alive, bus, clock


async def pass_time(alive: Alive, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds)):
        clock.now_s += 1
        alive.tick()
        await asyncio.sleep(0)


def test_a_gateway_is_silent_after_six_seconds_and_never_this_one(run) -> None:
    async def scenario() -> None:
        alive, bus, clock = await listening()
        bus.say("other-1")
        await pass_time(alive, clock, SILENT_S)
        assert not alive.is_silent("other-1")
        await pass_time(alive, clock, 1)
        assert alive.is_silent("other-1") and alive.is_silent("never-heard") and not alive.is_silent("me-1")
        bus.say("other-1")
        assert not alive.is_silent("other-1")

    run(scenario())


def test_what_was_never_heard_is_silent_only_once_we_have_listened_long_enough(run) -> None:
    async def scenario() -> None:
        alive, _, clock = await listening()
        assert not alive.is_silent("dead-1")
        await pass_time(alive, clock, SILENT_S + 1)
        assert alive.is_silent("dead-1")

    run(scenario())


@pytest.mark.parametrize("what", ["reconnect", "stood still", "away"])
def test_what_we_could_not_hear_is_no_silence(run, what) -> None:
    async def scenario() -> None:
        alive, bus, clock = await listening()
        bus.say("other-1")
        await pass_time(alive, clock, 5)
        if what == "reconnect":
            bus.reconnected()
        elif what == "stood still":
            clock.now_s += 60
            alive.tick()
            await asyncio.sleep(0)
        else:
            bus.connected = False
            await pass_time(alive, clock, 60)
            bus.connected = True
        await pass_time(alive, clock, 2)
        assert not alive.is_silent("other-1")
        await pass_time(alive, clock, SILENT_S)
        assert alive.is_silent("other-1")

    run(scenario())


def test_who_hears_nothing_not_even_itself_takes_nobody_for_dead(run) -> None:
    """Its link may work one way: what it says of others arrives."""

    async def scenario() -> None:
        alive, bus, clock = await listening()
        await pass_time(alive, clock, 1)
        bus.say("other-1")
        bus.is_deaf = True
        await pass_time(alive, clock, 60)
        assert not alive.is_silent("other-1")
        bus.say("other-1")
        bus.is_deaf = False
        await pass_time(alive, clock, SILENT_S)
        assert not alive.is_silent("other-1")
        await pass_time(alive, clock, 1)
        assert alive.is_silent("other-1")

    run(scenario())


def test_who_is_silent_is_known_before_the_first_client_comes(run) -> None:
    async def scenario() -> None:
        clock, bus = Clock(), FakeBus()
        alive = Alive("me-1", clock)
        alive.use(bus)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        bus.say("other-1")
        await pass_time(alive, clock, SILENT_S + 1)
        assert not alive.is_silent("other-1")
        await alive.begin()
        alive.tick()
        await asyncio.sleep(0)
        assert alive.is_silent("other-1")

    run(scenario())


def test_a_sign_of_life_is_given_every_second_once_it_is_needed(run) -> None:
    async def scenario() -> None:
        clock, bus = Clock(), FakeBus()
        alive = Alive("me-1", clock)
        alive.use(bus)  # type: ignore[arg-type]
        await pass_time(alive, clock, 20)
        await asyncio.sleep(0)
        assert not bus.published
        await alive.begin()
        await pass_time(alive, clock, 20)
        await asyncio.sleep(0)
        assert bus.published == ["mdctl.alive.me-1"] * 20

    run(scenario())


def test_names_that_are_none_are_not_remembered(run) -> None:
    async def scenario() -> None:
        alive, bus, _ = await listening()
        for name in ("", "a.b", "x" * 200, "a b", "\xff"):
            bus.say(name)
        assert not alive._heard

    run(scenario())


def test_two_processes_of_one_node_have_different_names() -> None:
    first, second = new_instance("gw.1 ü"), new_instance("gw.1 ü")
    assert first != second and first.startswith("gw_1__-")


# ---- attendance


def test_ten_thousand_sessions_are_tens_of_changes() -> None:
    wanted = {
        f"{n:016x}": (presence_value("alice", n, {"name": "x" * 40}, "g-1"), None) for n in range(10_000)
    }
    changes = list(in_changes(wanted, [f"gone{n}" for n in range(600)]))
    assert len(changes) < 60
    assert all(len(encode_change(each)) <= MAX_CHANGE_BYTES for each in changes)
    assert all(len(each.set) + len(each.delete) <= MAX_CHANGE_KEYS for each in changes)
    assert {key for each in changes for key in each.set} == wanted.keys()
    large = {f"{n}": (presence_value("u", 1, "x" * 1_000, "g-1"), None) for n in range(256)}
    assert all(len(encode_change(each)) <= MAX_CHANGE_BYTES for each in in_changes(large, []))


class FakeMap:
    """A map whose changes are applied as soon as they are stored, unless the test says otherwise."""

    def __init__(self) -> None:
        self.name = "room"
        self.state = MapState()
        self.holds = 0
        self.reader = self
        self.is_read = True
        self.stream = self
        self.bus = self
        self.connected = True
        self.kind = PRESENCE
        self.changes = 0
        self.is_away = False
        self.tell_loaded: Callable[[], None] = lambda: None
        self.tell_set: Callable[[Any], None] = lambda keys: None
        self.tell_dropped: Callable[[str], None] = lambda node: None

    async def reach(self, seq: int) -> None: ...

    async def put(self, bus: object, kind: object, topic: str, change: Change, **more: Any) -> Put:
        if self.is_away:
            raise BusUnavailable("away")
        self.changes += 1
        seq = self.state.seq + 1
        applied = self.state.apply(seq, 1, change)
        self.tell_set(applied.set)
        if change.drop_node is not None:
            self.tell_dropped(change.drop_node)
        return Put(seq, is_duplicate=False)

    @property
    def sessions(self) -> set[str]:
        return set(dict(self.state.items()))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> FakeMap:
    made = FakeMap()
    monkeypatch.setattr("mdstream.bus.maps.put_change", made.put)
    for name in ("BATCH_S", "RETRY_S"):
        monkeypatch.setattr(presence, name, 0.0)
    return made


async def settled(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0)


def entry(session: str) -> list[Any]:
    return presence_value("alice", 1, session, "g-1")


def test_who_comes_and_goes_is_written_and_who_did_both_leaves_no_ghost(run, room: FakeMap) -> None:
    async def scenario() -> None:
        here = Attendance(room, "g-1")  # type: ignore[arg-type]
        for session in ("a", "b", "c"):
            here.join(session, entry(session))
        here.leave("b")
        await settled(lambda: room.sessions == {"a", "c"})
        here.leave("a")
        here.leave("c")
        await settled(lambda: here.is_over)
        assert not room.sessions
        await here.end(at_once=False)
        assert room.holds == 0

    run(scenario())


def test_what_another_gateway_dropped_is_written_again(run, room: FakeMap) -> None:
    async def scenario() -> None:
        here = Attendance(room, "g-1")  # type: ignore[arg-type]
        here.join("a", entry("a"))
        await settled(lambda: room.sessions == {"a"})
        await room.put(None, None, "room", Change(drop_node="g-1"))
        assert not room.sessions
        await settled(lambda: room.sessions == {"a"})
        await here.end(at_once=True)
        assert not room.sessions

    run(scenario())


def test_what_could_not_be_stored_is_written_until_it_is(run, room: FakeMap) -> None:
    async def scenario() -> None:
        here = Attendance(room, "g-1")  # type: ignore[arg-type]
        here.join("a", entry("a"))
        await settled(lambda: room.sessions == {"a"})
        room.is_away = True
        here.join("b", entry("b"))
        here.leave("a")
        for _ in range(20):
            await asyncio.sleep(0)
        assert room.sessions == {"a"}
        room.is_away = False
        await settled(lambda: room.sessions == {"b"})
        await here.end(at_once=False)

    run(scenario())


def test_a_lost_map_is_written_again_and_strange_entries_of_ours_are_removed(run, room: FakeMap) -> None:
    async def scenario() -> None:
        here = Attendance(room, "g-1")  # type: ignore[arg-type]
        here.join("a", entry("a"))
        await settled(lambda: room.sessions == {"a"})
        room.state = MapState()
        ghost = {"ghost": (entry("ghost"), None), "other": (presence_value("bob", 1, None, "g-2"), None)}
        room.state.apply(1, 1, Change(ghost))
        room.tell_loaded()
        await settled(lambda: room.sessions == {"a", "other"})
        await here.end(at_once=False)

    run(scenario())


def test_attendance_that_is_over_is_given_up(run, room: FakeMap) -> None:
    async def scenario() -> None:
        all_ = Presence("g-1")
        all_.join(room, "a", entry("a"))  # type: ignore[arg-type]
        assert len(all_) == 1
        await settled(lambda: room.sessions == {"a"})
        all_.sweep()
        assert room.holds == 1
        all_.leave("room", "a")
        await settled(lambda: not room.sessions)
        while room.holds:
            all_.sweep()
            await asyncio.sleep(0)
        assert len(all_) == 0

    run(scenario())


def test_an_entry_that_comes_late_is_removed_at_once(run, room: FakeMap) -> None:
    """Over the connection before this one, and the session has left since."""

    async def scenario() -> None:
        here = Attendance(room, "g-1")  # type: ignore[arg-type]
        here.join("a", entry("a"))
        await settled(lambda: room.sessions == {"a"})
        late = {"b": (entry("b"), None), "c": (presence_value("bob", 1, None, "g-2"), None)}
        await room.put(None, None, "room", Change(late))
        assert "b" in room.sessions
        await settled(lambda: room.sessions == {"a", "c"})
        await here.end(at_once=False)

    run(scenario())


def test_entries_where_nobody_is_present_any_more_are_removed(run, room: FakeMap) -> None:
    async def scenario() -> None:
        all_ = Presence("g-1")
        all_.look_at(room)  # type: ignore[arg-type]
        assert room.holds == 0
        await room.put(None, None, "room", Change({"late": (entry("late"), None)}))
        all_.look_at(room)  # type: ignore[arg-type]
        await settled(lambda: not room.sessions)
        await all_.close()

    run(scenario())


def test_who_comes_as_attendance_is_given_up_is_written_again_when_it_is_dropped(run, room: FakeMap) -> None:
    async def scenario() -> None:
        all_ = Presence("g-1")
        all_.join(room, "a", entry("a"))  # type: ignore[arg-type]
        await settled(lambda: room.sessions == {"a"})
        all_.leave("room", "a")
        while len(all_._topics):
            await asyncio.sleep(0)
            all_.sweep()
        all_.join(room, "b", entry("b"))  # type: ignore[arg-type]
        await settled(lambda: room.sessions == {"b"} and not all_._ending)
        await room.put(None, None, "room", Change(drop_node="g-1"))
        await settled(lambda: room.sessions == {"b"})
        await all_.close()

    run(scenario())
