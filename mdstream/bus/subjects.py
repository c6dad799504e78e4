"""Makes and parses subjects on the bus: ``md.<venue>.<symbol>.<stream>``.

A NATS token must not contain ``.``, ``*``, ``>``, a space or a control character. The UTF-8 bytes of these, and of ``%``, are
percent-encoded with upper-case hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import Final

from mdstream.model import InstrumentId

STREAMS: Final = ("book", "trade", "snap", "ref", "status")

_RESERVED = re.compile(r"[\x00-\x20.*>%\x7f-\x9f]")
_ESCAPES = re.compile(rb"%([0-9A-F]{2})")


def subject(instrument: InstrumentId, stream: str) -> str:
    """The subject of one stream of an instrument; stream ``*`` gives the wildcard for all streams.

    Raises ValueError if venue or symbol is empty, or the contract does not have the stream.
    """
    if stream not in STREAMS and stream != "*":
        raise ValueError(f"stream {stream!r} is none of {', '.join(STREAMS)}")
    return (
        f"md.{encode_token(instrument.venue, 'venue')}.{encode_token(instrument.symbol, 'symbol')}.{stream}"
    )


def parse_subject(text: str) -> tuple[InstrumentId, str]:
    """The instrument and stream of a subject; the exact inverse of ``subject``.

    Raises ValueError for anything that ``subject`` does not return.
    """
    tokens = text.split(".")
    if len(tokens) != 4 or tokens[0] != "md":
        raise ValueError(f"subject {text!r} must read md.<venue>.<symbol>.<stream>")
    if tokens[3] not in STREAMS:
        raise ValueError(f"stream {tokens[3]!r} of subject {text!r} is none of {', '.join(STREAMS)}")
    instrument = InstrumentId(_decode(tokens[1], text), _decode(tokens[2], text))
    if subject(instrument, tokens[3]) != text:
        raise ValueError(
            f"subject {text!r} is not percent-encoded as it must be: {subject(instrument, tokens[3])!r}"
        )
    return instrument, tokens[3]


def statistics_subject(instrument: InstrumentId) -> str:
    """Where the statistics of the last 24 hours of an instrument are."""
    return f"stats.{encode_token(instrument.venue, 'venue')}.{encode_token(instrument.symbol, 'symbol')}"


def encode_token(token: str, what: str) -> str:
    """``token`` as one token of a subject. Raises ValueError, which names ``what``, if it is empty."""
    if not token:
        raise ValueError(f"the {what} of an instrument must not be empty")
    return _RESERVED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), token)


def _decode(token: str, text: str) -> str:
    try:
        return _ESCAPES.sub(lambda found: bytes((int(found[1], 16),)), token.encode()).decode()
    except UnicodeError:
        raise ValueError(f"token {token!r} of subject {text!r} is not percent-encoded UTF-8") from None
