"""Each verdict of a run on topics catches the fault that it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.topic_journal import EVENT, LIFE, LOST, PUT, RAISED, RAW, REFUSED, STORED, TRIED, Journal, read
from chaos.topic_judge import FAULTS, Findings, judge_devices, judge_maps, judge_presence, judge_stream
from chaos.topic_plan import DEVICES, TOPICS, USERS, policy_of
from chaos.topic_truth import MapModel, Stored, maps_of

DEVICE = ("ann", "phone")


def event(seq: int, number: int, topic: str = "each.t1", by: str = "p/1") -> Stored:
    payload = json.dumps({"type": "n", "data": {"by": by, "n": number}}).encode()
    return Stored(seq, f"ev.{topic}", payload, 0)


def confirmed(seq: int, number: int, topic: str = "each.t1") -> list[Any]:
    return [STORED, topic, {"by": "p/1", "n": number}, seq]


def of_stream(stored: list[Stored], told: list[list[Any]], still: int | None = None) -> dict[str, int]:
    found = Findings()
    judge_stream(found, stored, told, len(stored) if still is None else still)
    return faults(found)


def faults(found: Findings) -> dict[str, int]:
    assert found.held is not any(found.counts.values())
    return {kind: count for kind, count in found.counts.items() if count}


def test_a_hundred_topics_of_all_policies() -> None:
    assert len(TOPICS) == len(set(TOPICS)) == 100
    assert {policy_of(topic) for topic in TOPICS} == {"user", "device", "none"}
    assert len(USERS) * len(DEVICES) == 6


def test_a_stream_that_holds_what_was_confirmed() -> None:
    assert of_stream([event(1, 1), event(2, 2), event(3, 3)], [confirmed(1, 1), confirmed(3, 3)]) == {}


@pytest.mark.parametrize(
    ("stored", "told", "still", "fault"),
    [
        ([event(1, 1)], [confirmed(1, 1), confirmed(2, 2)], None, "not stored"),
        ([event(1, 1)], [confirmed(1, 2)], None, "not stored"),
        ([event(1, 1), event(2, 1)], [confirmed(1, 1)], None, "stored twice"),
        ([event(1, 2), event(2, 1)], [], None, "sender out of order"),
        ([event(1, 1), event(2, 2)], [], 1, "vanished"),
        ([event(1, 1)], [], -1, "vanished"),
    ],
)
def test_a_stream_that_does_not(stored: Any, told: Any, still: Any, fault: str) -> None:
    assert set(of_stream(stored, told, still)) == {fault}


def raw(seq: int, topic: str = "each.t1", *, redelivered: bool = False) -> list[Any]:
    return [RAW, topic, seq, redelivered]


def had(seq: int, topic: str = "each.t1") -> list[Any]:
    return [EVENT, topic, seq, {"by": "p/1", "n": seq}]


def of_devices(
    lines: list[list[Any]], *, topic: str = "each.t1", count: int = 2, other: list[list[Any]] | None = None
) -> dict[str, int]:
    found = Findings()
    stored = [event(seq, seq, topic) for seq in range(1, count + 1)]
    events = judge_stream(found, stored, [], count)
    whole = [[LIFE, 1], *(line for seq in range(1, count + 1) for line in (raw(seq, topic), had(seq, topic)))]
    journals = {(user, device): whole for user in USERS for device in DEVICES}
    journals[DEVICE] = lines
    if other is not None:
        journals["ann", "laptop"] = other
    judge_devices(found, events, journals)
    return faults(found)


BOTH = [[LIFE, 1], raw(1), had(1), raw(2), had(2)]


def test_devices_that_had_everything() -> None:
    assert of_devices(BOTH) == {}
    assert of_devices([*BOTH, [LIFE, 2], raw(2, redelivered=True), had(2)]) == {}
    assert of_devices([[LIFE, 1], raw(1), had(1), raw(1, redelivered=True), raw(2), had(2)]) == {}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (BOTH[:3], {"lost": 1}),
        (BOTH[:4], {"lost": 1}),
        ([], {"lost": 2}),
        ([*BOTH, [LOST, "each.t1", 1, 2]], {"told lost": 1}),
        ([*BOTH, raw(1)], {"untold": 1}),
        ([*BOTH, [LIFE, 2], raw(2)], {"untold": 1}),
        ([*BOTH, had(1)], {"out of order": 1}),
        ([*BOTH, had(2)], {"out of order": 1}),
        ([[LIFE, 1], raw(2), had(2), raw(1), had(1)], {"out of order": 2}),
        ([*BOTH, had(3)], {"foreign": 1}),
        ([*BOTH[:3], had(2)], {"foreign": 1}),
        ([*BOTH, raw(3), [EVENT, "each.t1", 3, {"by": "p/1", "n": 7}]], {"foreign": 1}),
    ],
)
def test_a_device_that_had_not(lines: list[list[Any]], fault: dict[str, int]) -> None:
    assert of_devices(lines) == fault


def test_one_device_of_the_user_is_enough_where_the_policy_says_so() -> None:
    topic = "one.t1"
    first = [[LIFE, 1], raw(1, topic), had(1, topic)]
    second = [[LIFE, 1], raw(2, topic), had(2, topic)]
    assert of_devices(first, topic=topic, other=second) == {}
    assert of_devices(first, topic=topic, other=first) == {"lost": 1}
    assert of_devices(first, other=second) != {}


def test_at_most_once_is_once() -> None:
    topic = "plain.t1"
    lines = [[LIFE, 1], raw(1, topic), had(1, topic), raw(2, topic), had(2, topic)]
    assert of_devices(lines, topic=topic) == {}
    assert of_devices(lines[:3], topic=topic) == {"lost": 1}
    assert of_devices([*lines, raw(2, topic)], topic=topic) == {"untold": 1}
    again = [*lines, [LIFE, 2], raw(2, topic, redelivered=True), had(2, topic)]
    assert of_devices(again, topic=topic) == {"twice": 1}


def test_what_was_held_back_for_a_gap_may_come_again_as_new() -> None:
    topic = "plain.t1"
    lines = [[LIFE, 1], raw(2, topic), raw(1, topic), had(1, topic), raw(2, topic), had(2, topic)]
    assert of_devices(lines, topic=topic) == {}
    of_each = [[LIFE, 1], raw(2), raw(1), had(1), raw(2), had(2)]
    assert of_devices(of_each) == {"untold": 1, "out of order": 1}


def test_own_topics_are_of_their_user_alone() -> None:
    assert of_devices([[LIFE, 1]], topic="user.bob") == {}
    assert of_devices([[LIFE, 1]], topic="user.ann", other=[[LIFE, 1]]) == {"lost": 2}


def change(seq: int, **fields: Any) -> Stored:
    return Stored(seq, "map.board.m0", json.dumps(fields).encode(), seq * 1_000_000)


LOG = [
    change(1, set={"a": [1, None], "count": [1, None]}, by="ann"),
    change(3, set={"a": [2, None]}, expect={"a": 7}),
    change(4, set={"b": [3, 500]}),
    change(5, expire={"b": 4, "a": 1}),
    change(6, set={"c": [1, None]}, delete=["d"], expect={"a": 1}),
]


def test_the_maps_that_follow_from_a_log() -> None:
    assert maps_of(LOG) == {"board.m0": {"a": 1, "count": 1, "c": 1}}
    early = MapModel()
    early.apply(change(4, set={"b": [3, 5_000]}))
    early.apply(change(5, expire={"b": 4}))
    assert early.entries["b"][0] == 3


def of_maps(shown: dict[str, Any], lines: list[list[Any]]) -> dict[str, int]:
    found = Findings()
    judge_maps(found, LOG, maps_of(LOG), {DEVICE: {"board.m0": shown}}, [lines])
    return faults(found)


def test_maps() -> None:
    right = {"a": 1, "count": 1, "c": 1}
    topic = "board.m0"
    tried = [TRIED, topic]
    assert of_maps(right, [tried, [RAISED, topic], [PUT, topic, 1]]) == {}
    assert of_maps(right, [tried]) == {}
    assert of_maps(right, [tried, [REFUSED, topic]]) == {"counters wrong": 1}
    assert of_maps(right, []) == {"counters wrong": 1}
    assert of_maps(right, 2 * [tried, [RAISED, topic]]) == {"counters wrong": 1}
    assert of_maps(right, [tried, [RAISED, topic], [PUT, topic, 2]]) == {"not stored": 1}
    for wrong in ({"a": 2, "count": 1, "c": 1}, {"a": 1, "count": 1}, right | {"b": 3}):
        assert of_maps(wrong, [tried, [RAISED, topic]]) == {"maps unequal": 1}


def test_a_change_that_is_stored_twice() -> None:
    found = Findings()
    log = [each._replace(id="k") for each in LOG[:2]]
    judge_maps(found, log, {}, {}, [])
    assert faults(found) == {"stored twice": 1}


def test_presence() -> None:
    present = [["ann", "phone", 1], ["bob", "phone", 1]]

    def of(sessions: list[list[Any]]) -> dict[str, int]:
        found = Findings()
        judge_presence(found, present, {DEVICE: {"hall.h0": sessions}})
        return faults(found)

    assert of(present) == {}
    assert of([*present, ["ann", "phone", 0]]) == {"ghosts": 1}
    assert of([*present, present[0]]) == {"ghosts": 1}
    assert of(present[:1]) == {"missing": 1}


def test_every_kind_of_fault_has_its_words() -> None:
    with pytest.raises(AssertionError):
        Findings().fault("unheard of", "")
    assert all(FAULTS.values())


def test_a_line_that_was_not_written_to_its_end_is_none(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    made = Journal(path)
    made.note(LIFE, 1)
    made.close()
    with path.open("ab") as file:
        file.write(b'["raw", "a"')
    assert list(read(path)) == [[LIFE, 1]]
    assert list(read(tmp_path / "none")) == []
