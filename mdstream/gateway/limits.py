"""What all connections of one address, and of one user, may have together; without I/O.

A connection has a ``Visitor`` from its accept to its end. The visitor has a share of what its address has (an IPv4 address or an IPv6
/64) and, once its user is known, of what the user has. Exempt addresses have no shares: nothing is counted for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from mdstream._core.entry.visitor import Visitor
from mdstream.auth.identity import NOBODY
from mdstream.gateway.addresses import UNKNOWN, Networks, shown_address, site_of
from mdstream.gateway.budget import Budget, Charge, Cost
from mdstream.gateway.forwarded import forwarded_for, is_short
from mdstream.gateway.shared_limits import Common, SharedLimits

if TYPE_CHECKING:
    from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway.limits")

BURST_S: Final = 10.0
"""A share's budget holds what it gets in this time."""
KEPT_S: Final = 60.0
"""A share that nobody uses is forgotten after it; its budgets are full again long before."""
MOST_SHARES: Final = 65_536
"""Of addresses, and again of users; beyond that the ones that are unused for longest go first."""
TOLD_EVERY_S: Final = 60.0

_NAMELESS = ("none", "anonymous")
"""Methods that do not tell one user from another: the address is all that is known."""


class Kind(StrEnum):
    """What is limited."""

    __hash__ = (
        str.__hash__
    )  # that of enumerations is a function in Python, and these are keys for each connection

    CONNECTIONS = "connections"
    HANDSHAKES = "handshakes"
    SUBSCRIPTIONS = "subscriptions"
    COMMANDS = "commands_per_second"
    DECODED_BYTES = "decoded_bytes_per_second"
    LEVELS = "levels_per_second"
    ANSWER_BYTES = "answer_bytes_per_second"


Tell = Callable[[str, Kind, bytes | str], None]
"""Hears of a limit that was reached: the scope, the kind, and whose it is, an address as bytes."""

COUNTED: Final = (Kind.CONNECTIONS, Kind.HANDSHAKES, Kind.SUBSCRIPTIONS)

RATES: Final = {Cost(kind.removesuffix("_per_second")): kind for kind in Kind if kind.endswith("_per_second")}
"""What each cost of a session is charged to."""
_WHAT = {
    Kind.CONNECTIONS: "connections",
    Kind.HANDSHAKES: "connections in their handshake",
    Kind.SUBSCRIPTIONS: "subscriptions",
    Kind.COMMANDS: "commands a second",
    Kind.DECODED_BYTES: "bytes of messages a second",
    Kind.LEVELS: "levels read a second",
    Kind.ANSWER_BYTES: "bytes of answers a second",
}
_RATE_PLACES: Final = {kind: place for place, kind in enumerate(RATES.values())}
"""Where the workers of a gateway keep each budget together."""


class Share:
    """What one address or one user has now."""

    __slots__ = ("budgets", "connections", "handshakes", "key", "row", "subscriptions", "told_s")

    def __init__(self, key: bytes | str) -> None:
        self.key = key
        self.connections = self.handshakes = self.subscriptions = 0
        self.budgets: dict[Kind, Budget] = {}
        self.told_s = float("-inf")
        self.row = -1
        """Where the workers of this gateway count it together."""

    @property
    def is_unused(self) -> bool:
        return not (self.connections or self.handshakes or self.subscriptions)


