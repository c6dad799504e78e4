"""What a gateway gives up, and when; time is a number."""

from __future__ import annotations

from mdstream.gateway.overload import LATE_S, SHEDS, STRETCHES, UNREAD_BYTES, Load, Overload

LATE, UNREAD, CALM = Load(late_s=LATE_S), Load(unread_bytes=UNREAD_BYTES), Load()


def looks(overload: Overload, load: Load, since: float, seconds: float) -> float:
    """Looks four times a second; returns when."""
    for _ in range(int(seconds * 4)):
        overload.look(load, since)
        since += 0.25
    return since


def test_a_moment_changes_nothing() -> None:
    overload = Overload()
    now = looks(overload, LATE, 0.0, 1.0)
    assert overload.level == 0
    now = looks(overload, CALM, now, 1.0)
    looks(overload, UNREAD, now, 1.0)
    assert (overload.level, overload.stretch, overload.refuses) == (0, 1, None)


def test_intervals_come_first_then_new_clients_then_subscriptions() -> None:
    overload, now = Overload(), 0.0
    seen, shed_at = [], None
    while shed_at is None:
        overload.look(UNREAD, now)
        if overload.must_shed:
            shed_at = now
        seen.append((overload.level, overload.stretch, overload.refuses is not None))
        now += 0.25
    assert list(dict.fromkeys(seen)) == [(level, STRETCHES[level], level >= 2) for level in range(SHEDS + 1)]
    assert shed_at == SHEDS * 1.0


def test_it_sheds_once_a_second_while_it_lasts() -> None:
    overload = Overload()
    now = looks(overload, LATE, 0.0, 4.25)
    assert overload.must_shed
    shed = []
    for _ in range(12):
        overload.look(LATE, now)
        shed.append(overload.must_shed)
        now += 0.25
    assert sum(shed) == 3
    overload.look(CALM, now)
    assert not overload.must_shed


def test_five_calm_seconds_lead_one_level_down() -> None:
    overload = Overload()
    now = looks(overload, LATE, 0.0, 2.25)
    assert overload.level == 2
    now = looks(overload, CALM, now, 5.0)
    assert overload.level == 2
    now = looks(overload, CALM, now, 0.25)
    assert overload.level == 1
    looks(overload, CALM, now, 5.0)
    assert overload.level == 0


def test_between_calm_and_strained_it_stays_as_it_is() -> None:
    overload = Overload()
    now = looks(overload, LATE, 0.0, 1.25)
    assert overload.level == 1
    looks(overload, Load(late_s=LATE_S * 0.7), now, 60.0)
    assert overload.level == 1


def test_memory_has_its_own_order() -> None:
    overload = Overload()
    overload.look(Load(memory_share=0.84), 0.0)
    assert not overload.is_tight and overload.refuses is None
    overload.look(Load(memory_share=0.85), 1.0)
    assert overload.is_tight and not overload.is_short and not overload.must_close
    assert overload.refuses == "this gateway is short of memory"
    overload.look(Load(memory_share=0.95), 2.0)
    assert overload.is_short and not overload.must_close
    overload.look(Load(memory_share=1.0), 3.0)
    assert overload.must_close
    overload.look(Load(memory_share=1.0), 3.25)
    assert not overload.must_close
    overload.look(Load(memory_share=1.0), 4.0)
    assert overload.must_close
    overload.look(Load(memory_share=0.5), 5.0)
    assert not overload.is_tight and overload.level == 0 and overload.refuses is None
