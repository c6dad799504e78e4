"""The connection's state machine: when it reconnects, when it does not, and what it subscribes to again."""

import pytest

from mdstream.client.book import Book
from mdstream.client.policy import Policy
from mdstream.client.states import ConnectionState, SubscriptionState
from mdstream.codes import FINAL_CLOSE_CODES, CloseCode
from mdstream.errors import (
    ConnectionFailed,
    ConnectionLost,
    HandshakeRefused,
    ProtocolViolation,
)
from support.desk_book import BTC, with_book


def test_connecting_ends_with_the_welcome(desk):
    desk.core.start(desk.now)
    desk.act()
    desk.core.dialed(desk.now)
    assert desk.core.state is ConnectionState.CONNECTING

    desk.say(desk.welcome())

    assert desk.states == [ConnectionState.CONNECTING, ConnectionState.OPEN]
    assert desk.core.welcome.heartbeat_ms == 15_000
    assert desk.dials == 1


def test_a_subscription_made_before_the_welcome_is_asked_for_after_it(desk):
    book = Book(BTC, desk.core)
    desk.core.subscribe(book, desk.now)
    assert desk.sent == []

    desk.connect()

    assert [command["instruments"] for command in desk.ops("subscribe")] == [["SIM:BTC-USD"]]
    assert book.state is SubscriptionState.PENDING


@pytest.mark.parametrize("code", [*(c for c in CloseCode if c not in FINAL_CLOSE_CODES), 4999])
def test_the_client_reconnects_after_most_close_codes(desk, code):
    desk.connect()

    desk.cut(code)
    desk.wait(0.5)

    assert desk.core.state is ConnectionState.CONNECTING
    assert desk.dials == 2


def test_two_clients_of_a_user_with_one_session_do_not_replace_each_other_for_ever(desk):
    desk.connect()
    book = with_book(desk)
    for again in (1, 2):
        desk.cut(CloseCode.REPLACED, "a newer session")
        desk.wait(5)
        assert desk.dials == 1 + again
        desk.connect()
    desk.cut(CloseCode.REPLACED, "a newer session")
    desk.wait(100)
    assert desk.core.state is ConnectionState.CLOSED and desk.dials == 3
    assert desk.core.error.code == CloseCode.REPLACED and book.ended


def test_who_is_replaced_now_and_then_comes_back(desk):
    desk.connect()
    for _ in range(5):
        desk.cut(CloseCode.REPLACED)
        desk.wait(31)
        desk.connect()
    assert desk.core.state is ConnectionState.OPEN


@pytest.mark.parametrize("code", sorted(FINAL_CLOSE_CODES))
def test_the_client_does_not_reconnect_after_a_final_close_code(desk, code):
    desk.connect()
    book = with_book(desk)

    desk.cut(code, "because")
    desk.wait(100)

    assert desk.core.state is ConnectionState.CLOSED
    assert desk.dials == 1
    assert isinstance(desk.core.error, ConnectionLost)
    assert desk.core.error.code == code
    assert "because" in str(desk.core.error)
    assert book.state is SubscriptionState.ENDED
    assert book.error is desk.core.error


def test_an_expired_token_is_not_final_if_it_can_be_renewed(make_desk):
    desk = make_desk(renewable=True)
    desk.connect()

    desk.cut(CloseCode.TOKEN_EXPIRED)
    desk.wait(0.5)

    assert desk.dials == 2


def test_a_fresh_token_that_is_refused_too_is_final(make_desk):
    desk = make_desk(renewable=True)
    desk.connect()
    desk.cut(CloseCode.TOKEN_EXPIRED)
    desk.wait(0.5)

    desk.core.dial_failed(HandshakeRefused("no", status=401), desk.now)

    assert desk.core.state is ConnectionState.CLOSED
    assert desk.core.error.status == 401


def test_the_delay_grows_until_a_connection_was_healthy(desk):
    desk.connect()
    for delay in (0.5, 1.0, 2.0):
        desk.cut()
        desk.wait(delay - 0.001)
        assert desk.core.state is ConnectionState.RECONNECTING
        desk.wait(0.001)
        assert desk.core.state is ConnectionState.CONNECTING
        desk.connect()

    desk.wait(29.9)
    desk.cut()
    desk.wait(3.999)
    assert desk.core.state is ConnectionState.RECONNECTING, "29.9 s are not healthy yet"
    desk.wait(0.001)
    desk.connect()
    desk.wait(15)
    desk.say([5, 1, []])
    desk.wait(15)
    desk.cut()
    desk.wait(0.5)

    assert desk.core.state is ConnectionState.CONNECTING


