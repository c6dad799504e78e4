from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from mdstream._core.entry.visitor import Visitor
from mdstream.auth.entitlements import ALL
from mdstream.auth.identity import Identity
from mdstream.gateway.addresses import parse_address
from mdstream.gateway.budget import Cost
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.limits import KEPT_S, Kind, Limits
from mdstream.gateway.shared_limits import SharedLimits, create

HEAD = b"GET /v1/stream HTTP/1.1\r\nHost: a"


class World:
    """Limits by a clock that stands still."""

    def __init__(self, most: int = 100, *, shared: SharedLimits | None = None, **config: Any) -> None:
        self.now_s = 1000.0
        self.told: Counter[tuple[str, str]] = Counter()
        self.limits = Limits(
            GatewayConfig(node="test", **config),
            lambda: self.now_s,
            most,
            tell=lambda scope, kind, name: self.told.update([(scope, kind)]),
            shared=shared,
        )

    def arrive(self, text: str = "203.0.113.7") -> Visitor | None:
        return self.limits.arrive(bytes(parse_address(text) or b""))

    def enter(self, text: str = "203.0.113.7", subject: str = "", head: bytes = HEAD) -> Visitor | str:
        """A connection up to its session, or why it is refused."""
        visitor = self.arrive(text)
        if visitor is None:
            return "half-open"
        if subject:
            visitor.identity = Identity(subject, "jwt", ALL)
        why = self.limits.requested(visitor, head) or self.limits.admit(visitor)
        if why:
            self.limits.answered(visitor)
            return why
        self.limits.entered(visitor)
        return visitor


def entered(visitor: Visitor | str) -> Visitor:
    assert isinstance(visitor, Visitor), visitor
    return visitor


@pytest.fixture
def world() -> type[World]:
    return World


def test_one_address_has_a_tenth_of_all_places_unless_told_otherwise(world: type[World]) -> None:
    for config, places in (
        ({"max_connections": 30}, 3),
        ({"max_connections": 3}, 1),
        ({"limits_address_connections": 2}, 2),
    ):
        on = world(**config)
        inside = [entered(on.enter()) for _ in range(places)]
        assert on.enter() == f"too many connections of one address; {places} are allowed"
        entered(on.enter("203.0.113.8"))
        on.limits.left(inside[0])
        entered(on.enter())


def test_zero_is_no_limit(world: type[World]) -> None:
    on = world(limits_address_connections=0, limits_address_commands_per_second=0)
    visitors = [entered(on.enter()) for _ in range(2000)]
    assert all(on.limits.charge(visitors[0], Cost.COMMANDS) is None for _ in range(100_000))


def test_an_ipv6_64_counts_as_one_and_mapped_addresses_as_ipv4(world: type[World]) -> None:
    on = world(limits_address_connections=1)
    entered(on.enter("2001:db8:1:2::1"))
    assert isinstance(on.enter("2001:db8:1:2:ffff:ffff:ffff:ffff"), str)
    entered(on.enter("2001:db8:1:3::1"))
    entered(on.enter("203.0.113.7"))
    assert isinstance(on.enter("::ffff:203.0.113.7"), str)


def test_loopback_is_exempt_unless_told_otherwise(world: type[World]) -> None:
    on = world(limits_address_connections=1)
    for text in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        for _ in range(5):
            visitor = entered(on.enter(text, subject="alice"))
        assert (visitor.place, visitor.user) == (None, None)
    assert len(on.limits.addresses) == len(on.limits.users) == 0
    on = world(limits_address_connections=1, limits_exempt=("192.0.2.0/24",))
    entered(on.enter("127.0.0.1"))
    assert isinstance(on.enter("127.0.0.1"), str)
    entered(on.enter("192.0.2.1"))
    entered(on.enter("192.0.2.1"))


