"""What a gateway knows of revocations where its connection to NATS comes and goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mdstream.auth.revocations import Revocation, Revocations
from mdstream.bus import control
from mdstream.errors import BusUnavailable
from mdstream.gateway.bus_control import BusControl


class Stage:
    """A bus whose stream holds these revocations, and a gateway that reads it."""

    connected = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *stored: tuple[str, str]) -> None:
        self.obeyed: list[Revocation] = []
        self.between: Callable[[], object] = lambda: None
        """Called in the middle of reading."""
        self.control = BusControl(Revocations(lambda: 0), revoked=self.obeyed.append)
        self._payloads = [control.Revoke(kind, name, 1, None, False).encode() for kind, name in stored]
        monkeypatch.setattr(control, "ensure", self._ensure)
        monkeypatch.setattr(control, "revoked", self._revoked)

    async def subscribe(self, subject: str, hear: Any) -> None: ...

    async def _ensure(self, bus: object) -> None: ...

    async def _revoked(self, bus: object) -> AsyncIterator[bytes]:
        for payload in self._payloads:
            yield payload
            self.between()

    async def load(self) -> None:
        await self.control._load_once(self)  # type: ignore[arg-type]


def test_all_that_is_stored_is_obeyed_also_of_sessions(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that is open here may have been revoked while NATS could not be reached from here."""

    async def scenario() -> None:
        on = Stage(monkeypatch, ("subject", "alice"), ("session", "9f2e"), ("key", "k"), ("token", "t"))
        await on.load()
        assert [each.kind for each in on.obeyed] == ["subject", "session", "key", "token"]
        assert on.control.known

    run(scenario())


def test_what_was_read_over_a_lost_connection_is_read_again(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        on = Stage(monkeypatch, ("subject", "alice"))
        on.between = on.control._lost
        with pytest.raises(BusUnavailable, match="lost meanwhile"):
            await on.load()
        assert not on.control.known
        on.between = lambda: None
        await on.load()
        assert on.control.known

    run(scenario())
