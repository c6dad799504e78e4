"""The codes of the contract: why a command is refused, why a connection ends, and whether a client may reconnect."""

from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """``code`` of an ``error`` message. The list is complete; it grows only together with ``docs/protocol.md``."""

    BAD_COMMAND = "bad_command"
    UNKNOWN_OP = "unknown_op"
    UNKNOWN_CHANNEL = "unknown_channel"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    UNKNOWN_SUB = "unknown_sub"
    BAD_VALUE = "bad_value"
    NOT_ENTITLED = "not_entitled"
    LIMIT_SUBSCRIPTIONS = "limit_subscriptions"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    UNAUTHORIZED = "unauthorized"
    CONFLICT = "conflict"
    MAP_FULL = "map_full"


RESCALED = "rescaled"
"""``reason`` of an unasked ``unsubscribed``: the decimals have changed. SDKs subscribe again by themselves."""
OVERLOAD = "overload"
"""The same, of a gateway that cannot keep up, or is short of memory. SDKs subscribe again after a while."""


class CloseCode(IntEnum):
    """WebSocket close codes. 1xxx: RFC 6455 section 7.4; 44xx: ours, numbered after similar HTTP statuses.

    ``NO_CODE`` (the close frame names none) and ``ABNORMAL`` (there was no close frame) are never sent.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    WRONG_FRAME_TYPE = 1003
    NO_CODE = 1005
    ABNORMAL = 1006
    NOT_UTF8 = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    DRAINING = 1012
    OVER_CAPACITY = 1013
    ERROR_BUDGET = 4400
    TOKEN_EXPIRED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    REPLACED = 4409
    RATE_LIMIT = 4429


FINAL_CLOSE_CODES = frozenset(
    {
        CloseCode.WRONG_FRAME_TYPE,
        CloseCode.NOT_UTF8,
        CloseCode.TOO_BIG,
        CloseCode.ERROR_BUDGET,
        CloseCode.TOKEN_EXPIRED,
        CloseCode.FORBIDDEN,
    }
)
"""After these a client must not reconnect without a change (4401: only with a new token)."""