class Shares:
    """The shares of all addresses, or of all users, within the same bounds; a bound of 0 is none."""

    def __init__(
        self,
        scope: str,
        show: Callable[[bytes | str], str],
        most: int = MOST_SHARES,
        tell: Tell = lambda scope, kind, name: None,
        common: Common | None = None,
    ) -> None:
        """``scope`` is ``address`` or ``user``; ``show`` names a key for people; ``tell`` hears of each refusal. ``common``: what
        other processes of this gateway have counts too."""
        self._tell = tell
        self._common = common
        self.scope = scope
        self.bounds: dict[Kind, int] = {}
        self._show = show
        self._most = most
        self._shares: dict[bytes | str, Share] = {}
        self._unused_since: dict[bytes | str, float] = {}
        """In the order of time."""

    def __len__(self) -> int:
        return len(self._shares)

    def bind(self, bounds: dict[Kind, int]) -> None:
        """Other bounds from now on, for those that are there too. Budgets are full again."""
        self.bounds = bounds
        for share in self._shares.values():
            share.budgets.clear()
            if self._common is not None:
                self._common.fill(share.row)

    def use(self, key: bytes | str) -> Share:
        """The share of this address or user, to be counted in at once."""
        self._unused_since.pop(key, None)
        share = self._shares.get(key)
        if share is None:
            if len(self._shares) >= self._most and self._unused_since:
                self._forget(next(iter(self._unused_since)))
            share = self._shares[key] = Share(key)
            if self._common is not None:
                share.row = self._common.hold(key)
        return share

    def find(self, key: bytes | str, now_s: float) -> Share | None:
        """The share of this address or user, if it may have anything, here or in another process."""
        share = self._shares.get(key)
        if share is None and self._common is not None:
            share = self.use(key)
            self.release(share, now_s)
        return share

    def is_full(self, share: Share, kind: Kind, have: int, more: int = 1) -> bool:
        bound = self.bounds[kind]
        if bound and self._common is not None:
            have += self._common.elsewhere(share.row, COUNTED.index(kind))
        return 0 < bound < have + more

    def changed(self, share: Share) -> None:
        """Call when a count of it has changed."""
        if self._common is not None:
            self._common.put(share.row, (share.connections, share.handshakes, share.subscriptions))

    def take(self, share: Share, kind: Kind, amount: float, now_s: float) -> bool:
        """Takes from the share's budget of a rate; False if there is too little left."""
        per_second = self.bounds[kind]
        if not per_second:
            return True
        if self._common is not None and share.row >= 0:
            rate = _RATE_PLACES[kind]
            return self._common.take(share.row, rate, amount, per_second * BURST_S, per_second, now_s)
        budget = share.budgets.get(kind)
        if budget is None:
            budget = share.budgets[kind] = Budget(per_second * BURST_S, per_second, now_s)
        return budget.take(now_s, amount)

    def refuse(self, share: Share, kind: Kind, now_s: float) -> str:
        """Tells of a refusal, logs it from time to time, and returns the reason for the client."""
        self._tell(self.scope, kind, share.key)
        reason = f"too many {_WHAT[kind]} of one {self.scope}; {self.bounds[kind]} are allowed"
        if now_s - share.told_s >= TOLD_EVERY_S:
            share.told_s = now_s
            log.warning("%s %s is at its limit: %s", self.scope, self._show(share.key), reason)
        return reason

    def release(self, share: Share, now_s: float) -> None:
        """Call when something of it has ended."""
        if share.is_unused and self._shares.get(share.key) is share:
            self._unused_since[share.key] = now_s

    def sweep(self, now_s: float) -> None:
        """Forgets what nobody has used for ``KEPT_S``."""
        while self._unused_since:
            key, since_s = next(iter(self._unused_since.items()))
            if now_s - since_s < KEPT_S:
                return
            self._forget(key)

    def _forget(self, key: bytes | str) -> None:
        del self._unused_since[key]
        share = self._shares.pop(key)
        if self._common is not None:
            self._common.release(share.row)


@dataclass(frozen=True, slots=True)
class _Proxies:
    trusted: Networks
    protocol: str


