"""The check of one instrument, in a time that the test sets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgpack
import pytest

from mdstream.bus import Stored
from mdstream.check.instrument import InstrumentCheck
from mdstream.model import InstrumentId
from support.raw_writer import FAULTS, STEP_S, RawWriter, restarted

START_S = 1000.0
WALL_US = 1_764_000_000_000_000
TEST = InstrumentId("TEST", "BTC-USD")


def wall_us(at_s: float) -> int:
    return WALL_US + int(at_s * 1e6)


def new_check(**options: int) -> InstrumentCheck:
    return InstrumentCheck(TEST, START_S, wall_us=wall_us, **options)


def run(check: InstrumentCheck, writer: RawWriter, seconds: float, from_s: float = START_S) -> float:
    """Publishes for a time; returns when it ended."""
    at_s = from_s
    for _ in range(int(seconds / STEP_S)):
        for name, payload in writer.step(wall_us(at_s)):
            check.take(name.rpartition(".")[2], payload, at_s)
        at_s += STEP_S
    return at_s


def rules(check: InstrumentCheck) -> set[str]:
    return {finding.rule for finding in check.findings}


def of_new_writer(fault: str = "", seconds: float = 65.0) -> InstrumentCheck:
    """A check that began before the writer did."""
    check = new_check()
    check.catch_up({}, {}, START_S)
    run(check, RawWriter("md.TEST.BTC-USD", fault), seconds)
    return check


def test_of_a_right_writer_it_says_nothing() -> None:
    check = of_new_writer()
    assert list(check.findings) == []
    assert check.book.compared > 20 and check.beginning_heard
    assert check.numbers["book"].last == 1300 and check.numbers["trade"].last == 130


@pytest.mark.parametrize("fault", FAULTS)
def test_it_names_the_fault_and_no_other(fault: str) -> None:
    check = of_new_writer(fault)
    assert rules(check) == {FAULTS[fault][0]}, list(check.findings)
    assert all(finding.remedy and finding.said for finding in check.findings)


def test_a_writer_that_begins_again_in_its_epoch_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its later findings are consequences."""
    monkeypatch.setitem(FAULTS, "restarted", ("conflict", restarted))
    found = [finding.rule for finding in of_new_writer("restarted").findings]
    assert found[0] == "conflict", found


def test_a_finding_says_where_and_how_often() -> None:
    check = of_new_writer("float", seconds=1.0)
    (finding,) = check.findings
    assert finding.subject == "md.TEST.BTC-USD.book" and finding.field == "ts" and finding.count == 20
    assert finding.value == str(float(wall_us(START_S)))
    assert "must be an integer, not a float" in finding.said and f"byte {finding.byte}" in finding.said


def test_it_returns_what_is_new_alone() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD", "five values")
    found = [
        new.rule
        for at_s in (START_S + step * STEP_S for step in range(300))
        for name, payload in writer.step(wall_us(at_s))
        for new in check.take(name.rpartition(".")[2], payload, at_s)
    ]
    assert found == ["status_short"]


# ---- time


@pytest.mark.parametrize("stream", ["ref", "snap"])
def test_ref_and_snap_come_again_every_60_s(stream: str) -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD")
    check.catch_up({}, {}, START_S)
    for name, payload in writer.step(wall_us(START_S))[:3]:
        check.take(name.rpartition(".")[2], payload, START_S)
    for second in range(1, 70):
        at_s, ts_us = START_S + second, wall_us(START_S + second)
        if second % 10 == 0:
            check.take("status", msgpack.packb([5, writer.epoch, ts_us, "trading", "", 0, 0, ts_us]), at_s)
        if second == 50 and stream == "snap":
            ref = {"epoch": writer.epoch, "price_exp": -2, "size_exp": -8}
            check.take("ref", msgpack.packb(ref), at_s)
        if second == 50 and stream == "ref":
            check.take("snap", msgpack.packb([2, writer.epoch, 0, ts_us, [], []]), at_s)
    check.tick(START_S + 70)
    assert [(finding.rule, finding.subject) for finding in check.findings] == [
        ("repeat_late", f"md.TEST.BTC-USD.{stream}")
    ]