def test_half_open_connections_of_one_address_are_bounded(world: type[World]) -> None:
    on = world(limits_address_handshakes=2)
    waiting = [on.arrive(), on.arrive()]
    assert on.arrive() is None
    assert on.arrive("203.0.113.8") is not None
    on.limits.answered(waiting[0])
    on.limits.answered(waiting[0])
    assert on.arrive() is not None
    assert on.arrive() is None
    assert on.told == {("address", Kind.HANDSHAKES): 2}


def test_a_user_is_limited_over_all_addresses(world: type[World]) -> None:
    on = world(limits_user_connections=2)
    first = entered(on.enter("203.0.113.1", "alice"))
    entered(on.enter("203.0.113.2", "alice"))
    assert on.enter("203.0.113.3", "alice") == "too many connections of one user; 2 are allowed"
    entered(on.enter("203.0.113.3", "bob"))
    on.limits.left(first)
    entered(on.enter("203.0.113.3", "alice"))


@pytest.mark.parametrize("method", ["none", "anonymous"])
def test_who_has_no_name_is_limited_by_address_alone(world: type[World], method: str) -> None:
    on = world(limits_user_connections=1)
    for _ in range(3):
        visitor = on.arrive()
        assert visitor is not None
        visitor.identity = Identity("anonymous", method, ALL)
        assert on.limits.requested(visitor, HEAD) is None and on.limits.admit(visitor) is None
        on.limits.entered(visitor)
        assert visitor.user is None


def test_commands_and_bytes_come_from_budgets_that_refill(world: type[World]) -> None:
    on = world(limits_address_commands_per_second=5, limits_user_decoded_bytes_per_second=100)
    one, other = entered(on.enter(subject="alice")), entered(on.enter("203.0.113.8", subject="alice"))
    assert [on.limits.charge(one, Cost.COMMANDS) for _ in range(50)] == 50 * [None]
    assert on.limits.charge(one, Cost.COMMANDS) == "too many commands a second of one address; 5 are allowed"
    assert on.limits.charge(other, Cost.COMMANDS) is None
    on.now_s += 1
    assert [on.limits.charge(one, Cost.COMMANDS) is None for _ in range(6)] == [*5 * [True], False]
    assert on.limits.charge(one, Cost.DECODED_BYTES, 600) is None
    why = on.limits.charge(other, Cost.DECODED_BYTES, 600)
    assert why == "too many bytes of messages a second of one user; 100 are allowed"
    assert on.limits.charge(one, Cost.CONTROL_FRAMES, 10**9) is None
    assert on.limits.charge(one, Cost.LEVELS, 1) is None


def test_subscriptions_are_counted_over_all_connections(world: type[World]) -> None:
    on = world(limits_address_subscriptions=10, limits_user_subscriptions=8)
    one, other = entered(on.enter(subject="alice")), entered(on.enter(subject="bob"))
    on.limits.subscribed(one, 7)
    assert on.limits.has_room(other, 3) and not on.limits.has_room(other, 4)
    assert on.limits.check_room(other, 4) == "too many subscriptions of one address; 10 are allowed"
    assert on.limits.check_room(one, 2) == "too many subscriptions of one user; 8 are allowed"
    on.limits.subscribed(one, 2)
    assert on.limits.check_room(other, 4) is None
    on.limits.left(one)
    assert on.limits.check_room(other, 8) is None
    on.limits.left(one)  # once more changes nothing
    assert not on.limits.has_room(other, 11)


def test_only_trusted_proxies_are_believed(world: type[World]) -> None:
    head = HEAD + b"\r\nX-Forwarded-For: 1.1.1.1, 198.51.100.9"
    on = world(proxies_trusted=("10.0.0.0/8",), limits_address_connections=1)
    entered(on.enter("203.0.113.7", head=head))
    assert isinstance(on.enter("203.0.113.7", head=HEAD + b"\r\nX-Forwarded-For: 198.51.100.77"), str)
    by_proxy = entered(on.enter("10.0.0.1", head=head))
    assert by_proxy.address == parse_address("198.51.100.9")
    assert isinstance(on.enter("10.0.0.2", head=head), str)
    entered(on.enter("10.0.0.1", head=HEAD + b"\r\nX-Forwarded-For: 198.51.100.10"))


