"""Several gateways: which one is next, and when all have failed."""

import pytest

from mdstream.client.policy import Policy
from mdstream.client.states import ConnectionState
from mdstream.client.urls import check_url
from mdstream.errors import ConnectionFailed, HandshakeRefused

MISSING = HandshakeRefused("no such path", status=404)
DEAD = ConnectionFailed("refused")


@pytest.fixture
def two(make_desk):
    return make_desk(urls=["ws://a/", "ws://b/"])


def test_the_second_is_tried_at_once_if_the_first_cannot_be_reached(two):
    two.core.start(two.now)
    assert two.core.url == "ws://a/"

    two.core.dial_failed(DEAD, two.now)
    two.act()
    assert (two.core.url, two.dials, two.core.state) == ("ws://b/", 2, ConnectionState.CONNECTING)
    two.connect()

    assert two.core.state is ConnectionState.OPEN


@pytest.mark.parametrize("error", [DEAD, MISSING])
def test_the_last_error_is_raised_if_none_can_be_reached(two, error):
    two.core.start(two.now)
    two.core.dial_failed(MISSING, two.now)
    two.core.dial_failed(error, two.now)

    assert (two.core.state, two.core.error) == (ConnectionState.CLOSED, error)


def test_a_lost_connection_is_replaced_by_one_to_the_next(two):
    two.connect()
    for url in ("ws://b/", "ws://a/", "ws://b/"):
        two.cut()
        two.wait(20)
        assert (two.core.state, two.core.url) == (ConnectionState.CONNECTING, url)
        two.connect()


def test_a_full_gateway_does_not_delay_the_try_at_another(two):
    full = HandshakeRefused("full", status=503, retry_after_s=10)
    two.connect()
    two.cut()
    two.wait(0.5)
    two.connect()  # at b
    two.cut()
    two.wait(1.0)

    two.core.dial_failed(full, two.now)  # a, after b was lost: each has failed now
    two.wait(11.999)
    assert two.core.state is ConnectionState.RECONNECTING
    two.wait(0.001)

    assert two.core.state is ConnectionState.CONNECTING


def test_the_answer_of_one_is_not_final_for_the_others(make_desk):
    desk = make_desk(urls=["ws://a/", "ws://b/"], policy=Policy(persist=True))
    desk.core.start(desk.now)

    desk.core.dial_failed(HandshakeRefused("no", status=403), desk.now)
    desk.wait(0.5)
    assert desk.core.state is ConnectionState.CONNECTING
    desk.core.dial_failed(DEAD, desk.now)
    desk.wait(1)
    desk.core.dial_failed(HandshakeRefused("no", status=403), desk.now)
    desk.wait(2)
    assert desk.core.state is ConnectionState.CONNECTING
    desk.core.dial_failed(HandshakeRefused("no", status=403), desk.now)

    assert desk.core.state is ConnectionState.CLOSED


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "127.0.0.1:8080/v1/stream",
        "http://a/",
        "https://a/",
        "ws://",
        "ws://a:x/",
        "ws://a:70000/",
        "ws://[a/",
        "",
    ],
)
def test_what_is_no_gateway_url_is_refused_in_one_line(url):
    with pytest.raises(
        ValueError, match="gateway URL was .*; it must be ws://host:port/v1/stream or wss://"
    ) as caught:
        check_url(url)
    assert "\n" not in str(caught.value)


def test_without_a_url_there_is_no_client(make_desk):
    with pytest.raises(ValueError, match="there is no gateway URL"):
        make_desk(urls=[])
