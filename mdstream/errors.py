"""All errors that mdstream raises on purpose, in one tree.

::

    MdstreamError
    ├── ConfigError            a configuration value is wrong: which key, why, what is allowed
    ├── FeedError              what a feed handler passed in or published is wrong
    │   ├── PayloadError       bytes on the bus violate the contract: where, and how
    │   ├── BookError          a well-formed update that the book must refuse: crossed, out of range, too deep
    │   ├── SequenceError      numbers that do not follow: a gap, a smaller epoch
    │   └── SizeError          a size beyond 2^53 − 1 lots (``size_exp``: a scale that holds it)
    ├── BusError               NATS refuses something, or a stream is missing
    │   ├── BusConflict        a stored message is not the one that was expected: another writer was faster
    │   └── BusUnavailable     not connected now; a later attempt may succeed
    ├── Unauthorized           a credential opens nothing here (``why``: for the audit log, never for the client)
    ├── CannotJudge            a credential cannot be judged now: who knows about it does not answer
    ├── CommandError           a client's command is refused, the connection stays (``code`` of the contract)
    ├── SessionClosed          a session ends (``code``: WebSocket close code)
    ├── BenchError             a load test cannot be done: what, where, and what to do
    └── ClientError            raised by ``mdstream.client`` to its user
        ├── ConnectionFailed   the gateway cannot be reached, or closed the connection before ``welcome``
        ├── HandshakeRefused   the gateway answered the upgrade with an HTTP error (``status``, ``retry_after_s``)
        ├── ConnectionLost     closed for good: the close code forbids a reconnect
        ├── SubscriptionRefused  the gateway answered ``error`` (``code``)
        ├── PublishRefused     the gateway refused an event (``code``)
        ├── PutRefused         the gateway refused a change of a map (``code``)
        │   └── PutConflict    something else holds than was expected (``current``)
        └── ProtocolViolation  the gateway violated the contract
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdstream.printable import printable_lines


class MdstreamError(Exception):
    """The root of all errors that mdstream raises on purpose.

    Its text may quote the bus, a client or a gateway; as a string it is safe to log and to print.
    """

    def __str__(self) -> str:
        return printable_lines(super().__str__())


class ConfigError(MdstreamError):
    """A configuration value is wrong; the message names its key, its place and what is allowed."""


class FeedError(MdstreamError):
    """Something that a feed handler passed in or published was refused."""


class PayloadError(FeedError):
    """Bytes on the bus violate the contract.

    ``offset`` is the byte at which decoding stopped, ``value`` the index of the value in the message (from 0).
    """

    def __init__(self, message: str, *, offset: int = -1, value: int = -1) -> None:
        super().__init__(message)
        self.offset = offset
        self.value = value


class BookError(FeedError):
    """A well-formed update that the book must refuse; the book is unchanged."""


class SequenceError(FeedError):
    """Sequence numbers or epochs do not follow the previous ones."""


class SizeError(FeedError):
    """A size is beyond 2^53 − 1 lots; in lots of 10^``size_exp`` it is not."""

    def __init__(self, message: str, *, size_exp: int) -> None:
        super().__init__(message)
        self.size_exp = size_exp


class BusError(MdstreamError):
    """NATS refused something, or a stream is missing."""


class BusConflict(BusError):
    """JetStream did not store a message because the subject's newest one is not the one that was expected."""


class BusUnavailable(BusError):
    """There is no connection to NATS now, or NATS does not answer; a later attempt may succeed."""


class Unauthorized(MdstreamError):
    """A credential opens nothing here. ``why`` is one word of a closed list (``mdstream.auth.reasons``). Neither it nor the message is for
    the client: every refusal looks the same to him."""

    def __init__(self, why: str, message: str = "") -> None:
        super().__init__(message or why)
        self.why = why


class CannotJudge(MdstreamError):
    """A credential cannot be judged now, because keys or a callback do not answer; a later attempt may succeed."""


class CommandError(MdstreamError):
    """A client's command is refused and changes nothing; ``code`` is a ``mdstream.codes.ErrorCode``.

    ``why`` is for the audit log, where it may say more than the client is told.
    """

    def __init__(self, code: str, message: str, *, why: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.why = why or code


class SessionClosed(MdstreamError):
    """A session ends with the WebSocket close ``code``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class BenchError(MdstreamError):
    """A load test cannot be done: what, where, and what to do."""


class ClientError(MdstreamError):
    """The root of the errors that ``mdstream.client`` raises to its user."""


class ConnectionFailed(ClientError):
    """The gateway cannot be reached, or closed the connection before ``welcome``; a later attempt may succeed."""


class HandshakeRefused(ClientError):
    """The gateway answered the upgrade with HTTP ``status``; ``retry_after_s`` is its ``Retry-After``, or None."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class ConnectionLost(ClientError):
    """The connection is closed for good; ``code`` is the close code, which forbids a reconnect."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class SubscriptionRefused(ClientError):
    """The gateway answered a command with ``error``; ``code`` is that of the contract."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PublishRefused(ClientError):
    """The gateway refused an event for good; ``code`` is that of the contract."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PutRefused(ClientError):
    """The gateway refused a change of a map; ``code`` is that of the contract."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PutConflict(PutRefused):
    """A change of a map expected something else than holds. ``current``: by key, what holds (``value``, ``rev``, ``by``), None where
    there is nothing."""

    def __init__(self, message: str, *, current: Mapping[str, Any]) -> None:
        super().__init__(message, code="conflict")
        self.current = current


class ProtocolViolation(ClientError):
    """The gateway violated the contract; the client closes the connection and reconnects."""
