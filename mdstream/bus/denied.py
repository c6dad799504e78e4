"""What the NATS server does not let this user do, from its errors: ``Permissions Violation for Publish to "md.SIM.A.book"``."""

from __future__ import annotations

import re
from typing import NamedTuple

from nats import errors

PUBLISH = "publish"
SUBSCRIBE = "subscribe"

_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


class Denial(NamedTuple):
    """``do`` is ``publish`` or ``subscribe``; nats-py gives ``subject`` in lower case."""

    do: str
    subject: str

    def __str__(self) -> str:
        return f"this user may not {self.do} to {self.subject}; its permissions on the NATS server say what it may"


class DeniedError(errors.Error):
    """A request that the server does not let this user make."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(str(denial))


def denial_in(text: str) -> Denial | None:
    """What a message of the server denies; None if it is about something else."""
    found = _VIOLATION.search(text)
    if found is None:
        return None
    return Denial(PUBLISH if found[1].lower() == "publish" else SUBSCRIBE, found[2])
