"""What a gateway lets a user watch: prices that he may see live, on channels that show them."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream.auth.entitlements import ALL, Entitlements
from mdstream.auth.identity import Identity
from mdstream.errors import CommandError
from mdstream.gateway.alert_checks import check_alerts
from mdstream.gateway.map_commands import Put

GOOD: dict[str, Any] = {"instrument": "SIM:A", "on": "bid", "when": "above", "price": "1"}


def refusal(
    value: Any, *grants: dict[str, Any], entitlements: Entitlements | None = None
) -> tuple[str, str] | None:
    allowed = entitlements or Entitlements.from_claim({"grants": list(grants)})
    try:
        check_alerts(Identity("alice", "jwt", allowed), Put(topic="alerts", set={"k": value}))
    except CommandError as error:
        return error.code.value, str(error)
    return None


def grant(*channels: str, **more: Any) -> dict[str, Any]:
    return {"channels": list(channels), "instruments": ["SIM:A"], **more}


@pytest.mark.parametrize(
    ("on", "channel", "may"),
    [
        ("bid", "ticker", True),
        ("bid", "book", True),
        ("bid", "trades", False),
        ("ask", "candles", False),
        ("last", "ticker", True),
        ("last", "trades", True),
        ("last", "book", False),
    ],
)
def test_an_alert_needs_a_channel_that_shows_its_price(on: str, channel: str, may: bool) -> None:
    found = refusal({**GOOD, "on": on}, grant(channel))
    assert (found is None) is may
    if found is not None:
        assert found[0] == "not_entitled" and f"an alert on its {on} needs ticker or" in found[1]


def test_depth_and_interval_do_not_matter_and_a_delay_does() -> None:
    assert refusal(GOOD, grant("book", depth=1, interval_ms=1_000)) is None
    late = grant("ticker", delay_ms=1)
    found = refusal(GOOD, late)
    assert found is not None and found[0] == "not_entitled" and "only late" in found[1]
    assert refusal(GOOD, late, grant("book")) is None


def test_another_instrument_is_refused_whether_it_exists_or_not() -> None:
    for name in ("SIM:B", "NO:SUCH"):
        found = refusal({**GOOD, "instrument": name}, grant("ticker"))
        assert found is not None and found[0] == "not_entitled" and name in found[1]


def test_who_may_see_everything_may_watch_it() -> None:
    assert refusal(GOOD, entitlements=ALL) is None


def test_what_is_no_alert_is_told_with_its_key() -> None:
    found = refusal({**GOOD, "price": 1}, entitlements=ALL)
    assert found is not None and found[0] == "bad_value" and "alert 'k': price must be" in found[1]
    found = refusal({**GOOD, "fired": {}}, entitlements=ALL)
    assert found is not None and found[0] == "bad_value" and "leave it out" in found[1]