def test_a_client_of_a_proxy_on_this_machine_is_not_exempt(world: type[World]) -> None:
    on = world(proxies_trusted=("127.0.0.1/32",), limits_address_connections=1)
    head = HEAD + b"\r\nX-Forwarded-For: 127.0.0.1, 198.51.100.9"
    entered(on.enter("127.0.0.1", head=head))
    assert isinstance(on.enter("127.0.0.1", head=head), str)


@pytest.mark.parametrize(
    ("peer", "told"), [("10.0.0.1", "count as one address"), ("127.0.0.1", "have no limits")]
)
def test_a_proxy_that_names_nobody_is_told_of_once(
    world: type[World], caplog: pytest.LogCaptureFixture, peer: str, told: str
) -> None:
    on = world(proxies_trusted=("10.0.0.0/8", "127.0.0.1/32"))
    for _ in range(3):
        assert entered(on.enter(peer)).address == parse_address(peer)
    assert len(caplog.messages) == 1
    assert f"proxy {peer} sends no address in x-forwarded-for: all its clients {told}" in caplog.text


def test_a_proxy_header_names_the_client_before_its_request(world: type[World]) -> None:
    on = world(proxies_trusted=("10.0.0.0/8",), proxies_protocol="proxy-v2", limits_address_handshakes=1)
    proxy, client = bytes((10, 0, 0, 1)), bytes((198, 51, 100, 9))
    assert on.limits.begins_with_proxy_header(proxy)
    assert not on.limits.begins_with_proxy_header(client)
    assert on.limits.arrive(proxy, client) is not None
    assert on.limits.arrive(proxy, client) is None
    visitor = on.limits.arrive(proxy, bytes((198, 51, 100, 10)))
    assert visitor is not None
    on.limits.requested(visitor, HEAD + b"\r\nX-Forwarded-For: 1.1.1.1")
    assert visitor.address == bytes((198, 51, 100, 10))


def test_what_nobody_uses_is_forgotten_and_what_is_used_is_not(world: type[World]) -> None:
    on = world()
    gone, here = entered(on.enter("203.0.113.1", "alice")), entered(on.enter("203.0.113.2", "bob"))
    refused = on.arrive("203.0.113.3")
    assert refused is not None
    on.limits.answered(refused)
    on.limits.left(gone)
    on.now_s += KEPT_S - 1
    on.limits.sweep()
    assert (len(on.limits.addresses), len(on.limits.users)) == (3, 2)
    entered(on.enter("203.0.113.3"))
    on.now_s += 1
    on.limits.sweep()
    assert (len(on.limits.addresses), len(on.limits.users)) == (2, 1)
    on.limits.left(here)
    on.now_s += KEPT_S
    on.limits.sweep()
    assert (len(on.limits.addresses), len(on.limits.users)) == (1, 0)


def test_what_is_remembered_is_bounded(world: type[World]) -> None:
    on = world(most=10)
    stays = entered(on.enter("203.0.113.1"))
    for number in range(1000):
        on.limits.left(entered(on.enter(f"198.51.{number >> 8}.{number & 255}", f"user {number}")))
    assert (len(on.limits.addresses), len(on.limits.users)) == (10, 10)
    assert stays.place is on.limits.addresses.use(bytes((203, 0, 113, 1)))


def test_a_flood_writes_a_line_a_minute(world: type[World], caplog: pytest.LogCaptureFixture) -> None:
    on = world(limits_address_connections=1)
    entered(on.enter())
    for _ in range(100):
        on.enter()
    assert len(caplog.messages) == 1
    assert "address 203.0.113.7 is at its limit" in caplog.text
    on.now_s += 60
    on.enter()
    assert len(caplog.messages) == 2
    assert on.told == {("address", Kind.CONNECTIONS): 101}