def test_a_snap_is_due_after_1000_updates_too() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD", "snap late")
    check.catch_up({}, {}, START_S)
    for step in range(1300):
        at_s = START_S + step * 0.001
        for name, payload in writer.step(wall_us(at_s)):
            check.take(name.rpartition(".")[2], payload, at_s)
    (finding,) = check.findings
    assert finding.rule == "snap_late" and "1101 updates" in finding.said


def test_a_snap_that_the_server_cannot_take_is_named() -> None:
    check = new_check(max_payload=20)
    check.catch_up({}, {}, START_S)
    run(check, RawWriter("md.TEST.BTC-USD", "snap late"), 10.0)
    assert rules(check) == {"max_payload"}


def test_a_writer_that_stops_is_late() -> None:
    check = new_check()
    check.catch_up({}, {}, START_S)
    end_s = run(check, RawWriter("md.TEST.BTC-USD"), 10.0)
    check.tick(end_s + 12.0)
    assert rules(check) == {"status_late", "snap_late"}


def test_the_age_of_what_is_stored_counts() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD")
    check.catch_up(stored(writer.step(wall_us(START_S - 100)), START_S - 100), {}, START_S)
    check.tick(START_S + 0.1)
    assert {(finding.rule, finding.subject.rpartition(".")[2]) for finding in check.findings} == {
        ("status_late", "status"),
        ("repeat_late", "ref"),
        ("repeat_late", "snap"),
    }


def test_a_writer_that_said_that_it_stops_is_not_late() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD")
    messages = stored(writer.step(wall_us(START_S - 100)), START_S - 100)
    ts_us = wall_us(START_S - 90)
    last = msgpack.packb([5, writer.epoch, ts_us, "feed_down", "", 1, 1, ts_us])
    messages["status"] = Stored(last, 9, ts_us)
    check.catch_up(messages, {}, START_S)
    check.tick(START_S + 20)
    assert check.stopped and list(check.findings) == []


# ---- what is stored


def stored(messages: Iterable[tuple[str, bytes]], at_s: float) -> dict[str, Stored]:
    """The last message of each stream of MD_STATE."""
    return {
        name.rpartition(".")[2]: Stored(payload, number, wall_us(at_s))
        for number, (name, payload) in enumerate(messages)
        if name.rpartition(".")[2] in ("ref", "status", "snap")
    }


def publish(writer: RawWriter, seconds: float, from_s: float) -> list[tuple[str, bytes]]:
    steps = range(int(seconds / STEP_S))
    return [message for step in steps for message in writer.step(wall_us(from_s + step * STEP_S))]


@pytest.mark.parametrize("kept_from", [0.0, 3.0], ids=["whole log", "aged log"])
def test_it_begins_in_the_midst_of_a_right_writer(kept_from: float) -> None:
    writer = RawWriter("md.TEST.BTC-USD")
    aged = publish(writer, kept_from, START_S - 6)
    kept = publish(writer, 6.0 - kept_from, START_S - 6 + kept_from)
    log = {name: [p for s, p in kept if s.endswith(name)] for name in ("book", "trade")}
    check = new_check()
    check.catch_up(stored(aged + kept, START_S), log, START_S)
    for name, payload in kept[-20:]:  # came live as well while the log was read
        check.take(name.rpartition(".")[2], payload, START_S)
    run(check, writer, 65.0)
    assert list(check.findings) == []
    assert check.book.compared > 20 and not check.beginning_heard


