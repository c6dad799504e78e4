"""The local book: its numbers and checksums are checked, and a wrong view is never trusted."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from mdstream.client.book import Book
from mdstream.client.events import Delta, Snapshot, StateChange, Subscribed
from mdstream.client.policy import Policy
from mdstream.client.protocol import Request
from mdstream.client.states import SubscriptionState

LIVE, RECOVERING = SubscriptionState.LIVE, SubscriptionState.RECOVERING
BIDS, ASKS = [(100, 5), (99, 6)], [(101, 7), (103, 8)]


@pytest.fixture
def say(crc):
    """Builds messages of subscription 7; the checksum of a delta is that of the given view."""

    class Say:
        @staticmethod
        def snapshot(seq, bids=BIDS, asks=ASKS, *, epoch=1, reason="subscribe", crc_error=0):
            flat = [[n for level in side for n in level] for side in (bids, asks)]
            return Snapshot(7, epoch, seq, 1000 + seq, *flat, crc(bids, asks) + crc_error, reason)

        @staticmethod
        def delta(first, last, bids, asks, view, *, crc_error=0):
            return Delta(7, first, last, 1000 + last, bids, asks, crc(*view) + crc_error)

        @staticmethod
        def quiet(first, last=None):
            """A delta that changes nothing of BIDS and ASKS."""
            return Say.delta(first, first if last is None else last, [], [], (BIDS, ASKS))

    return Say


@pytest.fixture
def book(link):
    book = Book(Request("book", "SIM:BTC-USD"), link)
    book.requested()
    book.accept(Subscribed(7, "book", "SIM:BTC-USD", -2, -3), 0.0)
    return book


def test_a_snapshot_is_the_view(book, say):
    assert book.state is SubscriptionState.PENDING

    book.take(say.snapshot(5), 0.0)

    assert (book.state, book.trusted, book.seq, book.epoch, book.ts_us) == (LIVE, True, 5, 1, 1005)
    assert book.bids.tolist() == [[100, 5], [99, 6]]
    assert book.asks.tolist() == [[101, 7], [103, 8]]
    assert book.best_bid == (Decimal("1.00"), Decimal("0.005"))
    assert book.best_ask == (Decimal("1.01"), Decimal("0.007"))
    assert book.levels(1) == ([book.best_bid], [book.best_ask])


def test_a_delta_changes_adds_and_deletes(book, say):
    book.take(say.snapshot(5), 0.0)

    book.take(say.delta(6, 8, [99, 0, 98, 4], [101, 9], ([(100, 5), (98, 4)], [(101, 9), (103, 8)])), 0.0)

    assert book.bids.tolist() == [[100, 5], [98, 4]]
    assert book.asks.tolist() == [[101, 9], [103, 8]]
    assert (book.seq, book.ts_us, book.state) == (8, 1008, LIVE)


def test_arrays_are_read_only_and_do_not_change(book, say):
    book.take(say.snapshot(5), 0.0)
    before = book.bids
    assert book.bids is before

    book.take(say.delta(6, 6, [100, 1], [], ([(100, 1), (99, 6)], ASKS)), 0.0)

    assert before.tolist() == [[100, 5], [99, 6]]
    assert book.bids.tolist() == [[100, 1], [99, 6]]
    with pytest.raises(ValueError, match="read-only"):
        book.bids[0, 0] = 1
    assert book.bids.dtype == np.int64


def test_an_empty_side_has_no_best(book, say):
    book.take(say.snapshot(5, [], ASKS), 0.0)

    assert book.best_bid is None
    assert book.bids.shape == (0, 2)


@pytest.mark.parametrize(
    ("exponents", "price", "size"),
    [
        ((-2, -8), "90071992547409.91", "0.00000005"),
        ((3, 0), "9007199254740991000", "5"),
        ((-18, 2), "0.009007199254740991", "500"),
    ],
)
def test_decimals_are_exact_in_any_context(link, say, exponents, price, size):
    book = Book(Request("book", "SIM:X"), link)
    book.accept(Subscribed(7, "book", "SIM:X", *exponents), 0.0)
    book.take(say.snapshot(1, [(2**53 - 1, 5)], []), 0.0)

    with localcontext() as context:
        context.prec = 3
        best = book.best_bid

    assert [format(number, "f") for number in best] == [price, size]


def test_a_gap_is_asked_for_from_the_first_missing_number(book, link, say):
    book.take(say.snapshot(5), 0.0)

    book.take(say.quiet(7), 0.0)

    assert link.asked == [6]
    assert (book.state, book.trusted, book.seq) == (RECOVERING, False, 5)
    assert book.state_reason == "what follows number 5 is missing"
    assert (book.gaps, book.recoveries) == (1, 1)


def test_updates_during_a_recover_are_held_and_follow_the_answer(book, link, say):
    book.take(say.snapshot(5), 0.0)
    seen = []
    book.on_update(lambda update: seen.append((update.kind, update.first, update.last)))
    book.take(say.quiet(7), 0.0)
    book.take(say.quiet(8, 9), 0.0)
    book.take(say.quiet(10), 0.0)
    assert (book.seq, seen, link.asked) == (5, [], [6])

    book.take(say.quiet(6, 7), 0.0)

    assert seen == [("delta", 6, 7), ("delta", 8, 9), ("delta", 10, 10)]
    assert (book.seq, book.state) == (10, LIVE)


def test_an_answer_that_covers_the_held_updates_replaces_them(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)

    book.take(say.snapshot(9, reason="recover"), 0.0)
    book.take(say.quiet(10), 0.0)

    assert (book.seq, book.state, link.asked) == (10, LIVE, [6])


def test_a_second_gap_in_the_held_updates_is_recovered_too(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)
    book.take(say.quiet(9), 0.0)

    book.take(say.quiet(6, 7), 0.0)

    assert (book.seq, book.state) == (7, RECOVERING)
    book.take(say.quiet(8, 9), 0.0)
    assert (book.seq, book.state, link.asked) == (9, LIVE, [6, 8])


def test_known_updates_are_dropped(book, link, say):
    book.take(say.snapshot(5), 0.0)

    book.take(say.delta(4, 5, [100, 0], [], (BIDS, ASKS)), 0.0)

    assert (book.seq, book.state, link.asked) == (5, LIVE, [])
    assert book.bids[0].tolist() == [100, 5]


def wrong_checksum(say):
    return say.delta(6, 6, [100, 1], [], ([(100, 1), (99, 6)], ASKS), crc_error=1)


def crossed(say):
    return say.delta(6, 6, [102, 1], [], ([(102, 1), *BIDS], ASKS))


def overlapping(say):
    return say.quiet(5, 6)


def out_of_range(say):
    return Delta(7, 6, 6, 1, [2**60, 1], [], 0)


def beyond_int64(say):
    return Delta(7, 6, 6, 1, [2**63, 1], [], 0)


@pytest.mark.parametrize("bad", [wrong_checksum, crossed, overlapping, out_of_range, beyond_int64])
def test_an_update_that_does_not_fit_empties_the_view_and_asks_for_a_snapshot(book, link, say, bad):
    book.take(say.snapshot(5), 0.0)
    seen = []
    book.on_update(seen.append)

    book.take(bad(say), 0.0)

    assert link.asked == [0]
    assert (book.state, book.trusted, book.crc_errors, link.stats.crc_errors) == (RECOVERING, False, 1, 1)
    assert (len(book.bids), len(book.asks), seen) == (0, 0, [])
    assert book.resume is None, "a client must not resume from a wrong view"

    book.take(say.quiet(7), 0.0)
    assert (book.state, link.asked) == (RECOVERING, [0])
    book.take(say.snapshot(6, reason="recover"), 0.0)
    assert (book.state, book.seq) == (LIVE, 7)


@pytest.mark.parametrize(
    "snapshot",
    [{"crc_error": 1}, {"bids": [(99, 1), (100, 1)]}, {"bids": [(101, 1)]}, {"asks": [(101, 0)]}],
    ids=["checksum", "order", "crossed", "size"],
)
def test_a_wrong_snapshot_is_asked_for_again_but_not_at_once(book, link, say, snapshot):
    book.take(say.snapshot(5, **snapshot), 0.0)
    assert (link.asked, book.trusted) == ([0], False)
    book.take(say.snapshot(5, **snapshot), 0.0)
    assert link.asked == [0]
    assert book.deadline == 1.0, "the second try waits; here for the longest delay"

    book.tick(0.999)
    assert link.asked == [0]
    book.tick(1.0)
    assert link.asked == [0, 0]
    book.take(say.snapshot(5), 1.0)
    assert book.trusted


def test_a_correct_update_resets_the_delay_between_tries(book, link, say):
    book.take(say.snapshot(5), 0.0)
    for seq in range(6, 60, 3):
        book.take(say.quiet(seq + 1), 0.0)
        book.take(say.quiet(seq, seq + 2), 0.0)

    assert link.asked == list(range(6, 60, 3))


def test_a_heartbeat_ahead_shows_a_lost_tail(book, link, say):
    book.take(say.snapshot(5), 0.0)

    book.take_heartbeat(5, 0.0)
    book.take_heartbeat(4, 0.0)
    assert link.asked == []
    book.take_heartbeat(8, 0.0)
    book.take_heartbeat(9, 0.0)

    assert (link.asked, book.state) == ([6], RECOVERING)


def test_a_heartbeat_shows_a_lost_snapshot(book, link):
    book.take_heartbeat(0, 0.0)
    assert link.asked == []

    book.take_heartbeat(3, 0.0)

    assert link.asked == [0]


def test_a_snapshot_that_does_not_come_is_asked_for(book, link, say):
    book.tick(9.9)
    assert link.asked == []
    book.tick(10.0)
    assert link.asked == [0]

    book.take(say.snapshot(0, [], []), 11.0)

    assert (book.state, book.deadline) == (LIVE, None)


def test_a_delta_without_a_snapshot_asks_for_one(book, link, say):
    book.take(say.quiet(6), 0.0)

    assert (link.asked, book.state) == ([0], SubscriptionState.PENDING)
    book.take(say.snapshot(6, reason="recover"), 0.0)
    assert (book.seq, book.state) == (6, LIVE)


def test_held_updates_of_an_older_epoch_are_not_applied_to_the_new(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)

    book.take(say.snapshot(6, epoch=2, reason="epoch"), 0.0)

    assert (book.epoch, book.seq, book.state) == (2, 6, LIVE)


@pytest.mark.parametrize("reason", ["epoch", "slow", "reload"])
def test_a_snapshot_without_a_recover_replaces_everything(book, link, say, reason):
    book.take(say.snapshot(5), 0.0)

    book.take(say.snapshot(2, [(50, 1)], [], epoch=9, reason=reason), 0.0)

    assert (book.epoch, book.seq, book.bids.tolist(), len(book.asks)) == (9, 2, [[50, 1]], 0)
    assert (book.state, link.asked) == (LIVE, [])


def test_an_unanswered_recover_is_asked_again_as_a_snapshot(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)

    book.tick(9.9)
    assert link.asked == [6]
    book.tick(10.0)

    assert link.asked == [6, 0]


def test_a_refused_recover_is_asked_again_later(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)

    book.recover_refused(0.0)
    book.tick(1.4)
    assert link.asked == [6]
    book.tick(1.5)

    assert link.asked == [6, 6]


def test_a_refusal_that_comes_too_late_changes_nothing(book, link, say):
    book.take(say.snapshot(5), 0.0)

    book.recover_refused(0.0)

    assert (book.deadline, link.asked) == (None, [])


def test_held_updates_are_bounded(link, say):
    link.policy = Policy(held_messages=3)
    book = Book(Request("book", "SIM:X"), link)
    book.accept(Subscribed(7, "book", "SIM:X", 0, 0), 0.0)
    book.take(say.snapshot(5), 0.0)
    for seq in range(7, 12):
        book.take(say.quiet(seq), 0.0)

    book.take(say.quiet(6), 0.0)

    assert (book.seq, book.state) == (6, RECOVERING), "7 to 9 were dropped, so they are missing again"
    assert link.asked[0] == 6


def reconnected(book, *, resumed, exponents=(-2, -3)):
    book.detach("cut")
    book.requested()
    book.accept(Subscribed(3, "book", "SIM:BTC-USD", *exponents, resumed=resumed), 0.0)


def test_a_resumed_view_continues(book, say):
    book.take(say.snapshot(5), 0.0)
    assert book.resume == (1, 5)

    reconnected(book, resumed=True)

    assert (book.state, book.seq) == (LIVE, 5)


def test_a_view_that_is_not_resumed_is_not_trusted_until_the_snapshot(book, say):
    book.take(say.snapshot(5), 0.0)

    reconnected(book, resumed=False)
    assert (book.state, book.trusted, book.resume) == (RECOVERING, False, None)
    book.take(say.snapshot(2, epoch=8), 0.0)

    assert (book.state, book.epoch, book.seq) == (LIVE, 8, 2)


def test_a_gap_that_was_open_is_resumed_from_its_beginning(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)
    book.detach("cut")
    assert (book.resume, book.deadline) == ((1, 5), None)

    reconnected(book, resumed=True)
    book.take(say.quiet(6, 9), 0.0)

    assert (book.seq, book.state, link.asked) == (9, LIVE, [6])


def test_other_exponents_make_the_old_view_meaningless(book, say):
    book.take(say.snapshot(5), 0.0)

    reconnected(book, resumed=False, exponents=(-3, -3))

    assert len(book.bids) == 0


def test_disconnected_is_shown_and_not_trusted(book, say):
    book.take(say.snapshot(5), 0.0)
    states = []
    book.on_state(states.append)

    book.detach("the cable")

    assert states == [SubscriptionState.DISCONNECTED]
    assert (book.trusted, book.state_reason, len(book.bids)) == (False, "the cable", 2)


def test_the_own_recovery_outranks_the_state_of_the_gateway(book, say):
    book.take(say.snapshot(5), 0.0)
    book.take_state(StateChange(7, "halted", 1, "news"), 0.0)
    assert book.state is SubscriptionState.HALTED

    book.take(say.quiet(7), 0.0)
    assert book.state is RECOVERING
    book.take(say.quiet(6, 7), 0.0)

    assert book.state is SubscriptionState.HALTED


def test_a_callback_sees_the_book_after_each_message(book, say):
    seen = []
    book.on_update(lambda update: seen.append((book.seq, book.trusted, update.last, update.bids.tolist())))

    book.take(say.snapshot(5), 0.0)
    book.take(say.delta(6, 6, [100, 1], [], ([(100, 1), (99, 6)], ASKS)), 0.0)

    assert seen == [(5, True, 5, [[100, 5], [99, 6]]), (6, True, 6, [[100, 1]])]


def told(state: str, code: str | None = None) -> StateChange:
    return StateChange(7, state, code=code)


def tick_until(book: Book, now: float) -> None:
    while book.deadline is not None and book.deadline <= now:
        book.tick(book.deadline)


def test_nothing_is_asked_for_while_the_gateway_has_no_book(book, link, say):
    book.take_state(told("recovering", "no_book"), 0.0)
    tick_until(book, 1e6)
    book.take_heartbeat(0, 1e6)
    assert link.asked == []
    assert (book.state, book.state_code) == (RECOVERING, "no_book")

    book.take_state(told("live"), 1e6)
    book.take(say.snapshot(1), 1e6)
    assert (book.state, link.asked) == (LIVE, [])


def test_a_snapshot_that_does_not_follow_the_end_of_no_book_is_asked_for(book, link):
    book.take_state(told("recovering", "no_book"), 0.0)
    book.take_state(told("live"), 100.0)
    tick_until(book, 100.0 + link.policy.recover_timeout_s)
    assert link.asked == [0]


def test_a_recover_that_is_open_when_there_is_no_book_any_more_is_not_sent_again(book, link, say):
    book.take(say.snapshot(5), 0.0)
    book.take(say.quiet(7), 0.0)
    assert link.asked == [6]

    book.take_state(told("recovering", "no_book"), 0.0)
    book.recover_refused(0.0)
    tick_until(book, 1e6)
    assert link.asked == [6]

    book.take(say.snapshot(1, epoch=2, reason="epoch"), 1e6)
    book.take_state(told("live"), 1e6)
    assert (book.state, book.seq, link.asked) == (LIVE, 1, [6])
