"""Batches: what they hold, where they end, and that who makes one again makes the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from mdstream.bus.activity import MD_ACTIVITY, encode_activity, encode_happening
from mdstream.bus.events import MAX_DATA_BYTES, Event, encode_event
from mdstream.bus.stored_message import Numbered
from mdstream.bus.topic_streams import MD_EVENTS
from mdstream.bus.webhook_places import Place
from mdstream.webhooks.batches import MOST_BYTES, MOST_RECORDS, Batch, BatchMaker
from support.webhooks import hook_of

URL = "http://127.0.0.1:1/"
AT_US = 1_764_504_000_000_123
START = Place(77, 10, 10)


def event(seq: int, data: Any = None, *, topic: str = "desk.a", **more: Any) -> Numbered:
    payload = encode_event(Event(**{"type": "notice", "data": data, "sender": "alice", **more}))
    return Numbered(seq, 0, AT_US + seq, payload, f"ev.{topic}".encode())


def events(first: int, count: int, data: Any = None) -> list[Numbered]:
    return [event(seq, data) for seq in range(first, first + count)]


def activity(seq: int, *records: tuple[str, dict[str, Any]]) -> Numbered:
    payload = encode_activity(encode_happening(type, AT_US, data) for type, data in records)
    return Numbered(seq, 0, AT_US, payload, b"mdstream.activity.gw")


def make(place: Place, messages: list[Numbered], *types: str, stream: str = MD_EVENTS, **hook: Any) -> Batch:
    return BatchMaker(hook_of(URL, *types, **hook), stream).make(place, messages)


def records(batch: Batch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(batch.body)["data"]["records"]
    return found


def test_an_event_as_it_is_told() -> None:
    batch = make(START, [event(11, {"text": "hello"})])
    assert json.loads(batch.body) == {
        "type": "mdstream.batch",
        "timestamp": "2025-11-30T12:00:00.000134Z",
        "data": {
            "records": [
                {
                    "id": "MD_EVENTS.77.11",
                    "type": "event.published",
                    "timestamp": "2025-11-30T12:00:00.000134Z",
                    "data": {
                        "topic": "desk.a",
                        "seq": 11,
                        "event": "notice",
                        "data": {"text": "hello"},
                        "sender": "alice",
                    },
                }
            ]
        },
    }
    assert (batch.until, batch.records, batch.lost, batch.refused) == (11, 1, 0, 0)


def test_records_of_gateways_as_they_are_told() -> None:
    opened = ("session.opened", {"gateway": "gw-1", "session": "s", "subject": "alice", "method": "jwt"})
    joined = ("presence.joined", {"topic": "desk.a", "session": "s", "subject": "alice", "info": None})
    begun = ("subscription.begun", {"instrument": "OTHER:A", "channel": "book"})
    batch = make(START, [activity(11, opened, begun, joined)], stream=MD_ACTIVITY, instruments=["SIM:*"])
    assert [(each["id"], each["type"]) for each in records(batch)] == [
        ("MD_ACTIVITY.77.11.0", "session.opened"),
        ("MD_ACTIVITY.77.11.2", "presence.joined"),
    ]
    assert records(batch)[0]["data"] == opened[1]
    assert records(batch)[0]["timestamp"] == "2025-11-30T12:00:00.000123Z"


def test_only_what_is_wanted_is_told_and_the_rest_is_passed() -> None:
    found = [event(11, topic="other.a"), event(12), event(13, topic="user.alice"), event(14, topic="other.b")]
    batch = make(START, found, topics=["desk.*"])
    assert [each["data"]["seq"] for each in records(batch)] == [12]
    assert batch.until == 14
    nothing = make(START, found, "session.opened")
    assert (nothing.records, nothing.until) == (0, 14)


def test_an_alert_is_told_as_one() -> None:
    alert = event(11, {"alert": "up"}, topic="user.alice", type="alert", sender="mdstream alerts")
    forged = event(12, {"alert": "up"}, topic="user.alice", type="alert", sender="mallory")
    assert [each["type"] for each in records(make(START, [alert, forged]))] == [
        "alert.told",
        "event.published",
    ]
    assert make(START, [alert, forged], "event.published").records == 1
    assert make(START, [alert, forged], "alert.told").records == 1


def test_a_batch_ends_after_so_many_records_or_bytes() -> None:
    assert make(START, events(11, MOST_RECORDS + 50)).records == MOST_RECORDS
    large = make(START, events(11, 50, "x" * (MAX_DATA_BYTES - 2)))
    assert 10 < large.records < 20
    assert len(large.body) < MOST_BYTES + 100
    assert large.until == 10 + large.records


def test_one_message_always_fits() -> None:
    largest = activity(11, *[("session.opened", {"subject": "\u202e" * 150})] * MOST_RECORDS)
    batch = make(START, [largest, activity(12, ("session.opened", {}))], stream=MD_ACTIVITY)
    assert (batch.records, batch.until) == (MOST_RECORDS, 11)


def test_what_left_the_stream_is_told_as_lost() -> None:
    batch = make(START, [event(14), event(15), event(20)])
    lost = [each for each in records(batch) if each["type"] == "webhook.lost"]
    assert [each["data"] for each in lost] == [
        {"stream": MD_EVENTS, "reason": "expired", "first": 11, "last": 13},
        {"stream": MD_EVENTS, "reason": "expired", "first": 16, "last": 19},
    ]
    assert batch.lost == 7
    assert records(make(START, [event(14)], "session.opened"))[0]["type"] == "webhook.lost"


def test_what_was_given_up_is_told_with_the_next_batch() -> None:
    place = Place(77, 10, 10, gave_up=(4, 10))
    batch = make(place, [event(11)])
    assert records(batch)[0]["data"] == {"stream": MD_EVENTS, "reason": "given_up", "first": 4, "last": 10}
    assert [each["type"] for each in records(batch)] == ["webhook.lost", "event.published"]
    assert (
        make(place, []).records == make(place, [event(11, topic="other.a")], topics=["desk.*"]).records == 0
    )


def test_the_id_is_that_of_what_it_holds() -> None:
    found = events(11, 5)
    first = make(START, found)
    assert first.id == make(START, found).id and first.body == make(START, found).body
    assert first.id.startswith("msg_") and len(first.id) == 36
    others = {
        make(START, found[:4]).id,
        make(START, found[1:]).id,
        make(START, found, name="other").id,
        make(Place(78, 10, 10), found).id,
    }
    assert len(others) == 4 and first.id not in others


def test_a_batch_that_was_begun_is_made_again_as_it_was() -> None:
    begun = make(START, events(11, 5))
    again = make(Place(77, 10, begun.until), events(11, 50))
    assert (again.id, again.body, again.until) == (begun.id, begun.body, 15)


def test_what_cannot_be_read_is_counted_and_passed() -> None:
    broken = [
        Numbered(11, 0, AT_US, b"\xc1", b"ev.desk.a"),
        Numbered(12, 0, AT_US, b'{"type":"x\\u001b","data":1}', b"ev.desk.a"),
        event(13),
    ]
    batch = make(START, broken)
    assert (batch.refused, batch.records, batch.until) == (2, 1, 13)
    nested = b'{"version":1,"records":' + 9_999 * b"["
    for payload in (
        b"",
        b"{}x",
        nested,
        b'{"version":2,"records":[]}',
        b'{"version":1,"records":[{"type":1}]}',
    ):
        message = Numbered(11, 0, AT_US, payload, b"mdstream.activity.gw")
        assert make(START, [message], stream=MD_ACTIVITY).refused == 1
    long = msgspec.json.encode({"version": 1, "records": [], "more": "x" * 70_000})
    assert make(START, [Numbered(11, 0, AT_US, long, b"x")], stream=MD_ACTIVITY).refused == 1


def test_no_character_in_a_body_moves_a_cursor_or_hides_text() -> None:
    batch = make(START, [event(11, "\x1b[2J\u202e\u2028\x7f", sender=None)])
    assert batch.body.decode().isprintable()
    assert records(batch)[0]["data"]["data"] == "\x1b[2J\u202e\u2028\x7f"
