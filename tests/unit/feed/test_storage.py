"""What is taken for stored, what is reported, and when it is published again; the bus is a stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest

from mdstream.errors import BusUnavailable, MdstreamError
from mdstream.feed.storage import LATE_US, Storage

Run = Callable[[Coroutine[Any, Any, Any]], Any]
REF, SNAP = "md.SIM.A.ref", "md.SIM.A.snap"


class FakeBus:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, int | None]] = []
        self.has_streams = True
        self.asked = asyncio.Event()

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, subject: str, handler: Callable[..., None]) -> str:
        assert subject == "_INBOX.x.*.*"
        self.answer = handler
        return "subscription"

    async def unsubscribe(self, subscription: str) -> None:
        assert subscription == "subscription"

    async def publish(self, subject: str, payload: bytes, *, reply: str, expected_seq: int | None) -> None:
        self.sent.append((subject, reply, expected_seq))

    async def ensure_streams(self) -> None:
        self.asked.set()
        if not self.has_streams:
            raise BusUnavailable("mute")


class Desk:
    def __init__(self) -> None:
        self.now_us = 0
        self.reported: list[MdstreamError] = []
        self.conflicts: list[str] = []
        self.outrun: list[str] = []
        self.retried: list[Collection[str]] = []
        self.restored = 0
        self.bus = FakeBus()
        self.storage = Storage(
            self.bus,  # type: ignore[arg-type]
            "SIM",
            report=self.reported.append,
            on_outrun=self.outrun.append,
            on_conflict=self.conflicts.append,
            on_retry=self.retried.append,
            on_restored=self._on_restored,
            monotonic_us=lambda: self.now_us,
        )

    def _on_restored(self) -> None:
        self.restored += 1

    def answer(self, at: int = -1, **answer: Any) -> None:
        """JetStream's answer to one of the messages."""
        self.bus.answer(
            self.bus.sent[at][1].encode(), b"", json.dumps(answer).encode() if answer else b"", None
        )

    def check(self, seconds: float) -> list[str]:
        """What is reported when so much time has passed."""
        self.now_us += int(seconds * 1e6)
        before = len(self.reported)
        self.storage.check(self.now_us)
        return [str(error) for error in self.reported[before:]]