def test_the_jitter_is_drawn_from_the_whole_range(make_desk):
    desk = make_desk(random=lambda: 0.1)
    desk.connect()

    desk.cut()
    desk.wait(0.05)

    assert desk.dials == 2


def test_retry_after_is_honoured_with_the_jitter_on_top(desk):
    desk.connect()
    desk.cut()
    desk.wait(0.5)

    desk.core.dial_failed(HandshakeRefused("full", status=503, retry_after_s=7.0), desk.now)

    desk.wait(7.999)
    assert desk.core.state is ConnectionState.RECONNECTING
    desk.wait(0.001)
    assert desk.core.state is ConnectionState.CONNECTING


def test_retry_after_has_a_bound(desk):
    desk.connect()
    desk.cut()
    desk.wait(0.5)

    desk.core.dial_failed(HandshakeRefused("full", status=503, retry_after_s=1e9), desk.now)
    desk.wait(61)

    assert desk.core.state is ConnectionState.CONNECTING


@pytest.mark.parametrize("status", [400, 401, 403])
def test_some_refusals_of_the_upgrade_are_final(desk, status):
    desk.connect()
    desk.cut()
    desk.wait(0.5)

    desk.core.dial_failed(HandshakeRefused("no", status=status), desk.now)

    assert desk.core.state is ConnectionState.CLOSED


def test_a_path_that_is_missing_is_final_only_before_the_first_connection(make_desk):
    missing = HandshakeRefused("no such path", status=404)
    desk = make_desk()
    desk.core.start(desk.now)
    desk.core.dial_failed(missing, desk.now)
    assert desk.core.error is missing

    desk = make_desk()
    desk.connect()
    desk.cut()
    desk.wait(0.5)
    desk.core.dial_failed(missing, desk.now)
    assert desk.core.state is ConnectionState.RECONNECTING
    desk.wait(1)
    assert desk.core.state is ConnectionState.CONNECTING


@pytest.mark.parametrize("error", [ConnectionFailed("refused"), HandshakeRefused("full", status=503)])
def test_the_first_failure_is_final_unless_told_to_persist(make_desk, error):
    desk = make_desk()
    desk.core.start(desk.now)
    desk.core.dial_failed(error, desk.now)
    assert desk.core.state is ConnectionState.CLOSED
    assert desk.core.error is error

    patient = make_desk(policy=Policy(persist=True))
    patient.core.start(patient.now)
    patient.core.dial_failed(error, patient.now)
    assert patient.core.state is ConnectionState.RECONNECTING


def test_drain_is_left_at_its_time_and_not_before(desk):
    desk.connect()
    book = with_book(desk)

    desk.say({"type": "drain", "reconnect_after_ms": 3000, "deadline_ms": 9000})
    desk.say([1, 7, 6, 6, 1, [], [], 0])
    assert desk.core.state is ConnectionState.DRAINING
    assert book.seq == 6, "a draining gateway still serves"
    desk.wait(2.999)
    assert desk.hang_ups == []
    desk.wait(0.001)

    assert [hang_up.code for hang_up in desk.hang_ups] == [CloseCode.GOING_AWAY]
    assert desk.dials == 2
    desk.connect()
    assert desk.ops("subscribe")[-1]["resume"] == {"SIM:BTC-USD": [1, 6]}


def test_a_gateway_that_drains_and_closes_early_is_replaced_at_the_time_it_gave(desk):
    desk.connect()
    desk.say({"type": "drain", "reconnect_after_ms": 3000, "deadline_ms": 9000})

    desk.cut(CloseCode.DRAINING)

    desk.wait(2.999)
    assert desk.dials == 1
    desk.wait(0.001)
    assert desk.dials == 2


def test_silence_of_two_heartbeats_is_a_dead_connection(desk):
    desk.connect()
    book = with_book(desk)
    desk.wait(20)
    desk.say([5, 1, []])

    desk.wait(29.999)
    assert desk.core.state is ConnectionState.OPEN
    desk.wait(0.001)

    assert desk.core.state is ConnectionState.RECONNECTING
    assert desk.hang_ups[-1].abort
    assert book.state is SubscriptionState.DISCONNECTED
    assert not book.trusted


