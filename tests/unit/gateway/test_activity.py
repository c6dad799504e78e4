"""Records of what sessions do: their order, their bound, and what is told where some are lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mdstream.bus.activity import MOST_BYTES, MOST_RECORDS, decode_activity
from mdstream.errors import ConfigError
from mdstream.gateway.activity import DROPPED_AT_ONCE, Activity
from mdstream.gateway.activity_settings import KINDS
from mdstream.gateway.activity_writer import ActivityWriter
from mdstream.gateway.config import GatewayConfig, load

AT_US = 1_764_504_000_000_123


def activity_of(*kinds: str, most: int = 1_000) -> Activity:
    return Activity(kinds or KINDS, "gw-1", most, lambda: AT_US)


def told(on: Activity) -> list[tuple[str, dict[str, Any]]]:
    found = []
    while (note := on.first()) is not None:
        found.append((note.what.value, note.data))
        on.take()
    return found


def test_a_session_from_its_beginning_to_its_end() -> None:
    on = activity_of()
    on.opened("s", "alice", "jwt")
    on.subscribed("s", "alice", 1, "book", "SIM:A")
    on.subscribed("s", "alice", 2, "events", "desk.a")
    on.joined("desk.a", "s", ["alice", 5, {"desk": 7}, "gw-1"])
    on.ended("s", [1, 99])
    on.ended("s", None)
    on.ended("s", None)
    on.left("desk.a", "s", ["alice", 5, None, "gw-1"])
    on.closed("s", "alice", 1000)
    who = {"gateway": "gw-1", "session": "s", "subject": "alice"}
    book = {**who, "sub": 1, "channel": "book", "instrument": "SIM:A"}
    events = {**who, "sub": 2, "channel": "events", "topic": "desk.a"}
    assert told(on) == [
        ("session.opened", {**who, "method": "jwt"}),
        ("subscription.begun", book),
        ("subscription.begun", events),
        ("presence.joined", {**who, "topic": "desk.a", "info": {"desk": 7}}),
        ("subscription.ended", book),
        ("subscription.ended", events),
        ("presence.left", {**who, "topic": "desk.a"}),
        ("session.closed", {**who, "code": 1000}),
    ]
    assert not on._subs


def test_only_the_kinds_that_are_wanted() -> None:
    for kind, what in (("session", "session"), ("subscription", "subscription"), ("presence", "presence")):
        on = activity_of(kind)
        on.opened("s", "", "none")
        on.subscribed("s", "", 1, "board", "*")
        on.joined("desk.a", "s", ["", 5, None, "gw-1"])
        on.ended("s", None)
        on.left("desk.a", "s", ["", 5, None, "gw-1"])
        on.dropped("desk.a", "gw-2", [("t", ["bob", 5, None, "gw-2"])], "drop/1/2")
        on.closed("s", "", 1000)
        found = told(on)
        assert found and {type.partition(".")[0] for type, _ in found} == {what}
        assert found[0][1]["subject"] is None


def test_what_waits_is_bounded_and_the_loss_is_told_where_it_was() -> None:
    on = activity_of(most=2)
    for number in range(5):
        on.opened(f"s{number}", "", "none")
    assert (len(on), on.lost_total) == (2, 3)
    on.first()
    on.take()
    on.opened("s5", "", "none")
    assert [(type, data.get("session"), data.get("count")) for type, data in told(on)] == [
        ("session.opened", "s1", None),
        ("webhook.lost", None, 3),
        ("session.opened", "s5", None),
    ]


def test_a_loss_is_told_also_where_nothing_follows() -> None:
    on = activity_of(most=1)
    on.opened("s0", "", "none")
    on.opened("s1", "", "none")
    assert [data for _, data in told(on)][1:] == [{"gateway": "gw-1", "reason": "queue_full", "count": 1}]


def test_all_gateways_tell_the_end_of_a_dead_one_with_the_same_ids() -> None:
    rows = [(f"s{number:03}", ["bob", 5, None, "gw-2"]) for number in range(60)]
    here, there = activity_of(), activity_of()
    here.dropped("desk.a", "gw-2", rows, "drop/7/9")
    there.dropped("desk.a", "gw-2", reversed(rows), "drop/7/9")
    assert [(note.data, note.id) for note in here._waiting] == [
        (note.data, note.id) for note in there._waiting
    ]
    assert len({note.id for note in here._waiting}) == 60 // DROPPED_AT_ONCE + 1
    assert here._waiting[0].data == {
        "gateway": "gw-2",
        "session": "s000",
        "subject": "bob",
        "topic": "desk.a",
    }


def messages(writer: ActivityWriter) -> list[Any]:
    assert writer.activity is not None
    found = []
    while (message := writer._next(writer.activity)) is not None:
        found.append(message)
    return found


def writer_of(**changes: Any) -> ActivityWriter:
    config = GatewayConfig(node="gw", activity_kinds=KINDS, **changes)
    return ActivityWriter(config, lambda: None, lambda: AT_US)


def test_messages_are_within_their_bounds_and_in_order() -> None:
    writer = writer_of()
    assert writer.activity is not None
    for number in range(250):
        writer.activity.opened(f"s{number}", "€" * 256, "jwt")
    found = messages(writer)
    sessions = [each.data["session"] for message in found for each in decode_activity(message.payload)]
    assert sessions == [f"s{number}" for number in range(250)]
    assert all(len(each.payload) <= MOST_BYTES and each.records <= MOST_RECORDS for each in found)
    assert len({each.id for each in found}) == len(found)


def test_what_several_gateways_tell_has_messages_of_its_own() -> None:
    writer = writer_of()
    assert writer.activity is not None
    name = "\U0001f600" * 256
    writer.activity.opened("s", "", "none")
    writer.activity.dropped(
        256 * "d", "gw-2", [(f"s{n}", [name, 5, None, "gw-2"]) for n in range(30)], "drop/7/9"
    )
    writer.activity.opened("t", "", "none")
    found = messages(writer)
    assert [(each.records, each.id.startswith("drop/7/9/")) for each in found] == [
        (1, False),
        (DROPPED_AT_ONCE, True),
        (5, True),
        (1, False),
    ]
    assert all(len(each.payload) <= MOST_BYTES for each in found)


def test_it_is_off_by_default_and_does_nothing_then() -> None:
    writer = ActivityWriter(GatewayConfig(), lambda: None, lambda: AT_US)
    writer.start()
    assert (writer.activity, writer.waiting, writer.lost_total, writer._running) == (None, 0, 0, None)


def test_the_setting_as_one_writes_it(tmp_path) -> None:
    file = tmp_path / "g.toml"
    file.write_text('[activity]\nkinds = ["presence", "session"]\nkeep_days = 3\n')
    config = load(file, {}, {})
    assert (config.activity_kinds, config.activity_keep_days) == (("session", "presence"), 3)
    assert load(None, {}, {"activity_kinds": "none"}).activity_kinds == ()
    assert load(None, {"MDSTREAM_ACTIVITY_KINDS": "subscription"}, {}).activity_kinds == ("subscription",)
    with pytest.raises(ConfigError, match="a list of some of session, subscription, presence"):
        load(None, {}, {"activity_kinds": "sessions"})


def test_a_record_is_json_whatever_a_client_calls_itself() -> None:
    writer = writer_of()
    assert writer.activity is not None
    writer.activity.joined("desk.a", "s", ["alice", 5, "\x1b]0;x\x07\n", "gw-1"])
    (message,) = messages(writer)
    assert b"\x1b" not in message.payload and b"\n" not in message.payload
    assert json.loads(message.payload)["records"][0]["data"]["info"] == "\x1b]0;x\x07\n"