@pytest.fixture
def scenario(run: Run) -> Callable[[Callable[[Desk], Coroutine[Any, Any, None]]], None]:
    def start(body: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
        async def scene() -> None:
            desk = Desk()
            await desk.storage.start()
            await body(desk)
            await desk.storage.stop()

        run(scene())

    return start


def test_what_is_confirmed_is_stored(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        await desk.storage.publish(SNAP, b"1")
        await desk.storage.publish(SNAP, b"2")
        desk.answer(0, stream="MD_STATE", seq=1)
        waiting = asyncio.create_task(desk.storage.settled([SNAP]))
        await asyncio.sleep(0)
        assert not waiting.done(), "the newest one is not confirmed"
        desk.answer(1, stream="MD_STATE", seq=2)
        await waiting
        assert desk.check(LATE_US * 2 / 1e6) == []

    scenario(body)


def test_what_is_not_confirmed_is_told_once_and_again_when_it_is(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        await desk.storage.publish(REF, b"")
        await desk.storage.publish(SNAP, b"")
        assert desk.check(LATE_US / 1e6 - 0.1) == []
        (told,) = desk.check(0.2)
        assert told.startswith("SIM: not stored: md.SIM.A.ref and 1 more: JetStream does not confirm it")
        await desk.storage.publish(SNAP, b"")
        assert desk.check(60) == []
        desk.answer(0, seq=1)
        desk.answer(2, seq=2)
        await desk.bus.asked.wait()
        assert desk.check(0) == ["SIM: everything is stored again"]
        assert desk.restored == 1
        assert desk.check(60) == []

    scenario(body)


def test_a_refusal_is_told_with_what_jetstream_says(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        await desk.storage.publish(SNAP, b"")
        desk.answer(error={"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"})
        assert "md.SIM.A.snap and 0 more: maximum bytes exceeded" in desk.check(0)[0]

    scenario(body)


def test_no_stream_is_told(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        await desk.storage.publish(SNAP, b"")
        desk.answer()
        assert "no stream takes it" in desk.check(0)[0]

    scenario(body)


def test_a_claimed_subject_is_written_only_over_our_own(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        desk.storage.expect(REF, 7)
        await desk.storage.publish(REF, b"")
        desk.answer(seq=9)
        await desk.storage.publish(REF, b"")
        assert [expected for _, _, expected in desk.bus.sent] == [7, 9]
        conflict = {"code": 400, "err_code": 10071, "description": "wrong last sequence: 12"}
        desk.answer(error=conflict, stream="MD_STATE", seq=0)
        assert desk.conflicts == [REF]
        assert desk.check(LATE_US / 1e6 - 1) == [], "who holds the subject is found out first"
        assert len(desk.check(1)) == 1

    scenario(body)


def test_in_trouble_unstored_state_is_published_again_once_jetstream_answers(
    scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdstream.feed.storage.RETRY_S", (0.01, 0.01))

    async def body(desk: Desk) -> None:
        desk.bus.has_streams = False
        desk.storage.begin_trouble("no answer")
        desk.storage.begin_trouble("no answer")
        assert len(desk.reported) == 1
        await desk.storage.publish(REF, b"")
        await desk.storage.publish(SNAP, b"")
        desk.answer(0, seq=1)
        await desk.bus.asked.wait()
        assert desk.retried == []
        desk.bus.has_streams = True
        desk.bus.asked.clear()
        desk.answer(0, seq=1)
        await desk.bus.asked.wait()
        await asyncio.sleep(0)
        assert desk.retried == [[REF, SNAP]], "the streams may be new"
        desk.bus.asked.clear()
        desk.answer(0, seq=1)
        await desk.bus.asked.wait()
        await asyncio.sleep(0)
        assert desk.retried[1:] == [[SNAP]]
        assert desk.check(0) == []

    scenario(body)


def test_a_reconnect_gives_confirmations_time_and_what_is_forgotten_needs_none(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        await desk.storage.publish(REF, b"")
        await desk.storage.publish(SNAP, b"")
        desk.now_us += LATE_US
        desk.storage.reconnected()
        assert desk.check(1) == []
        desk.storage.forget([REF, SNAP])
        await desk.storage.settled([REF, SNAP])
        assert desk.check(LATE_US / 1e6) == []

    scenario(body)


def test_what_outruns_the_confirmation_of_the_one_before_it_is_said_again(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        desk.storage.expect(SNAP, 7)
        await desk.storage.publish(SNAP, b"1")
        await desk.storage.publish(SNAP, b"2")
        assert [expected for _, _, expected in desk.bus.sent] == [7, 7]
        desk.answer(0, seq=8)
        desk.answer(1, error={"err_code": 10071})
        assert (desk.outrun, desk.conflicts) == ([SNAP], [])
        await desk.storage.publish(SNAP, b"3")
        assert desk.bus.sent[-1][2] == 8

    scenario(body)


def test_a_refusal_may_overtake_the_confirmation(scenario: Any) -> None:
    async def body(desk: Desk) -> None:
        desk.storage.expect(SNAP, 7)
        await desk.storage.publish(SNAP, b"1")
        await desk.storage.publish(SNAP, b"2")
        desk.answer(1, error={"err_code": 10071})
        assert (desk.outrun, desk.conflicts) == ([], [])
        desk.answer(0, seq=8)
        assert (desk.outrun, desk.conflicts) == ([SNAP], [])

    scenario(body)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_another_writes_none_of_ours_is_stored(scenario: Any, order: tuple[int, int]) -> None:
    async def body(desk: Desk) -> None:
        desk.storage.expect(SNAP, 7)
        await desk.storage.publish(SNAP, b"1")
        await desk.storage.publish(SNAP, b"2")
        for at in order:
            desk.answer(at, error={"err_code": 10071})
        assert (desk.outrun, desk.conflicts) == ([], [SNAP])
        desk.storage.expect_nothing()
        await desk.storage.publish(SNAP, b"3")
        assert desk.bus.sent[-1][2] is None

    scenario(body)
