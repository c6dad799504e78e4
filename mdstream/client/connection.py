"""One connection at a time to one of several gateways: dialled, heard or silent, sent away, lost, and dialled again.

Without I/O, and without what is subscribed on it: `ClientCore` adds that. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from mdstream.client import events, protocol
from mdstream.client.actions import Action, DialNow, HangUp, Send
from mdstream.client.backoff import Backoff, Contest
from mdstream.client.health import Health
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.policy import FINAL_STATUSES, Policy
from mdstream.client.protocol import Codec, Command
from mdstream.client.states import ConnectionState, Stats
from mdstream.client.urls import Urls
from mdstream.codes import FINAL_CLOSE_CODES, CloseCode
from mdstream.errors import (
    ClientError,
    ConnectionFailed,
    ConnectionLost,
    HandshakeRefused,
    ProtocolViolation,
)


class Connection(ABC):
    """The states of `ConnectionState`, and what leads from one to the next."""

    def __init__(
        self,
        make_codec: Callable[[], Codec],
        *,
        random: Callable[[], float],
        urls: Sequence[str] = ("",),
        policy: Policy | None = None,
        renewable: bool = False,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.policy = policy or Policy()
        self.random = random
        self.stats = Stats()
        self.state = ConnectionState.IDLE
        self.reason: str | None = None
        """Why the client is not open, if that is known."""
        self.error: ClientError | None = None
        """The error that closed the client for good; None if the user closed it."""
        self.welcome: events.Welcome | None = None
        self._make_codec = make_codec
        self.codec = make_codec()
        self._urls = Urls(urls)
        self._renewable = renewable
        self._wake = wake
        self.token_refused = False
        """Whether the next connection must not bring the token of the last one."""
        self._backoff = Backoff.of(random, self.policy)
        self._contest = Contest(self.policy)
        self._actions: list[Action] = []
        self._ids = count(1)
        self._ever_open = False
        self._connected = False
        self._health = Health(self.policy.healthy_after_s)
        self._heard_at = 0.0
        self._dial_at: float | None = None
        self._leave_at: float | None = None
        self._earliest: float | None = None
        self._state_observers: list[Observer[ConnectionState]] = []

    # ---- what is on the connection

    @property
    @abstractmethod
    def _wanted(self) -> bool:
        """Whether anything should come."""

    @abstractmethod
    def _before_closing(self) -> None:
        """It is still there: the last commands."""

    @abstractmethod
    def _connection_is_gone(self, why: str | None) -> None:
        """Nothing is answered any more. ``why`` None: nor will there be another connection."""

    @abstractmethod
    def _is_over(self, error: ClientError | None) -> None:
        """There will be no other connection."""

    # ---- for the user

    @property
    def url(self) -> str:
        """The gateway of the present connection, or of the next try."""
        return self._urls.current

    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        return register(self._state_observers, observer)

    def close(self) -> None:
        """The user closes the client."""
        self._close(None)

    # ---- for the driver

    def take_actions(self) -> list[Action]:
        """Returns the actions to carry out now, in order, each only once."""
        actions, self._actions = self._actions, []
        return actions

    def deadline(self) -> float | None:
        """When the driver must call ``tick`` next; ``tick`` may find nothing due then."""
        return self._earliest

    def due(self, when: float) -> None:
        """Makes sure that ``tick`` is called at this time."""
        if self._earliest is None or when < self._earliest:
            self._earliest = when

    def start(self, now: float) -> None:
        self._dial(now)

    def dialed(self, now: float) -> None:
        """The upgrade has succeeded; ``welcome`` comes next."""
        self._connected = True
        self._heard_at = now
        self._health.opened(now)
        self.due(now + self.policy.connect_timeout_s)

    def dial_failed(self, error: ClientError, now: float) -> None:
        status = error.status if isinstance(error, HandshakeRefused) else None
        if status == 401:
            self._renew_token(error, now)
            return
        # A path that was there is missing while a proxy restarts.
        self._urls.failed(final=status in FINAL_STATUSES and not (status == 404 and self._ever_open))
        floor = error.retry_after_s if isinstance(error, HandshakeRefused) else None
        self._try_again(error, str(error), now, floor_s=floor or 0.0)

    def closed(self, code: int, reason: str, now: float) -> None:
        """The connection is gone, with the peer's close frame or without one (1006)."""
        why = f"closed with {code}" + (f": {reason}" if reason else "")
        self._connected = False
        if code == CloseCode.TOKEN_EXPIRED:
            self._renew_token(ConnectionLost(f"the connection was {why}", code=code), now)
        elif code in FINAL_CLOSE_CODES or (code == CloseCode.REPLACED and self._contest.is_lost(now)):
            self._close(ConnectionLost(f"the connection was {why}", code=code))
        else:
            self._lost(why, now)

    def authenticate(self, token: str) -> None:
        """A fresh token for the present connection."""
        self._command(protocol.auth(next(self._ids), token))

    # ---- its states

    def _dial(self, now: float) -> None:
        self._dial_at = self._leave_at = None
        self.codec = self._make_codec()
        self.welcome = None
        self._set_state(ConnectionState.CONNECTING, self.reason)
        self._act(DialNow())

    def _is_welcome(self, event: events.Welcome, now: float) -> bool:
        """Whether the gateway speaks our version; if not, the client is closed."""
        if event.version != protocol.VERSION:
            self._hang_up(CloseCode.NORMAL, "unknown version")
            why = (
                f"the gateway speaks version {event.version} of the contract, this client {protocol.VERSION}"
            )
            self._close(ProtocolViolation(why))
            return False
        self.welcome = event
        self._ever_open = True
        self._urls.welcomed()
        self.token_refused = False
        self.due(now + self._silence_limit_s())
        self._set_state(ConnectionState.OPEN, None)
        return True

    def _sent_away(self, event: events.Drain, now: float) -> None:
        self._leave_at = now + event.reconnect_after_ms / 1000
        self.due(self._leave_at)
        self._set_state(ConnectionState.DRAINING, "the gateway is draining")

    def _tick_connection(self, now: float) -> None:
        silence_deadline = self._silence_deadline()
        if silence_deadline is not None and now >= silence_deadline:
            self._silent(now)
        elif self._leave_at is not None and now >= self._leave_at and self._connected:
            self._leave(CloseCode.GOING_AWAY, "the gateway is draining", now)
        elif self._dial_at is not None and now >= self._dial_at:
            self._dial(now)

    def _connection_deadlines(self) -> Iterator[float]:
        return (t for t in (self._dial_at, self._leave_at, self._silence_deadline()) if t is not None)

    def _silence_deadline(self) -> float | None:
        return self._heard_at + self._silence_limit_s() if self._connected else None

    def _silence_limit_s(self) -> float:
        if self.welcome is None:
            return self.policy.connect_timeout_s
        return self.policy.silent_heartbeats * self.welcome.heartbeat_ms / 1000

    def _silent(self, now: float) -> None:
        what = "no welcome" if self.welcome is None else "nothing"
        why = f"{what} came for {now - self._heard_at:.1f} s"
        self._hang_up(CloseCode.GOING_AWAY, why, abort=True)
        self._lost(why, now)

    def _leave(self, code: int, why: str, now: float) -> None:
        self._hang_up(code, why)
        self._lost(why, now)

    # ---- its end, and the next one

    def _lost(self, why: str, now: float) -> None:
        self._urls.failed()
        self._try_again(ConnectionFailed(f"the gateway did not send welcome: {why}"), why, now)

    def _try_again(self, error: ClientError, why: str, now: float, *, floor_s: float = 0.0) -> None:
        """Tries the next URL, unless ``error`` is the end. ``floor_s`` counts once all URLs have failed."""
        persistent = self._ever_open or self.policy.persist
        if self._urls.all_final or (self._urls.all_failed and not persistent):
            self._close(error)
        elif persistent:
            floor_s = min(floor_s, self.policy.retry_after_cap_s) if self._urls.all_failed else 0.0
            self._reconnect(why, now, floor_s=floor_s)
        else:
            self._forget_connection(why)
            self._dial(now)

    def _reconnect(self, why: str, now: float, *, floor_s: float = 0.0) -> None:
        """The connection is lost: forgets its state and sets the time of the next try."""
        if self._health.was_good(self.welcome, self._wanted, now):
            self._backoff.reset()
        if self._leave_at is not None:
            self._dial_at = max(now, self._leave_at)
        else:
            self._dial_at = now + floor_s + self._backoff.next_delay()
        self.due(self._dial_at)
        self.stats.reconnects += self.welcome is not None
        self._forget_connection(why)
        self._set_state(ConnectionState.RECONNECTING, why)

    def _renew_token(self, error: ClientError, now: float) -> None:
        """The gateway refused the token: tries once more with a fresh token, if there can be one."""
        if not self._renewable or self.token_refused or not (self._ever_open or self.policy.persist):
            self._close(error)
            return
        self.token_refused = True
        self._reconnect(str(error), now)

    def _close(self, error: ClientError | None) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        if self._connected:
            self._before_closing()
            self._hang_up(CloseCode.NORMAL, "")
        self.error = error
        self._dial_at = None
        self._forget_connection(None)
        self._set_state(ConnectionState.CLOSED, None if error is None else str(error))
        self._is_over(error)

    def _forget_connection(self, why: str | None) -> None:
        self._connected = False
        self._leave_at = None
        self.welcome = None
        self._connection_is_gone(why)

    def _hang_up(self, code: int, reason: str, *, abort: bool = False) -> None:
        if self._connected:
            self._connected = False
            self._act(HangUp(int(code), reason[:100], abort))

    # ---- actions

    def _command(self, command: Command) -> None:
        if self._connected:
            self._act(Send(self.codec.encode(command)))

    def _act(self, action: Action) -> None:
        self._actions.append(action)
        self._wake()

    def _set_state(self, state: ConnectionState, reason: str | None) -> None:
        self.reason = reason
        if state is self.state:
            return
        self.state = state
        notify_all(self._state_observers, state)
