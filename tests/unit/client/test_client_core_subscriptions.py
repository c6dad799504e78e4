"""What a client subscribes to again, what it gives up, and what it tells of it."""

from mdstream.client.book import Book
from mdstream.client.policy import Policy
from mdstream.client.protocol import Request
from mdstream.client.states import SubscriptionState
from mdstream.client.ticker import Ticker
from mdstream.client.trades import Trades
from mdstream.errors import SubscriptionRefused
from support.desk_book import BTC, EMPTY, with_book


def test_everything_is_subscribed_again_from_where_it_was(desk):
    desk.connect()
    with_book(desk)
    with_book(desk, BTC._replace(depth=20), sub=8)
    desk.say([1, 8, 6, 9, 1, [], [], 0])
    trades = Trades(Request("trades", "SIM:BTC-USD"), desk.core)
    desk.core.subscribe(trades, desk.now)
    desk.act()
    desk.agree(9)
    desk.say([3, 9, 4, 11, 11, [[11, 1, 100, 1, 1, "a"]]])
    desk.sent.clear()

    desk.reconnect()

    assert [(c["channel"], c.get("depth"), c["resume"]) for c in desk.ops("subscribe")] == [
        ("book", 0, {"SIM:BTC-USD": [1, 5]}),
        ("book", 20, {"SIM:BTC-USD": [1, 9]}),
        ("trades", None, {"SIM:BTC-USD": [4, 11]}),
    ]
    assert desk.core.stats.reconnects == 1


def test_instruments_that_differ_in_nothing_else_are_asked_for_together(make_desk):
    desk = make_desk(policy=Policy(subscribe_batch=2))
    books = [Book(BTC._replace(instrument=f"SIM:{name}"), desk.core) for name in "ABC"]
    for book in books:
        desk.core.subscribe(book, desk.now)

    desk.connect()

    assert [command["instruments"] for command in desk.ops("subscribe")] == [["SIM:A", "SIM:B"], ["SIM:C"]]


def test_one_bad_instrument_does_not_take_the_others_with_it(desk):
    books = [Book(BTC._replace(instrument=f"SIM:{name}"), desk.core) for name in "AB"]
    for book in books:
        desk.core.subscribe(book, desk.now)
    desk.connect()
    together = desk.ops("subscribe")[0]

    desk.refuse(together, "unknown_instrument", "SIM:B is not announced")
    alone = desk.ops("subscribe")[1:]
    desk.refuse(alone[1], "unknown_instrument", "SIM:B is not announced")

    assert [command["instruments"] for command in alone] == [["SIM:A"], ["SIM:B"]]
    assert [book.state for book in books] == [SubscriptionState.PENDING, SubscriptionState.ENDED]
    assert isinstance(books[1].error, SubscriptionRefused)
    assert books[1].error.code == "unknown_instrument"
    assert "SIM:B is not announced" in str(books[1].error)


def test_a_temporary_refusal_after_a_reconnect_is_tried_again_later(desk):
    desk.connect()
    book = with_book(desk)
    desk.reconnect()

    desk.refuse(desk.ops("subscribe")[-1], "unavailable", "busy")
    asked = len(desk.ops("subscribe"))
    assert not book.trusted
    desk.wait(0.999)
    assert len(desk.ops("subscribe")) == asked
    desk.wait(0.001)

    assert len(desk.ops("subscribe")) == asked + 1
    assert desk.ops("subscribe")[-1]["resume"] == {"SIM:BTC-USD": [1, 5]}


def test_a_lasting_refusal_after_a_reconnect_ends_the_subscription(desk):
    desk.connect()
    book = with_book(desk)
    desk.reconnect()

    desk.refuse(desk.ops("subscribe")[-1], "not_entitled", "no")

    assert book.state is SubscriptionState.ENDED
    assert book.error.code == "not_entitled"


def test_an_entitlement_that_ends_ends_the_subscription(desk):
    desk.connect()
    book = with_book(desk)

    desk.say({"type": "unsubscribed", "id": None, "subs": [7], "reason": "token ended"})

    assert book.state is SubscriptionState.ENDED
    assert "token ended" in str(book.error)
    assert desk.core.subscriptions == ()


