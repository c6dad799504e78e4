"""Quiet or dead, by what a Kraken connection brings."""

from __future__ import annotations

from itertools import pairwise

from mdstream.feeds._progress import LEAST_S
from mdstream.feeds.kraken.silence import CHECK_S, THAW_S, Silence, Verdict


class Connection:
    """A connection with the pairs A and B; both have had a snapshot."""

    def __init__(self) -> None:
        self.now = 50.0
        self.asked: list[str] = []
        """All pairs that any look has asked for."""
        self.silence = Silence(lambda: self.now)
        self.open()

    def open(self) -> None:
        self.silence.on_open("AB")
        for name in "AB":
            self.silence.on_snapshot(name, new=True)

    def talk(self, names: str, *, every_s: float, times: int) -> None:
        for _ in range(times):
            self.now += every_s
            for name in names:
                self.silence.on_update(name)
            self._judge("AB", "")

    def judge(self, seconds: float, trading: str = "AB", others: str = "") -> Verdict:
        """The verdict after this time without data, with a look each second until then."""
        end = self.now + seconds
        while self.now < end - 1:
            self.now += 1
            self._judge(trading, others)
        self.now = end
        return self._judge(trading, others)

    def _judge(self, trading: str, others: str) -> Verdict:
        verdict = self.silence.judge(trading, others)
        self.asked.extend(verdict.ask)
        return verdict


def test_a_lively_connection_that_falls_silent_is_dead() -> None:
    connection = Connection()
    connection.talk("AB", every_s=0.1, times=80)
    assert connection.judge(LEAST_S - 0.5) == Verdict()
    assert connection.judge(1).dead_s >= LEAST_S


def test_a_connection_that_has_always_been_quiet_is_asked() -> None:
    connection = Connection()
    assert connection.judge(CHECK_S - 1) == Verdict()
    assert connection.judge(1) == Verdict(ask=["A", "B"])
    for name in "AB":
        connection.silence.on_snapshot(name, new=False)
    assert connection.judge(CHECK_S - 1) == Verdict()
    assert connection.judge(1) == Verdict(ask=["A", "B"])


def test_a_quiet_pair_is_heard_while_its_sister_talks() -> None:
    connection = Connection()
    for _ in range(20):
        connection.talk("A", every_s=0.5, times=4)
        assert connection.judge(0.5) == Verdict(heard=["A", "B"])


def test_a_lively_pair_that_falls_silent_while_its_sister_talks_is_asked_not_heard() -> None:
    connection = Connection()
    connection.talk("AB", every_s=0.5, times=40)
    connection.talk("A", every_s=0.5, times=18)
    assert connection.judge(0.5) == Verdict(heard=["A", "B"])
    connection.talk("A", every_s=0.5, times=1)
    assert connection.judge(0.5) == Verdict(heard=["A"])
    assert connection.asked == ["B"]
    connection.silence.on_snapshot("B", new=False)
    assert connection.judge(0.5) == Verdict(heard=["A", "B"]), "the venue has answered: it is quiet"


def test_a_book_whose_updates_are_missing_is_asked_again_and_again_while_its_trades_come() -> None:
    connection = Connection()
    connection.talk("AB", every_s=0.5, times=40)
    asked = []
    for _ in range(60):
        connection.silence.on_update("A")
        connection.silence.on_trade()  # of B
        verdict = connection.judge(1)
        assert "B" not in verdict.heard or not asked
        if "B" in verdict.ask:
            asked.append(connection.now)
            assert connection.silence.on_snapshot("B", new=True)
    assert [later - before for before, later in pairwise(asked)] == [LEAST_S] * 5


def test_pairs_that_do_not_trade_may_be_silent_but_are_asked() -> None:
    connection = Connection()
    connection.talk("AB", every_s=0.1, times=80)
    assert connection.judge(CHECK_S + 2, "", "AB").dead_s == 0
    assert connection.asked == ["A", "B"]


def test_a_dead_venue_that_gives_the_same_book_for_minutes_is_quiet() -> None:
    connection = Connection()
    connection.talk("AB", every_s=0.1, times=80)
    assert connection.judge(LEAST_S + 1).dead_s
    connection.now += 1
    connection.open()
    connection.judge(THAW_S - 20, "")
    assert not connection.silence.on_snapshot("A", new=False)
    connection.judge(20, "")
    assert connection.silence.on_snapshot("A", new=False)
    assert connection.judge(1).dead_s == 0


def test_a_process_that_was_held_up_judges_nothing() -> None:
    connection = Connection()
    connection.talk("AB", every_s=0.1, times=80)
    connection.now += 60
    assert connection.silence.judge("AB") == Verdict()
