"""What all connections of one address, and of one user, may have together; without I/O.

A connection has a ``Visitor`` from its accept to its end. The visitor has a share of what its address has (an IPv4 address or an IPv6
/64) and, once its user is known, of what the user has. Exempt addresses have no shares: nothing is counted for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mdstream._core.entry.headcount import Headcount
from mdstream._core.entry.shares import Share, ShareTable
from mdstream._core.entry.usual_subscribe import ANSWER_BYTES, COMMANDS, DECODED_BYTES, LEVELS
from mdstream._core.entry.visitor import Visitor
from mdstream.auth.identity import NOBODY
from mdstream.gateway.addresses import UNKNOWN, Networks, shown_address
from mdstream.gateway.budget import Cost
from mdstream.gateway.forwarded import LONGEST_VALUE, client_in, forwarded_for, is_short
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
PROXY_TOLD_EVERY_S: Final = 3_600.0

_NAMELESS = frozenset(("none", "anonymous"))
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
_BUDGETS: Final = {
    Kind.COMMANDS: COMMANDS,
    Kind.LEVELS: LEVELS,
    Kind.ANSWER_BYTES: ANSWER_BYTES,
    Kind.DECODED_BYTES: DECODED_BYTES,
}
"""The number of the budget that a share keeps of each rate, where it counts by itself."""


class Shares(ShareTable):
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
        super().__init__(common, most)
        self._tell = tell
        self.scope = scope
        self.bounds: dict[Kind, int] = {}
        self._show = show

    def bind(self, bounds: dict[Kind, int]) -> None:
        """Other bounds from now on, for those that are there too. Budgets are full again."""
        self.bounds = bounds
        rates = {_BUDGETS[kind]: (bounds[kind] * BURST_S, bounds[kind]) for kind in RATES.values()}
        self.set_bounds([bounds[kind] for kind in COUNTED], rates)

    def take(self, share: Share, kind: Kind, amount: float, now_s: float) -> bool:
        """Takes from the share's budget of a rate; False if there is too little left."""
        per_second = self.bounds[kind]
        if not per_second:
            return True
        if self._common is not None and share.row >= 0:
            rate = _RATE_PLACES[kind]
            taken: bool = self._common.take(share.row, rate, amount, per_second * BURST_S, per_second, now_s)
            return taken
        return self.take_own(share, _BUDGETS[kind], amount, now_s)

    def refuse(self, share: Share, kind: Kind, now_s: float) -> str:
        """Tells of a refusal, logs it from time to time, and returns the reason for the client."""
        self._tell(self.scope, kind, share.key)
        reason = f"too many {_WHAT[kind]} of one {self.scope}; {self.bounds[kind]} are allowed"
        if now_s - share.told_s >= TOLD_EVERY_S:
            share.told_s = now_s
            log.warning("%s %s is at its limit: %s", self.scope, self._show(share.key), reason)
        return reason

    def sweep(self, now_s: float) -> None:
        """Forgets what nobody has used for ``KEPT_S``."""
        while self._unused_since:
            key, since_s = next(iter(self._unused_since.items()))
            if now_s - since_s < KEPT_S:
                return
            self._forget(key)