def test_no_welcome_is_a_dead_connection(desk):
    desk.core.start(desk.now)
    desk.core.dialed(desk.now)

    desk.wait(10)

    assert desk.core.state is ConnectionState.CLOSED
    assert isinstance(desk.core.error, ConnectionFailed)
    assert "no welcome" in str(desk.core.error)


@pytest.mark.parametrize("message", [[1, 7, "x"], {"type": "welcome"}, 3])
def test_the_client_leaves_a_gateway_that_breaks_the_contract_and_reconnects(desk, message):
    desk.connect()

    desk.say(message)

    assert desk.core.state is ConnectionState.RECONNECTING
    assert len(desk.hang_ups) == 1
    assert "contract" in desk.core.reason


def test_the_first_message_must_be_the_welcome(desk):
    desk.core.start(desk.now)
    desk.core.dialed(desk.now)

    desk.say([5, 1, []])

    assert desk.core.state is ConnectionState.CLOSED
    assert "heartbeat" in str(desk.core.error)


def test_another_version_of_the_contract_is_refused(desk):
    desk.core.start(desk.now)
    desk.core.dialed(desk.now)

    desk.say({**desk.welcome(), "version": 2})

    assert desk.core.state is ConnectionState.CLOSED
    assert isinstance(desk.core.error, ProtocolViolation)
    assert "version 2" in str(desk.core.error)


def test_closing_hangs_up_and_ends_everything(desk):
    desk.connect()
    book = with_book(desk)

    desk.core.close()
    desk.act()
    desk.wait(100)

    assert desk.core.state is ConnectionState.CLOSED
    assert desk.core.error is None
    assert [hang_up.code for hang_up in desk.hang_ups] == [CloseCode.NORMAL]
    assert book.state is SubscriptionState.ENDED
    assert desk.dials == 1


def test_pings_are_answered_or_given_up(desk):
    answers = []
    desk.core.ping(answers.append)
    assert answers == [None], "there is no connection"
    desk.connect()

    desk.core.ping(answers.append)
    desk.act()
    desk.say({"type": "pong", "id": desk.ops("ping")[0]["id"], "data": None, "time": 1})
    desk.core.ping(answers.append)
    desk.cut()

    assert answers == [None, desk.now, None]


def test_counters(desk):
    desk.connect()
    with_book(desk)
    desk.wall_us = 51_000
    desk.say([1, 7, 6, 6, 1000, [], [], 0])

    assert desk.core.stats.messages == 4
    assert desk.core.stats.updates == 2
    assert desk.core.stats.bytes > 50
    assert desk.core.stats.latency_last_ms == 50.0
    desk.wall_us = 1000
    desk.say([1, 7, 7, 7, 1000, [], [], 0])
    assert desk.core.stats.latency_last_ms == 0.0
    assert desk.core.stats.latency_avg_ms == pytest.approx(49.0)


def test_an_observer_that_raises_does_not_stop_the_stream(desk, caplog):
    desk.connect()
    book = with_book(desk)

    def broken(update):
        raise RuntimeError("mine")

    book.on_update(broken)
    seen = []
    book.on_update(seen.append)
    desk.say([1, 7, 6, 6, 1, [], [], 0])

    assert [update.last for update in seen] == [6]
    assert "mine" in caplog.text


def test_a_useful_connection_of_a_gateway_that_is_well_is_a_success_soon(desk):
    desk.connect()
    with_book(desk)
    for _ in range(3):
        desk.cut()
        desk.wait(20)
        desk.core.dialed(desk.now)
        desk.say({**desk.welcome(), "healthy_ms": 1_000})
        desk.act()
    desk.agree(8)
    desk.say([2, 8, 1, 6, 1, [], [], 0, "subscribe"])
    desk.wait(1)
    desk.cut()
    desk.wait(0.5)
    assert desk.core.state is ConnectionState.CONNECTING


def test_a_connection_that_brought_nothing_is_no_success_however_well_the_gateway_is(desk):
    desk.connect()
    with_book(desk)
    for delay in (0.5, 1.0, 2.0):
        desk.cut()
        desk.wait(delay - 0.001)
        assert desk.core.state is ConnectionState.RECONNECTING
        desk.wait(0.001)
        desk.core.dialed(desk.now)
        desk.say({**desk.welcome(), "healthy_ms": 1_000})
        desk.wait(5)
