"""Every error that mdstream raises on purpose, in one tree.

::

    MdstreamError
    ├── ConfigError            a configuration value: which key, what was wrong, what is allowed
    ├── FeedError              something a feed handler handed in or published
    │   ├── PayloadError       bytes on the bus that the contract does not allow: where, what
    │   ├── BookError          a well-formed update that the book must refuse: crossed, out of range, too deep
    │   └── SequenceError      numbers that do not follow: a gap, a smaller epoch
    ├── BusError               NATS: not reachable, refused, a stream is missing or too old
    │   └── BusUnavailable     not connected now; a later try may succeed
    ├── CommandError           a client's command is refused, the connection stays (``code`` of the contract)
    ├── SessionClosed          a session ends (``code``: WebSocket close code)
    ├── BenchError             a load test: what could not be done, where, what to do
    └── ClientError            raised by ``mdstream.client`` to its user
        ├── ConnectionFailed   the gateway cannot be reached, or hung up before it said ``welcome``
        ├── HandshakeRefused   the gateway answered the upgrade with an HTTP error (``status``, ``retry_after_s``)
        ├── ConnectionLost     closed for good: the close code forbids to come back
        ├── SubscriptionRefused  the gateway answered ``error`` (``code``)
        └── ProtocolViolation  the gateway sent what the contract does not allow
"""


class MdstreamError(Exception):
    """The root: catch it to catch everything that mdstream raises on purpose."""


class ConfigError(MdstreamError):
    """A configuration value is wrong; the message names its key, its place and what is allowed."""


class FeedError(MdstreamError):
    """Something that a feed handler handed in or published was refused."""


class PayloadError(FeedError):
    """Bytes on the bus that the contract does not allow.

    ``offset`` is the byte at which decoding stopped, ``value`` the index of the value in the message (from 0).
    """

    def __init__(self, message: str, *, offset: int = -1, value: int = -1) -> None:
        super().__init__(message)
        self.offset = offset
        self.value = value


class BookError(FeedError):
    """A well-formed update that the book must refuse; the book is unchanged."""


class SequenceError(FeedError):
    """Sequence numbers or epochs that do not follow what went before."""


class BusError(MdstreamError):
    """NATS refused something, or lacks what it should have."""


class BusUnavailable(BusError):
    """There is no connection to NATS now, or it does not answer; a later try may succeed."""


class CommandError(MdstreamError):
    """A client's command is refused and changes nothing; ``code`` is one of ``mdstream.codes.ErrorCode``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SessionClosed(MdstreamError):
    """A session ends with the WebSocket close ``code``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class BenchError(MdstreamError):
    """A load test cannot be done as asked: what, where, and what to do about it."""


class ClientError(MdstreamError):
    """The root of what ``mdstream.client`` raises to its user."""


class ConnectionFailed(ClientError):
    """The gateway cannot be reached, or hung up before it said ``welcome``; a later try may succeed."""


class HandshakeRefused(ClientError):
    """The gateway answered the upgrade with HTTP ``status``; ``retry_after_s`` is its wish, if it named one."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class ConnectionLost(ClientError):
    """The connection is closed for good; ``code`` is the close code that forbids to come back."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class SubscriptionRefused(ClientError):
    """The gateway answered a command with ``error``; ``code`` is the contract's."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ProtocolViolation(ClientError):
    """The gateway sent what the contract does not allow; the client leaves it and comes back."""