class Limits(Headcount):
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
        of_addresses, of_users = (None, None) if shared is None else (shared.addresses, shared.users)
        super().__init__(
            Shares("address", _show_address, most, tell, of_addresses),
            Shares("user", str, most, tell, of_users),
            now_s,
            NOBODY,
            _NAMELESS,
        )
        self._silent_proxy = UNKNOWN
        self._proxy_told_s = -PROXY_TOLD_EVERY_S
        self.passed_on_total = 0
        """Clients without limits that came by way of a proxy, by what they asked."""
        self.use(config)

    def use(self, config: GatewayConfig) -> None:
        """Other limits from now on; connections that are open stay."""
        self._exempt = Networks(config.limits_exempt)
        self._trusted = Networks(config.proxies_trusted)
        self._protocol = config.proxies_protocol
        self.has_proxies = bool(config.proxies_trusted)
        self.addresses.bind(bounds_of(config, "address"))
        self.users.bind(bounds_of(config, "user"))

    def sweep(self) -> None:
        """Call about once a second."""
        for shares in (self.addresses, self.users):
            shares.sweep(self._now_s())

    # ---- connections

    def begins_with_proxy_header(self, peer: bytes) -> bool:
        """Whether a connection from there begins with a PROXY protocol header."""
        return self.has_proxies and self._protocol == "proxy-v2" and peer in self._trusted

    def requested(self, visitor: Visitor, head: bytes) -> str | None:
        """The upgrade request has come, from which the address is known at the latest. Why it must be refused, else None."""
        if self.is_hidden(visitor):
            if not is_short(head):
                return "too many headers, or items in them"
            if why := self.begin_handshake(visitor, self._forwarded(visitor.peer, head)):
                return why
        return None if visitor.place is None else self.admit(visitor)

    def admit(self, visitor: Visitor) -> str | None:
        """Call when everything else allows the upgrade, and its answer is given at once. Why it must be refused, else None."""
        full = self.full(visitor)
        return None if full is None else full[0].refuse(full[1], Kind.CONNECTIONS, self._now_s())

    # ---- commands

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
        if self.has_user(visitor) and visitor.user is None:
            visitor.user = self.users.use(visitor.identity.subject)
            self.users.release(visitor.user, self._now_s())
        return self.charge(visitor, cost, amount)

    def check_room(self, visitor: Visitor, more: int) -> str | None:
        """Why there is no room for so many more subscriptions, else None."""
        full = self.without_room(visitor, more)
        return None if full is None else full[0].refuse(full[1], Kind.SUBSCRIPTIONS, self._now_s())

    def shown(self, visitor: Visitor) -> dict[str, dict[str, int]]:
        """The limits that a client is told: ``{"address": {"connections": 1000, …}, "user": {…}}``."""
        return {
            shares.scope: {kind.value: shares.bounds[kind] for kind in Kind if kind is not Kind.HANDSHAKES}
            for shares, _ in self._shares_of(visitor)
        }

    def behind(self, x_forwarded_for: bytes | None, forwarded: bytes | None) -> bytes | None:
        """The address of a client behind a trusted proxy, by headers that its request has once; None: ``requested`` finds it."""
        value = x_forwarded_for if self._protocol == "x-forwarded-for" else forwarded
        if value is None or len(value) > LONGEST_VALUE or self._protocol == "proxy-v2":
            return None
        return client_in(value, self._protocol, self._trusted)

    def passed_on(self, peer: bytes) -> None:
        """A client without limits seems to have come by way of ``peer``. Trusted proxies that name nobody are told of elsewhere."""
        if peer in self._trusted:
            return
        self.passed_on_total += 1
        now_s = self._now_s()
        if now_s - self._proxy_told_s >= PROXY_TOLD_EVERY_S:
            self._proxy_told_s = now_s
            log.warning(
                "clients come by way of %s, which has no limits, so they have none either: if it is a proxy, name it in proxies_trusted",
                shown_address(peer),
            )

    # ----

    def _forwarded(self, peer: bytes, head: bytes) -> bytes:
        if self._protocol == "proxy-v2":
            return peer
        address = forwarded_for(head, self._protocol, self._trusted)
        if address is None and self._silent_proxy != peer:
            self._silent_proxy = peer
            exempt = peer in self._exempt
            log.warning(
                "proxy %s sends no address in %s: all its clients %s",
                shown_address(peer),
                self._protocol,
                "have no limits, as limits_exempt names the proxy" if exempt else "count as one address",
            )
        return peer if address is None else address

    def _refuse_handshake(self, place: Share) -> str:
        why: str = self.addresses.refuse(place, Kind.HANDSHAKES, self._now_s())
        return why

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
