"""Whose alerts are looked at, and which of them go."""

from __future__ import annotations

import asyncio
from typing import Any

from mdstream.auth.entitlements import Entitlements
from mdstream.auth.identity import Identity
from mdstream.bus.stream_publisher import Outcome
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import alert_rights
from mdstream.gateway.alert_rights import BY, AlertRights
from mdstream.maps import Change, MapState


def alert(instrument: str) -> dict[str, Any]:
    return {"instrument": instrument, "on": "bid", "when": "above", "price": "1"}


def identity(subject: str, *instruments: str) -> Identity:
    grant = {"channels": ["ticker"], "instruments": list(instruments)}
    return Identity(subject, "jwt", Entitlements.from_claim({"grants": [grant]}))


class FakeMap:
    """A map that applies each change at once; before the first of the gateway's own, the watcher marks an alert."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.name, self.state, self.stream = name, MapState(), self
        self.changes: list[Change] = []
        self._apply(Change({key: (value, None) for key, value in values.items()}))

    def _apply(self, change: Change) -> int:
        seq = self.state.seq + 1
        self.state.apply(seq, seq, change)
        return seq

    def put(self, name: str, change: Change, id: str | None) -> asyncio.Future[Outcome]:
        if not self.changes:
            self._apply(Change({"a": ({**alert("SIM:A"), "note": "marked"}, None)}))
        self.changes.append(change)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        done.set_result(Outcome(self._apply(change), False, None))
        return done

    async def reach(self, seq: int) -> None:
        assert self.state.seq >= seq


def test_what_the_newest_credential_does_not_allow_goes_also_where_it_is_marked_meanwhile(
    run, monkeypatch
) -> None:
    maps = {"alerts.alice": FakeMap("alerts.alice", {"a": alert("SIM:A"), "b": alert("SIM:B"), "x": 5})}
    asked: list[str] = []

    async def find(topic: str) -> Any:
        asked.append(topic)
        if len(asked) == 1:
            raise CommandError(ErrorCode.UNAVAILABLE, "NATS is away")
        return maps[topic]

    async def topics(_: object) -> set[str]:
        return set(maps)

    monkeypatch.setattr(alert_rights, "alert_topics", topics)
    monkeypatch.setattr(alert_rights, "_RETRY_LEAST_S", 0.0)

    class Bus:
        async def subscribe(self, subject: str, hear: Any) -> None:
            assert subject == "mdstream.map.alerts.*"

        def on_reconnect(self, callback: Any) -> None: ...

    async def scenario() -> None:
        rights = AlertRights(find)
        rights.seen(identity("alice", "SIM:A", "SIM:B"))  # before it is known who has alerts
        rights.seen(identity("bob", "SIM:A"))
        rights.seen(identity("", "SIM:A"))
        rights.seen(identity("alice", "SIM:B"))
        rights.use(Bus())  # type: ignore[arg-type]
        found = maps["alerts.alice"]
        while "a" in dict(found.state.items()):
            await asyncio.sleep(0)
        assert set(dict(found.state.items())) == {"b", "x"}
        assert [(change.delete, change.by) for change in found.changes] == [(("a",), BY)] * 2
        assert asked == ["alerts.alice", "alerts.alice"]
        await rights.close()

    run(scenario())