def test_a_stored_snap_is_compared_with_the_log() -> None:
    writer = RawWriter("md.TEST.BTC-USD", "snap differs")
    kept = publish(writer, 3.0, START_S - 3)
    log = {name: [p for s, p in kept if s.endswith(name)] for name in ("book", "trade")}
    check = new_check()
    check.catch_up(stored(kept, START_S), log, START_S)
    assert rules(check) == {"snap_differs"}
    (finding,) = check.findings
    assert finding.said == "at 41: bid 0 is 42 lots at 6412310 ticks, by the updates 41 lots at 6412310 ticks"


def test_an_epoch_without_a_ref_is_named() -> None:
    old, new = RawWriter("md.TEST.BTC-USD"), RawWriter("md.TEST.BTC-USD")
    before = stored(publish(old, 1.0, START_S - 20), START_S - 20)
    after = stored(publish(new, 1.0, START_S - 2), START_S - 1)
    check = new_check()
    check.catch_up(after | {"ref": before["ref"]}, {}, START_S)
    check.tick(START_S + 3)
    assert rules(check) == {"missing"}


def test_what_is_heard_and_not_stored_is_named() -> None:
    check = new_check()
    check.catch_up({}, {}, START_S)
    end_s = run(check, RawWriter("md.TEST.BTC-USD"), 20.0)
    right = Stored(b"", 1, wall_us(end_s))
    for stream in ("ref", "status", "book"):
        check.stored_at_end(stream, right)
    assert check.is_stored("snap", right) and not check.is_stored("trade", None)
    assert not check.findings, "nobody is told of what may be on its way"
    check.stored_at_end("trade", None)
    check.stored_at_end("snap", Stored(b"", 1, wall_us(end_s - 10)))
    assert [(finding.rule, finding.subject.rpartition(".")[2]) for finding in check.findings] == [
        ("not_stored", "trade"),
        ("not_stored", "snap"),
    ]


# ---- what is no fault of the writer


def test_a_message_that_is_heard_long_after_it_was_stored_is_stored() -> None:
    check = new_check()
    check.catch_up({}, {}, START_S)
    end_s = run(check, RawWriter("md.TEST.BTC-USD"), 20.0)
    for stream, heard in check.live.items():
        for _, payload in heard:
            check.stored_at_end(stream, Stored(payload, 1, wall_us(end_s - 10)))
    assert not rules(check)


def test_messages_that_were_missed_on_the_way_are_not_the_writers_fault() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD")
    check.catch_up({}, {}, START_S)
    at_s = run(check, writer, 5.0)
    publish(writer, 3.0, at_s)
    check.missed(at_s + 3.0)
    run(check, writer, 30.0, from_s=at_s + 3.0)
    assert list(check.findings) == []


def test_a_new_life_of_the_writer_is_right() -> None:
    check = new_check()
    check.catch_up({}, {}, START_S)
    at_s = run(check, RawWriter("md.TEST.BTC-USD"), 5.0)
    run(check, RawWriter("md.TEST.BTC-USD"), 30.0, from_s=at_s)
    assert list(check.findings) == []


def test_values_back_to_back_are_right() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD")
    check.catch_up({}, {}, START_S)
    messages = publish(writer, 1.0, START_S)
    books = b"".join(payload for name, payload in messages if name.endswith("book"))
    for name, payload in messages[:3]:
        check.take(name.rpartition(".")[2], payload, START_S)
    check.take("book", books, START_S)
    assert list(check.findings) == [] and check.numbers["book"].last == 20


def test_conflated_numbers_are_right() -> None:
    check, writer = new_check(), RawWriter("md.TEST.BTC-USD")
    check.catch_up({}, {}, START_S)
    for name, payload in publish(writer, STEP_S, START_S)[:3]:
        check.take(name.rpartition(".")[2], payload, START_S)
    for first, after in pairwise(range(1, 100, 9)):
        value = [1, writer.epoch, first, after - 1, wall_us(START_S), [100, first], []]
        check.take("book", msgpack.packb(value), START_S)
    assert list(check.findings) == []