class Limits:
    """Decides on connections and commands; tell it of everything that begins and ends. ``now_s`` is monotonic."""

    def __init__(
        self,
        config: GatewayConfig,
        now_s: Callable[[], float],
        most: int = MOST_SHARES,
        *,
        tell: Tell = lambda scope, kind, name: None,
        shared: SharedLimits | None = None,
    ) -> None:
        """``shared``: counts that the workers of a gateway keep together."""
        self._now_s = now_s
        of_addresses, of_users = (None, None) if shared is None else (shared.addresses, shared.users)
        self.addresses = Shares("address", _show_address, most, tell, of_addresses)
        self.users = Shares("user", str, most, tell, of_users)
        self._silent_proxy = UNKNOWN
        self.use(config)

    def use(self, config: GatewayConfig) -> None:
        """Other limits from now on; connections that are open stay."""
        self._exempt = Networks(config.limits_exempt)
        self._proxies = _Proxies(Networks(config.proxies_trusted), config.proxies_protocol)
        self.has_proxies = bool(config.proxies_trusted)
        """Whether any connection may come through one."""
        self.addresses.bind(bounds_of(config, "address"))
        self.users.bind(bounds_of(config, "user"))

    def sweep(self) -> None:
        """Call about once a second."""
        for shares in (self.addresses, self.users):
            shares.sweep(self._now_s())

    # ---- connections

    def begins_with_proxy_header(self, peer: bytes) -> bool:
        """Whether a connection from there begins with a PROXY protocol header."""
        return self.has_proxies and self._proxies.protocol == "proxy-v2" and peer in self._proxies.trusted

    def arrive(self, peer: bytes, address: bytes | None = None) -> Visitor | None:
        """A new connection; ``address``: the client's, where a PROXY header told it. None if too many of its address are half-open."""
        visitor = Visitor(peer, NOBODY)
        if address is not None:
            visitor.address = address
        elif self.has_proxies and peer in self._proxies.trusted:
            return visitor  # its request will tell
        return visitor if self._begin_handshake(visitor) is None else None

    def requested(self, visitor: Visitor, head: bytes) -> str | None:
        """The upgrade request has come, from which the address is known at the latest. Why it must be refused, else None."""
        if self.has_proxies and visitor.place is None and visitor.peer in self._proxies.trusted:
            if not is_short(head):
                return "too many headers, or items in them"
            visitor.address = self._forwarded(visitor.peer, head)
            if why := self._begin_handshake(visitor):
                return why
        return None if visitor.place is None else self._full_address(visitor)

    def has_place(self, visitor: Visitor) -> bool:
        """Whether one whose address is known, and whose user is not, may have a session; nobody is told if not."""
        if visitor.place is None:
            return visitor.is_exempt
        return not self.addresses.is_full(visitor.place, Kind.CONNECTIONS, visitor.place.connections)

    def admit(self, visitor: Visitor) -> str | None:
        """Call when everything else allows the upgrade, and its answer is given at once. Why it must be refused, else None."""
        has_user = self._has_user(visitor)
        user = self.users.find(visitor.identity.subject, self._now_s()) if has_user else None
        if user is not None and self.users.is_full(user, Kind.CONNECTIONS, user.connections):
            return self.users.refuse(user, Kind.CONNECTIONS, self._now_s())
        return self._full_address(visitor)

    def answered(self, visitor: Visitor) -> None:
        """The connection is no longer half-open: its request is answered, or it has ended before."""
        if visitor.is_half_open and visitor.place is not None:
            visitor.is_half_open = False
            visitor.place.handshakes -= 1
            self.addresses.changed(visitor.place)
            self.addresses.release(visitor.place, self._now_s())

    def entered(self, visitor: Visitor) -> None:
        """The session has begun."""
        visitor.is_in = True
        if visitor.is_exempt:
            return
        if self._has_user(visitor):
            visitor.user = self.users.use(visitor.identity.subject)
        if visitor.is_counted:
            for shares, share in self._shares_of(visitor):
                share.connections += 1
                shares.changed(share)
            self.answered(visitor)

    def left(self, visitor: Visitor) -> None:
        """The session has ended, and all its subscriptions with it."""
        if not visitor.is_in:
            return
        self.subscribed(visitor, 0)
        visitor.is_in = False
        for shares, share in self._shares_of(visitor):
            share.connections -= 1
            shares.changed(share)
            shares.release(share, self._now_s())

    # ---- commands

    def charger(self, visitor: Visitor) -> Charge | None:
        """Charges what the visitor's session costs; None if nobody counts it."""
        return partial(self.charge, visitor) if visitor.is_counted else None

    def charge(self, visitor: Visitor, cost: Cost, amount: float = 1) -> str | None:
        """Takes from the budgets of a rate. Why it must be refused, else None."""
        kind = RATES.get(cost)
        if kind is None:
            return None
        for shares, share in self._shares_of(visitor):
            if not shares.take(share, kind, amount, self._now_s()):
                return shares.refuse(share, kind, self._now_s())
        return None

    def charge_request(self, visitor: Visitor, cost: Cost, amount: float = 1) -> str | None:
        """As ``charge``, of one who has no session."""
        if self._has_user(visitor) and visitor.user is None:
            visitor.user = self.users.use(visitor.identity.subject)
            self.users.release(visitor.user, self._now_s())
        return self.charge(visitor, cost, amount)

    def has_room(self, visitor: Visitor, more: int) -> bool:
        """Whether there is room for so many more subscriptions."""
        place, user = visitor.place, visitor.user
        if place is None and user is None:
            return True
        if place is not None and self.addresses.is_full(place, Kind.SUBSCRIPTIONS, place.subscriptions, more):
            return False
        return user is None or not self.users.is_full(user, Kind.SUBSCRIPTIONS, user.subscriptions, more)

    def check_room(self, visitor: Visitor, more: int) -> str | None:
        """Why there is no room for so many more subscriptions, else None."""
        for shares, share in self._shares_of(visitor):
            if shares.is_full(share, Kind.SUBSCRIPTIONS, share.subscriptions, more):
                return shares.refuse(share, Kind.SUBSCRIPTIONS, self._now_s())
        return None

    def subscribed(self, visitor: Visitor, have: int) -> None:
        """How many subscriptions the session has now."""
        more = have - visitor.subscriptions
        if not more or not visitor.is_in or not visitor.is_counted:
            return
        visitor.subscriptions = have
        for shares, share in self._shares_of(visitor):
            share.subscriptions += more
            shares.changed(share)

    def shown(self, visitor: Visitor) -> dict[str, dict[str, int]]:
        """The limits that a client is told: ``{"address": {"connections": 1000, …}, "user": {…}}``."""
        return {
            shares.scope: {kind.value: shares.bounds[kind] for kind in Kind if kind is not Kind.HANDSHAKES}
            for shares, _ in self._shares_of(visitor)
        }

    # ----

    def _forwarded(self, peer: bytes, head: bytes) -> bytes:
        if self._proxies.protocol == "proxy-v2":
            return peer
        address = forwarded_for(head, self._proxies.protocol, self._proxies.trusted)
        if address is None and self._silent_proxy != peer:
            self._silent_proxy = peer
            log.warning(
                "proxy %s sends no address in %s: all its clients count as one address",
                shown_address(peer),
                self._proxies.protocol,
            )
        return peer if address is None else address

    def _has_user(self, visitor: Visitor) -> bool:
        return not visitor.is_exempt and visitor.identity.method not in _NAMELESS

    def _begin_handshake(self, visitor: Visitor) -> str | None:
        """Why a connection must be refused before its request is looked at; else None, and it is counted."""
        visitor.is_exempt = visitor.address in self._exempt
        if visitor.is_exempt:
            return None
        place = self.addresses.use(site_of(visitor.address))
        if self.addresses.is_full(place, Kind.HANDSHAKES, place.handshakes):
            return self.addresses.refuse(place, Kind.HANDSHAKES, self._now_s())
        visitor.place, visitor.is_half_open = place, True
        place.handshakes += 1
        self.addresses.changed(place)
        return None

    def _full_address(self, visitor: Visitor) -> str | None:
        place = visitor.place
        if place is None or not self.addresses.is_full(place, Kind.CONNECTIONS, place.connections):
            return None
        return self.addresses.refuse(place, Kind.CONNECTIONS, self._now_s())

    def _shares_of(self, visitor: Visitor) -> list[tuple[Shares, Share]]:
        found = []
        if visitor.place is not None:
            found.append((self.addresses, visitor.place))
        if visitor.user is not None:
            found.append((self.users, visitor.user))
        return found


def bounds_of(config: GatewayConfig, scope: str) -> dict[Kind, int]:
    """The configured limits of ``address`` or ``user``; 0 is none."""
    bounds = {kind: getattr(config, f"limits_{scope}_{kind}", 0) for kind in Kind}
    if bounds[Kind.CONNECTIONS] is None:
        bounds[Kind.CONNECTIONS] = max(config.max_connections // 10, 1)
    if bounds[Kind.HANDSHAKES] is None:
        bounds[Kind.HANDSHAKES] = max(config.max_handshakes // 10, 1)
    return bounds


def _show_address(key: bytes | str) -> str:
    return shown_address(key) if isinstance(key, bytes) else key
