"""What a Kraken handler asks for, and when it asks again."""

from __future__ import annotations

import json

from mdstream.feeds._venue import HEALTHY_S, Backoff
from mdstream.feeds.kraken.subscriptions import ANSWER_S, BATCH, Key, Subscriptions, requests

BOOK, TRADES = Key("book", "BTC/USD"), Key("trade", "BTC/USD")


class Asking:
    """Subscriptions whose time passes in steps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.all = Subscriptions(Backoff(base_s=1, cap_s=8, draw=lambda: 1.0), lambda: self.now)
        self.all.on_open()

    def pass_s(self, seconds: float) -> list[tuple[Key, bool]]:
        self.now += seconds
        return self.all.due()


def test_a_subscription_is_asked_for_once_until_it_fails() -> None:
    asking = Asking()
    asking.all.ask(BOOK)
    assert asking.pass_s(0) == [(BOOK, False)]
    asking.all.ask(BOOK)
    assert asking.pass_s(1) == []
    assert asking.all.unanswered() == asking.all.unanswered("BTC/USD") == [BOOK]
    assert asking.all.unanswered("ETH/USD") == []
    asking.all.confirm(BOOK)
    assert asking.all.confirmed(BOOK)
    assert asking.all.unanswered() == []
    assert asking.pass_s(1000) == []


def test_any_number_of_failures_is_asked_again_with_growing_delays() -> None:
    asking = Asking()
    asking.all.ask(BOOK)
    asking.pass_s(0)
    delays = []
    for _ in range(50):
        delays.append(asking.all.ask_again(BOOK))
        assert asking.all.ask_again(BOOK) == delays[-1], "it is due already"
        assert asking.pass_s(delays[-1] - 0.01) == []
        assert asking.pass_s(0.01) == [(BOOK, True)]
    assert delays == [1, 2, 4] + [8] * 47


def test_delays_begin_again_after_a_healthy_time_alone() -> None:
    asking = Asking()
    for healthy_s, delay_s in ((0, 1), (HEALTHY_S - 1, 2), (HEALTHY_S, 1)):
        asking.all.ask(BOOK)
        asking.pass_s(0)
        asking.all.confirm(BOOK)
        asking.pass_s(healthy_s)
        assert asking.all.ask_again(BOOK) == delay_s
        asking.pass_s(delay_s)


def test_an_answer_that_does_not_come_is_overdue() -> None:
    asking = Asking()
    asking.all.ask(BOOK)
    asking.pass_s(0)
    asking.now += ANSWER_S - 1
    assert asking.all.overdue() == []
    asking.now += 1
    assert asking.all.overdue() == [(BOOK, 100.0)]


def test_a_new_connection_and_a_pair_that_is_gone_have_no_subscriptions() -> None:
    asking = Asking()
    asking.all.ask(BOOK)
    asking.all.ask(TRADES)
    asking.pass_s(0)
    asking.all.on_open()
    assert (asking.all.unanswered(), asking.pass_s(1)) == ([], [])
    asking.all.ask(BOOK)
    assert asking.pass_s(0) == [(BOOK, False)], "nothing to unsubscribe from"
    asking.all.drop("BTC/USD")
    assert asking.all.unanswered() == []


def test_what_is_not_ready_stays_due() -> None:
    asking = Asking()
    asking.all.ask(BOOK)
    assert asking.all.due(lambda _: False) == []
    assert asking.pass_s(0) == [(BOOK, False)]


def test_books_that_were_asked_for_before_are_unsubscribed_first_and_requests_are_batched() -> None:
    asked = [(Key("book", f"P{number}"), number % 2 == 1) for number in range(BATCH + 1)]
    sent = [json.loads(text) for text in requests([*asked, (TRADES, True)], 25)]
    assert [(each["method"], each["params"]["channel"], len(each["params"]["symbol"])) for each in sent] == [
        ("unsubscribe", "book", BATCH // 2),
        ("subscribe", "book", BATCH),
        ("subscribe", "book", 1),
        ("subscribe", "trade", 1),
    ]
    assert sent[1]["params"]["depth"] == 25
    assert sent[3]["params"]["symbol"] == ["BTC/USD"]
