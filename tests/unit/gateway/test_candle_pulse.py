from __future__ import annotations

from mdstream.gateway.candle_pulse import SILENT_S, CandlePulse


def test_a_writer_that_should_speak_and_does_not_is_told_once() -> None:
    pulse = CandlePulse(lambda: 77)
    assert not pulse.look(1e9, connected=True), "nothing was heard, so nothing is expected"
    pulse.heard(100.0, goes_on=True)
    assert not pulse.look(100.0 + SILENT_S, connected=True) and pulse.is_live
    assert pulse.look(101.0 + SILENT_S, connected=True) and not pulse.look(200.0 + SILENT_S, connected=True)
    told = pulse.message(7, 101.0 + SILENT_S)
    assert (told["sub"], told["state"], told["code"], told["since"]) == (7, "stale", "silent", 77)
    assert told["age_ms"] == (SILENT_S + 1) * 1000
    pulse.heard(300.0, goes_on=True)
    assert pulse.look(300.0, connected=True)
    assert [pulse.message(7, 301.0)[key] for key in ("state", "code", "reason")] == ["live", None, None]


def test_where_nothing_was_traded_for_a_day_nothing_is_expected() -> None:
    pulse = CandlePulse(lambda: 77)
    pulse.heard(100.0, goes_on=False)
    assert not pulse.look(1e6, connected=True)
    assert pulse.message(7, 1e6)["age_ms"] is None


def test_while_nats_is_away_that_is_why() -> None:
    pulse = CandlePulse(lambda: 77)
    pulse.heard(100.0, goes_on=True)
    assert pulse.look(101.0, connected=False) and pulse.message(7, 101.0)["code"] == "nats_away"
    assert pulse.look(102.0, connected=True) and pulse.is_live