def test_new_limits_count_for_those_that_are_there(world: type[World]) -> None:
    on = world(limits_address_connections=5, limits_address_commands_per_second=1)
    visitor = entered(on.enter())
    assert [on.limits.charge(visitor, Cost.COMMANDS) is None for _ in range(11)] == [*10 * [True], False]
    on.limits.use(
        GatewayConfig(node="test", limits_address_connections=1, limits_address_commands_per_second=2)
    )
    assert isinstance(on.enter(), str)
    assert [on.limits.charge(visitor, Cost.COMMANDS) is None for _ in range(21)] == [*20 * [True], False]


def test_a_client_is_told_the_limits_that_it_has(world: type[World]) -> None:
    on = world(limits_user_subscriptions=7, max_connections=50)
    shown = on.limits.shown(entered(on.enter(subject="alice")))
    assert list(shown) == ["address", "user"]
    assert shown["address"] == {
        "connections": 5,
        "subscriptions": 20_000,
        "commands_per_second": 2_000,
        "decoded_bytes_per_second": 1_048_576,
        "levels_per_second": 5_000_000,
        "answer_bytes_per_second": 67_108_864,
    }
    assert shown["user"]["subscriptions"] == 7
    assert list(on.limits.shown(entered(on.enter("203.0.113.9")))) == ["address"]
    assert on.limits.shown(entered(on.enter("127.0.0.1"))) == {}


# ---- several workers


class Workers:
    """The limits of several workers of one gateway."""

    def __init__(self, world: type[World], count: int, **config: Any) -> None:
        fd = create(count + 1)
        self.shared = [SharedLimits(fd, count + 1, column, b"secret") for column in range(count + 1)]
        os.close(fd)
        self.each = [world(shared=shared, **config) for shared in self.shared[1:]]

    def died(self, number: int) -> None:
        self.shared[0].clear(number + 1)


def test_connections_of_one_address_and_one_user_count_over_all_workers(world: type[World]) -> None:
    workers = Workers(world, 3, limits_address_connections=4, limits_user_connections=2)
    one, two, three = workers.each
    alice = entered(one.enter("203.0.113.7", "alice"))
    entered(two.enter("203.0.113.8", "alice"))
    assert "2 are allowed" in str(three.enter("203.0.113.9", "alice"))
    for each, name in ((two, "bob"), (three, "carol"), (three, "dave")):
        entered(each.enter("203.0.113.7", name))
    assert "4 are allowed" in str(one.enter("203.0.113.7", "eve"))
    one.limits.left(alice)
    entered(three.enter("203.0.113.9", "alice"))
    entered(two.enter("203.0.113.7", "eve"))


def test_what_a_worker_had_is_free_again_once_it_has_died(world: type[World]) -> None:
    workers = Workers(world, 2, limits_address_connections=3)
    one, two = workers.each
    for _ in range(3):
        entered(one.enter())
    assert "3 are allowed" in str(two.enter())
    workers.died(0)
    for _ in range(3):
        entered(two.enter())
    assert "3 are allowed" in str(two.enter())


def test_rates_and_subscriptions_of_one_user_count_over_all_workers(world: type[World]) -> None:
    config = {"limits_user_commands_per_second": 1, "limits_user_subscriptions": 10}
    one, two = Workers(world, 2, **config).each
    here, there = (entered(each.enter(subject="alice")) for each in (one, two))
    for _ in range(5):
        assert one.limits.charge(here, Cost.COMMANDS) is None
        assert two.limits.charge(there, Cost.COMMANDS) is None
    assert "commands a second" in str(one.limits.charge(here, Cost.COMMANDS))
    one.limits.subscribed(here, 7)
    assert two.limits.has_room(there, 3)
    assert not two.limits.has_room(there, 4)


def test_half_open_connections_of_one_address_count_over_all_workers(world: type[World]) -> None:
    one, two = Workers(world, 2, limits_address_handshakes=2).each
    waiting = [one.arrive(), two.arrive()]
    assert one.arrive() is two.arrive() is None
    assert waiting[0] is not None
    one.limits.answered(waiting[0])
    assert two.arrive() is not None
