"""What a subscription shows of the gateway's state: code, age and reason, reference data, and a new scale."""

from decimal import Decimal

import pytest

from mdstream.client.book import Book
from mdstream.client.protocol import Request
from mdstream.client.states import SubscriptionState
from mdstream.client.ticker import Ticker
from mdstream.client.trades import Trades
from mdstream.model import StateCode

BTC = Request("book", "SIM:BTC-USD")
LIVE, PENDING, RECOVERING = SubscriptionState.LIVE, SubscriptionState.PENDING, SubscriptionState.RECOVERING
STALE, HALTED = SubscriptionState.STALE, SubscriptionState.HALTED
REF = {"tick": 1, "lot": 1, "name": "Bitcoin", "depth": 0}
SNAPSHOT = [2, 7, 1, 5, 1, [], [], 0, "subscribe"]


def report(state, code=None, age_ms=None, reason=None, sub=7):
    return {
        "type": "state",
        "sub": sub,
        "state": state,
        "since": 1,
        "code": code,
        "age_ms": age_ms,
        "reason": reason,
    }


@pytest.fixture
def book(desk):
    """Accepted; no snapshot has come."""
    desk.connect()
    book = Book(BTC, desk.core)
    desk.core.subscribe(book, desk.now)
    desk.act()
    desk.agree(7, ref=REF)
    return book


@pytest.fixture
def shown(book):
    """What observers of the book were told, as they would read it."""
    shown = []
    book.on_state(lambda state: shown.append((state, book.state_code, book.age_ms, book.state_reason)))
    return shown


def test_a_reason_that_comes_before_the_snapshot_is_kept(desk, book, shown):
    desk.say(report("halted", "venue", 120, "volatility auction"))
    assert (book.state, book.state_code, book.state_reason) == (
        PENDING,
        StateCode.VENUE,
        "volatility auction",
    )

    desk.say(SNAPSHOT)

    assert shown[-1] == (HALTED, "venue", 120, "volatility auction")
    assert (book.state, book.state_reason) == (HALTED, "volatility auction")


def test_an_instrument_without_a_book_is_recovering_and_says_why(desk, book, shown):
    desk.say(report("recovering", "no_book", None, "no book yet"))
    desk.say(report("live"), SNAPSHOT)

    assert shown == [
        (RECOVERING, "no_book", None, "no book yet"),
        (PENDING, None, None, None),
        (LIVE, None, None, None),
    ]


def test_another_code_of_the_same_state_is_told(desk, book, shown):
    desk.say(SNAPSHOT, report("stale", "feed_down", 500, "the venue is away"))
    desk.say(report("stale", "silent", 30_000, "nothing comes"))

    assert shown[1:] == [
        (STALE, "feed_down", 500, "the venue is away"),
        (STALE, "silent", 30_000, "nothing comes"),
    ]


def test_another_reason_alone_is_shown_and_not_told(desk, book, shown):
    desk.say(SNAPSHOT, report("halted", "venue", 1, "auction"), report("halted", "venue", 2, "news"))

    assert [state for state, *_ in shown] == [LIVE, HALTED]
    assert (book.state_reason, book.age_ms) == ("news", 2)


def test_the_age_grows_with_this_clock(desk, book):
    assert book.age_s(desk.now) is None
    desk.say(SNAPSHOT, report("stale", "silent", 30_500))
    desk.now += 2.5

    assert (book.age_ms, book.age_s(desk.now)) == (30_500, 33.0)


def test_a_gap_on_this_side_has_a_reason_and_no_code(desk, book, shown):
    desk.say(SNAPSHOT, report("stale", "silent", 30_000, "nothing comes"), [1, 7, 9, 9, 1, [], [], 0])
    assert shown[-1] == (RECOVERING, None, None, "what follows number 5 is missing")

    desk.say([1, 7, 6, 9, 1, [], [], 0])

    assert shown[-1] == (STALE, "silent", 30_000, "nothing comes")


def test_a_lost_connection_has_a_reason_and_no_code(desk, book, shown):
    desk.say(SNAPSHOT, report("stale", "silent", 30_000, "nothing comes"))
    desk.cut(1001, "bye")

    assert shown[-1] == (SubscriptionState.DISCONNECTED, None, None, "closed with 1001: bye")


def test_the_reference_data_is_there_and_its_changes_are_told(desk, book):
    told = []
    book.on_ref(told.append)
    assert book.ref == REF

    desk.say(
        {"type": "ref", "sub": 7, "ref": {**REF, "tick": 5}},
        {"type": "ref", "sub": 7, "ref": {**REF, "tick": 5}},
    )
    desk.say({"type": "ref", "sub": 99, "ref": REF})

    assert told == [{**REF, "tick": 5}]
    assert book.ref["tick"] == 5


# ---- a new scale


def accept(desk, sub, price_exp, **more):
    """Answers the newest ``subscribe``."""
    id = desk.ops("subscribe")[-1]["id"]
    head = {"type": "subscribed", "id": id, "sub": sub, "channel": "book", "instrument": "SIM:BTC-USD"}
    desk.say({**head, "price_exp": price_exp, "size_exp": -8, "resumed": False, **more})


def test_it_subscribes_again_by_itself_and_shows_nothing_of_the_old_scale(desk, book, shown, crc):
    desk.say([2, 7, 1, 5, 1, [10_000, 5], [], crc([(10_000, 5)], []), "subscribe"])

    desk.say({"type": "unsubscribed", "subs": [7], "reason": "rescaled"})
    assert shown[-1] == (RECOVERING, None, None, "its decimals have changed")
    assert len(desk.ops("subscribe")) == 2
    desk.say([1, 7, 6, 6, 1, [10_001, 5], [], 0])  # of the old number
    accept(desk, 9, -4)
    assert (book.levels(), book.trusted, book.number) == (([], []), False, 9)
    desk.say([2, 9, 2, 1, 1, [1_000_000, 5], [], crc([(1_000_000, 5)], []), "subscribe"])

    assert (book.state, book.epoch, book.best_bid) == (LIVE, 2, (Decimal("100.0000"), Decimal("0.00000005")))
    assert (book.crc_errors, book.error) == (0, None)


def test_a_resumed_view_of_another_scale_is_not_believed(desk, book):
    desk.say(SNAPSHOT)
    desk.cut()
    desk.wait(0.5)
    desk.connect()

    accept(desk, 9, -4, resumed=True)

    assert not book.trusted


@pytest.mark.parametrize("kind", [Trades, Ticker])
def test_other_channels_go_on_in_the_new_scale(desk, kind):
    desk.connect()
    subscription = kind(Request(kind.__name__.lower(), "SIM:BTC-USD"), desk.core)
    desk.core.subscribe(subscription, desk.now)
    desk.act()
    desk.agree(8)

    desk.say({"type": "unsubscribed", "subs": [8], "reason": "rescaled"})
    desk.agree(11)
    data = (
        [3, 11, 2, 1, 1, [[1, 1, 150, 5, 1, 1]]]
        if kind is Trades
        else [4, 11, 2, 1, 1, 150, 5, None, None, None, None]
    )
    prices = []
    if kind is Trades:
        subscription.on_trade(lambda trade: prices.append(trade.price))
    else:
        subscription.on_update(lambda ticker: prices.append(ticker.bid[0]))
    desk.say(data)

    assert (subscription.state, prices) == (LIVE, [Decimal("1.50")])
