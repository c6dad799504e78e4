from __future__ import annotations

from mdstream.gateway.upkeep import Upkeep


def test_each_work_has_its_own_pace_and_its_place_in_the_order() -> None:
    now = [100.0]
    done: list[str] = []
    upkeep = Upkeep(lambda: now[0])
    upkeep.add(lambda: done.append("always"))
    upkeep.add(lambda: done.append("seconds"), every_s=1.0)
    upkeep.add(lambda: done.append("later"), every_s=2.0, later=True)
    seen = []
    for now_s in (100.0, 100.9, 101.0, 102.0, 107.0, 107.5):
        now[0] = now_s
        upkeep.tick()
        seen.append(tuple(done))
        done.clear()
    assert seen == [
        ("always", "seconds"),
        ("always",),
        ("always", "seconds"),
        ("always", "seconds", "later"),
        ("always", "seconds", "later"),
        ("always",),
    ]
