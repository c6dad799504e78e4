"""A gateway without sockets and bus: the real core and sessions' logic, with a fake session and fake readers around."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from doubles.memory_sink import MemorySink

from mdstream._core.fanout.hub import Hub
from mdstream.bus import ReaderStats, UnknownInstrument
from mdstream.gateway import GatewayConfig
from mdstream.gateway.audit import Audit
from mdstream.gateway.open_instruments import OpenInstruments
from mdstream.gateway.overload import Overload
from mdstream.gateway.sessions import Sessions
from mdstream.gateway.turns import Turns
from mdstream.model import InstrumentId, Ref, State


class FakeSession:
    """What ``Sessions`` uses of a core session, over a ``MemorySink``."""

    def __init__(self, hub: Hub, format: int = 0, window_bits: int = 0) -> None:
        self.format = format
        self.sink = MemorySink(format, window_bits=window_bits)
        self.context: object = None
        self.transport: object = None
        self.code = 0
        self.paused = False
        self._is_open = True
        self._hub = hub
        hub.attach(self.sink)

    @property
    def open(self) -> bool:
        return self._is_open and not self.sink.closed

    def pause_input(self) -> None:
        self.paused = True

    def resume_input(self) -> None:
        self.paused = False

    def send_control(self, payload: bytes) -> None:
        if self.open:
            self._hub.send(self.sink, payload)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.open:
            self._is_open, self.code = False, code

    def taken(self) -> list[Any]:
        """What was sent since the last time, decoded."""
        return [
            json.loads(frame) if self.format == 0 else msgpack.unpackb(frame) for frame in self.sink.take()
        ]


class FakeReader:
    """What the gateway asks of a reader of one instrument."""

    def __init__(self, name: str, readers: FakeReaders) -> None:
        self._name, self._readers = name, readers
        self.age_ms: int | None = None
        self.lacks_ref = False
        self.borne_out = (0, 0)

    async def close(self) -> None:
        self._readers.closed.append(self._name)

    def look_for(self, epoch: int, seq: int) -> None:
        self._readers.looked_for.append((self._name, epoch, seq))

    def bears_out(self, epoch: int, seq: int) -> bool:
        return self.borne_out >= (epoch, seq)


class FakeReaders:
    """Opens what is in ``refs``; ``gate``, if set, is awaited before anything is known."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        """What MD_STATE holds, for hints."""
        self.asked: list[str] = []
        self.bus = SimpleNamespace(connected=True, jetstream=SimpleNamespace(stream_info=self._stream_info))
        self.stats = ReaderStats()
        self.refs: dict[str, Ref] = {}
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.watchers: dict[str, Any] = {}
        self.targets: dict[str, Any] = {}
        self.readers: dict[str, FakeReader] = {}
        self.gate: Callable[[], Any] | None = None
        self.live_at_once = False
        self.looked_for: list[tuple[str, int, int]] = []
        self.health = None

    async def open(self, instrument: InstrumentId, make_target: Callable[[Ref], Any], watcher: Any) -> Any:
        name = str(instrument)
        self.opened.append(name)
        if self.gate is not None:
            await self.gate()
        if name not in self.refs:
            raise UnknownInstrument(name)
        self.targets[name] = make_target(self.refs[name])
        self.watchers[name] = watcher

        if self.live_at_once:
            asyncio.get_running_loop().call_soon(self.go_live, name)
        self.readers[name] = FakeReader(name, self)
        return self.readers[name]

    def is_announced(self, instrument: InstrumentId) -> bool:
        return str(instrument) in self.refs

    async def _stream_info(self, stream: str, subjects_filter: str | None = None) -> Any:
        if subjects_filter is None:
            return SimpleNamespace(state=SimpleNamespace(messages=len(self.subjects), subjects=None))
        self.asked.append(subjects_filter)
        return SimpleNamespace(state=SimpleNamespace(subjects=dict.fromkeys(self.subjects, 1)))

    async def close(self) -> None:
        self.closed.extend(self.watchers)

    def go_live(self, name: str, seq: int = 1) -> None:
        """The book and the trades of an open instrument are there."""
        snap = msgpack.packb([2, 1000, seq, 1, [1000, 5], [1001, 7]])
        self.targets[name].load_snap(snap)
        for stream in ("book", "trade"):
            self.watchers[name].on_state(stream, State.LIVE, None, "", None)


class Stage:
    """Everything together; time stands still until ``pass_s``, and ``wall_us`` may be set to anything."""

    def __init__(self, *, asker_of: Callable[[Any], Hashable] | None = None, **changes: Any) -> None:
        self.now_us = 1_000_000_000
        self.wall_us = 1_700_000_000_000_000
        self.config = GatewayConfig(node="test", **changes)
        self.hub = Hub()
        self.readers = FakeReaders()
        self.instruments = OpenInstruments(
            self.config,
            self.hub,
            lambda: self.hub.flush(self.now_us, self.wall_us),
            now_us=lambda: self.now_us,
            wall_us=lambda: self.wall_us,
        )
        self.instruments.use(self.readers)  # type: ignore[arg-type]
        self.audit = Audit()
        self.overload = Overload()
        self.sessions = Sessions(
            self.config,
            self.hub,
            self.instruments,
            audit=self.audit,
            load=self.overload,
            wall_us=lambda: self.wall_us,
            now_s=lambda: self.now_us / 1e6,
            turns=Turns(self.hub, clock_us=lambda: self.now_us),
            **({} if asker_of is None else {"asker_of": asker_of}),
        )

    def announce(self, *names: str) -> None:
        for name in names:
            self.readers.refs[name] = Ref(price_exp=-2, size_exp=-3)

    def client(self, format: int = 0, window_bits: int = 0) -> FakeSession:
        """``window_bits``: its messages are compressed."""
        session = FakeSession(self.hub, format, window_bits)
        self.sessions.opened(session)  # type: ignore[arg-type]
        assert session.taken()[0]["type"] == "welcome"
        return session

    def say(self, session: FakeSession, **command: Any) -> None:
        payload = json.dumps(command).encode() if session.format == 0 else msgpack.packb(command)
        self.sessions.received(session, payload)  # type: ignore[arg-type]

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


@pytest.fixture
def stage() -> type[Stage]:
    return Stage
