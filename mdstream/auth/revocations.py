"""What was revoked: subjects, keys and tokens, each until a time or for good. Bounded, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mdstream.auth.identity import Identity

KINDS: Final = ("subject", "session", "key", "token")
MAX_REVOCATIONS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Revocation:
    """``kind`` is one of KINDS. ``at_us``: tokens of a subject that were issued later are valid again. ``until_us``: None is for good."""

    kind: str
    name: str
    at_us: int
    until_us: int | None = None
    lifted: bool = False


class Revocations:
    """Says of an identity whether it is revoked, by up to three look-ups."""

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._found: dict[str, dict[str, Revocation]] = {"subject": {}, "key": {}, "token": {}}

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def take(self, revocation: Revocation) -> bool:
        """Notes one, or that it is lifted; False if there is no room. A session's is not kept: it is over when the session is."""
        table = self._found.get(revocation.kind)
        if table is None:
            return True
        if revocation.lifted or self._is_over(revocation):
            table.pop(revocation.name, None)
            return True
        if len(self) >= MAX_REVOCATIONS and revocation.name not in table:
            self._sweep()
            if len(self) >= MAX_REVOCATIONS:
                return False
        table[revocation.name] = revocation
        return True

    def covers(self, identity: Identity) -> bool:
        found = self._found
        return (
            self._holds(found["key"].get(identity.key_id) if identity.key_id is not None else None)
            or self._holds(found["token"].get(identity.token_id) if identity.token_id is not None else None)
            or self._covers_subject(identity)
        )

    def _covers_subject(self, identity: Identity) -> bool:
        revocation = self._found["subject"].get(identity.subject)
        if not self._holds(revocation) or revocation is None:
            return False
        return identity.issued_us is None or identity.issued_us <= revocation.at_us

    def _holds(self, revocation: Revocation | None) -> bool:
        return revocation is not None and not self._is_over(revocation)

    def _is_over(self, revocation: Revocation) -> bool:
        return revocation.until_us is not None and revocation.until_us <= self._wall_us()

    def _sweep(self) -> None:
        for table in self._found.values():
            for name in [name for name, each in table.items() if self._is_over(each)]:
                del table[name]
