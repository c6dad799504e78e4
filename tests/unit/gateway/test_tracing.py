"""A trace is bounded, says what it lost, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from mdstream.gateway import tracing
from mdstream.gateway.tracing import LINES_AT_ONCE, MOST_TRACES, MOST_WAITING, Trace, Tracing


class Session:
    def __init__(self) -> None:
        self.format = 0
        self.open = True
        self.bytes_pending = 0
        self.tracers: list[Any] = []
        self.sink = SimpleNamespace(blocked=False, trace=self.tracers.append)


class Group:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.on_message = lambda session, payload: self.heard.append(payload)
        self.on_close = lambda session, code: self.heard.append(code)


PING = b'{"op":"ping"}'
FRAME = b"\x81\x0f" + b'{"type":"pong"}'


def begin(session: Session | None = None, **options: Any) -> Trace:
    now_s = options.pop("now_s", lambda: 1.0)
    return Trace(
        session or Session(), {"event": "session"}, bodies=False, wall_us=lambda: 7, now_s=now_s, **options
    )  # type: ignore[arg-type]


async def read(trace: Trace) -> list[dict[str, Any]]:
    return [json.loads(line) async for lines in trace.lines() for line in lines.splitlines()]


def test_it_tells_what_happens_in_order(run) -> None:
    async def scenario() -> None:
        session = Session()
        trace = begin(session)
        trace.received(PING)
        trace.sent(FRAME + FRAME)
        session.sink.blocked, session.bytes_pending = True, 99
        trace.look()
        session.sink.blocked = False
        trace.look()
        trace.look()
        trace.closed(4408)
        told = [{key: value for key, value in each.items() if key != "at_us"} for each in await read(trace)]
        assert told == [
            {"event": "session"},
            {"event": "in", "op": "ping", "bytes": len(PING)},
            {"event": "out", "type": "pong", "bytes": len(FRAME)},
            {"event": "out", "type": "pong", "bytes": len(FRAME)},
            {"event": "slow", "unread_bytes": 99},
            {"event": "reads"},
            {"event": "closed", "code": 4408, "name": "too_slow"},
            {"event": "end", "reason": "the session has ended"},
        ]

    run(scenario())


def test_what_nobody_fetches_is_lost_and_counted(run) -> None:
    async def scenario() -> None:
        trace = begin()
        for _ in range(MOST_WAITING + 10):
            trace.sent(FRAME)
        trace.closed(1000)
        trace.sent(FRAME)
        told = await read(trace)
        assert len(told) == MOST_WAITING + 3
        assert [each["lines"] for each in told if each["event"] == "lost"] == [11], (
            "the first line is waiting too"
        )
        assert [each["event"] for each in told[-3:]] == ["lost", "closed", "end"]

    run(scenario())


def test_a_busy_session_costs_no_more_than_so_many_lines_a_second(run) -> None:
    async def scenario() -> None:
        trace = begin()
        fetched = trace.lines()
        told = 0
        for _ in range(LINES_AT_ONCE + 500):
            trace.sent(FRAME)
            if len(trace._waiting) > 1_000:
                told += (await anext(fetched)).count(b"\n")
        trace.end("enough")
        rest = b"".join([lines async for lines in fetched])
        assert told + rest.count(b'"type":"pong"') <= LINES_AT_ONCE + 1
        assert b'"lines":500' in rest

    run(scenario())


def test_a_code_that_is_none_of_ours_is_told(run) -> None:
    async def scenario() -> None:
        trace = begin()
        trace.closed(3999)
        assert (await read(trace))[1]["name"] == "other"

    run(scenario())


def test_while_nobody_traces_the_sessions_have_their_own_callbacks(run) -> None:
    async def scenario() -> None:
        group, session, other = Group(), Session(), Session()
        own = group.on_message, group.on_close
        traces = Tracing(group, wall_us=lambda: 7, now_s=lambda: 1.0)  # type: ignore[arg-type]
        one = traces.begin(session, {"event": "session"}, bodies=False)  # type: ignore[arg-type]
        two = traces.begin(session, {"event": "session"}, bodies=True)  # type: ignore[arg-type]
        assert group.on_message is not own[0] and len(session.tracers) == 1
        group.on_message(other, b"{}")
        group.on_message(session, PING)
        session.tracers[0](FRAME)
        traces.end(one)
        assert session.tracers[1:] == [] and group.on_message is not own[0]
        group.on_close(session, 1000)
        assert (group.on_message, group.on_close) == own and session.tracers[1:] == [None]
        assert group.heard == [b"{}", PING, 1000]
        assert [each["event"] for each in await read(one)] == ["session", "in", "out", "end"]
        assert [each.get("body", each["event"]) for each in await read(two)] == [
            "session",
            {"op": "ping"},
            {"type": "pong"},
            "closed",
            "end",
        ]
        traces.end(two)

    run(scenario())


def test_there_are_so_many_traces_at_most(run) -> None:
    async def scenario() -> None:
        traces = Tracing(Group(), wall_us=lambda: 7, now_s=lambda: 1.0)  # type: ignore[arg-type]
        begun = []
        while not traces.is_full:
            begun.append(traces.begin(Session(), {"event": "session"}, bodies=False))  # type: ignore[arg-type]
        assert len(begun) == MOST_TRACES
        traces.end(begun[0])
        assert not traces.is_full

    run(scenario())


def test_one_who_waits_is_told_soon_that_the_client_does_not_read(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "LOOK_S", 0.001)

    async def scenario() -> None:
        session = Session()
        lines = begin(session).lines()
        assert b"session" in await anext(lines)
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        session.sink.blocked = True
        assert json.loads(await waiting)["event"] == "slow"
        await lines.aclose()

    run(scenario())
