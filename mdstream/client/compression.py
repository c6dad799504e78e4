"""permessage-deflate from the client's side (RFC 7692): the offer, and the answers that it allows.

Only the gateway compresses: commands are too short.
"""

from __future__ import annotations

NAME = "permessage-deflate"
OFFER = f"{NAME}; server_no_context_takeover; client_no_context_takeover"

_ALLOWED = {"server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits"}


def is_agreed(answer: str | None, *, offered: bool) -> bool:
    """Whether messages may be compressed. ``answer`` is the gateway's ``Sec-WebSocket-Extensions``, None if it sent none.

    Raises ValueError for an answer that the offer does not allow (sections 5.1 and 7.1); the connection must then be closed.
    """
    if answer is None:
        return False
    name, *parameters = (part.strip() for part in answer.split(";"))
    names = [parameter.partition("=")[0].rstrip() for parameter in parameters]
    takes = set(names) <= _ALLOWED and len(names) == len(set(names))
    if not (offered and name == NAME and takes and "server_no_context_takeover" in names):
        raise ValueError(f"agreed to the extension {answer!r}; offered was {OFFER if offered else 'none'!r}")
    return True