def test_closing_a_book_unsubscribes_and_later_messages_are_ignored(desk):
    desk.connect()
    book = with_book(desk)

    desk.core.unsubscribe(book)
    desk.act()
    desk.say([1, 7, 6, 6, 1, [], [], 0])

    assert desk.ops("unsubscribe")[0]["subs"] == [7]
    assert (book.seq, book.state, book.error) == (5, SubscriptionState.ENDED, None)


def test_a_book_closed_before_subscribed_is_unsubscribed_then(desk):
    desk.connect()
    book = Book(BTC, desk.core)
    desk.core.subscribe(book, desk.now)
    desk.act()
    desk.core.unsubscribe(book)
    desk.act()
    assert desk.ops("unsubscribe") == []

    desk.agree(7)

    assert desk.ops("unsubscribe")[0]["subs"] == [7]


def test_a_book_reopened_before_subscribed_replaces_the_first(desk, answer):
    desk.connect()
    first, second = Book(BTC, desk.core), Book(BTC, desk.core)
    desk.core.subscribe(first, desk.now)
    desk.act()
    command = desk.ops("subscribe")[0]
    desk.core.unsubscribe(first)
    desk.core.subscribe(second, desk.now)
    desk.act()

    desk.say(answer(command, 7), EMPTY, answer(desk.ops("subscribe")[1], 7))

    assert second.state is SubscriptionState.LIVE
    assert desk.ops("unsubscribe") == []


def test_a_subscription_that_the_gateway_forgot_is_asked_for_again(desk):
    desk.connect()
    book = with_book(desk)
    desk.say([1, 7, 9, 9, 1, [], [], 0])

    desk.refuse(desk.ops("recover")[0], "unknown_sub", "7?")

    assert len(desk.ops("subscribe")) == 2
    desk.agree(12, resumed=True)
    desk.say([1, 12, 6, 9, 1, [], [], 0])
    assert (book.state, book.seq) == (SubscriptionState.LIVE, 9)


def test_state_messages_show_and_are_forgotten_with_the_connection(desk):
    desk.connect()
    book = with_book(desk)
    shown = []
    book.on_state(shown.append)

    desk.say({"type": "state", "sub": 7, "state": "stale", "since": 1, "reason": "feed down"})
    assert (book.state, book.state_reason, book.trusted) == (SubscriptionState.STALE, "feed down", True)
    desk.say({"type": "state", "sub": 7, "state": "recovering", "since": 1, "reason": "hole"})
    assert not book.trusted
    desk.say({"type": "state", "sub": 7, "state": "brand_new"})
    desk.reconnect()
    desk.agree(3, resumed=True)

    assert [str(state) for state in shown] == ["stale", "recovering", "disconnected", "recovering", "live"]


def test_a_gateway_that_does_not_say_that_it_resumes_tickers_is_not_asked_to(desk):
    desk.connect()
    desk.core.subscribe(Ticker(Request("ticker", "SIM:BTC-USD"), desk.core), desk.now)
    desk.act()
    desk.agree(7)
    desk.say([4, 7, 1, 5, 10, 100, 1, 102, 2, None, None])
    for resumes, resume in ((["book", "ticker"], {"SIM:BTC-USD": [1, 5]}), (None, None)):
        desk.cut()
        desk.wait(1)
        desk.core.dialed(desk.now)
        welcome = desk.welcome() | {"resumes": resumes}
        desk.say({key: value for key, value in welcome.items() if value is not None})
        assert desk.ops("subscribe")[-1].get("resume") == resume
        desk.agree(7)
        desk.say([4, 7, 1, 5, 10, 100, 1, 102, 2, None, None])


def test_what_ends_for_overload_is_asked_for_again_later_and_resumes(desk):
    desk.connect()
    book = with_book(desk)
    asked = len(desk.ops("subscribe"))
    desk.say({"type": "unsubscribed", "subs": [7], "reason": "overload"})
    assert (book.state, book.state_reason) == (SubscriptionState.DISCONNECTED, "the gateway is overloaded")
    assert len(desk.ops("subscribe")) == asked
    desk.say([1, 7, 6, 6, 1, [], [], 0])
    assert book.seq == 5, "what it still sends under that number counts no more"
    desk.wait(1)
    assert desk.ops("subscribe")[asked]["resume"] == {"SIM:BTC-USD": [1, 5]}
