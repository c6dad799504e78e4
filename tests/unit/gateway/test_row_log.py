from __future__ import annotations

from mdstream.gateway import row_log
from mdstream.gateway.row_log import RowLog


def test_what_has_changed_since_a_number() -> None:
    log: RowLog[str, int] = RowLog()
    log.put("a", 1)
    log.put("b", 1)
    assert log.commit() and log.seq == 1 and not log.commit()
    log.put("a", 2)
    log.commit()
    log.remove("b")
    log.remove("nothing")
    log.put("c", 1)
    log.commit()
    assert (sorted(log.rows()), log.seq) == ([("a", 2), ("c", 1)], 3)
    assert sorted(log.changed(1)) == [("a", 2), ("c", 1)] and log.changed(2) == [("c", 1)]
    assert log.gone(0) == log.gone(2) == ["b"] and log.gone(3) == []
    log.put("b", 5)
    log.commit()
    assert log.gone(0) == [] and log.changed(3) == [("b", 5)]


def test_what_is_gone_is_remembered_for_a_while(monkeypatch) -> None:
    monkeypatch.setattr(row_log, "MOST_GONE", 2)
    log: RowLog[int, int] = RowLog()
    for key in range(4):
        log.put(key, 0)
    log.commit()
    for key in range(3):
        log.remove(key)
        log.commit()
    assert log.gone(2) == [2, 1]
    assert not log.reaches(1) and log.reaches(2) and log.reaches(4) and not log.reaches(5)
