"""Messages as a stream has stored them: what their headers say, and the answer to a question for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors
import nats.js.errors

from mdstream.bus._requests import NO_RESPONDERS

if TYPE_CHECKING:
    from mdstream.bus._client import TapClient

STATUS: Final = b"NATS/1.0 "
"""How the headers of an answer begin that is no message; three digits follow."""
NOT_FOUND: Final = b"404"
UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Numbered(NamedTuple):
    """A message of a stream with its number; ``prev``: that of the message before it on its subject, 0 where there is none or it is not
    kept. ``stored_us``: when the server stored it. ``subject``: known only where many were asked for at once, by a wildcard."""

    seq: int
    prev: int
    stored_us: int
    payload: bytes
    subject: bytes = b""


def header(headers: bytes, name: bytes) -> bytes | None:
    """The last header of this name: the server puts its own behind those of the publisher."""
    at = headers.rfind(b"\r\n" + name + b": ")
    if at < 0:
        return None
    at += len(name) + 4
    return headers[at : headers.find(b"\r\n", at)]


def numbered(headers: bytes | None, payload: bytes) -> Numbered | None:
    """A message that the server has stored, by its headers; None if it has them not."""
    if headers is None:
        return None
    try:
        seq, time = header(headers, b"Nats-Sequence"), header(headers, b"Nats-Time-Stamp")
        if seq is None or time is None:
            return None
        prev = header(headers, b"Nats-Last-Sequence")
        return Numbered(int(seq), int(prev or 0), _us(time), payload)
    except ValueError:
        return None


def _us(text: bytes) -> int:
    return (datetime.fromisoformat(text.decode()) - UNIX_EPOCH) // _MICROSECOND


async def ask_one(client: TapClient, subject: str, question: bytes, within_s: float) -> Numbered | None:
    """One stored message, or None. Raises nats.errors.Error; NoRespondersError where the stream does not exist, or does not allow direct
    questions."""
    answer = await client.ask(subject, question, within_s=within_s)
    headers = answer.headers or b""
    if headers.startswith(STATUS):
        status = headers[len(STATUS) : len(STATUS) + 3]
        if status == NOT_FOUND:
            return None
        if status == NO_RESPONDERS:
            raise nats.errors.NoRespondersError
        said = headers[len(STATUS) + 3 :].partition(b"\r")[0].decode("ascii", "replace").strip()
        raise nats.js.errors.APIError(
            code=int(status) if status.isdigit() else 0, description=said or "the question was refused"
        )
    message = numbered(headers, answer.payload)
    if message is None:
        raise nats.errors.Error("a stored message came without its number")
    return message
