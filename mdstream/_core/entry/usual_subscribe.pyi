from typing import Any

from mdstream._core.entry.headcount import Headcount
from mdstream._core.entry.load_state import LoadState
from mdstream._core.fanout.hub import Hub

COMMANDS: int
LEVELS: int
ANSWER_BYTES: int
ERRORS: int
DECODED_BYTES: int

class UsualSubscribe:
    def __init__(self, command: Any, size: int) -> None: ...
    @property
    def command(self) -> Any: ...

class UsualSubscribes:
    def __init__(
        self,
        sessions: object,
        subscriptions: object,
        instruments: object,
        limits: Headcount,
        load: LoadState,
        hub: Hub,
        *,
        known: tuple[dict[bytes, UsualSubscribe], ...],
        most: int,
        no_id: object,
        live: object,
    ) -> None: ...
    def received(self, session: Any, payload: bytes) -> None: ...

class LateSubscribe:
    """The step, or the steps, of a ``subscribe`` that is known and has to wait for its turn."""

    def __init__(
        self, usuals: UsualSubscribes, session: Any, payload: bytes, usual: UsualSubscribe
    ) -> None: ...
    def __iter__(self) -> LateSubscribe: ...
    def __next__(self) -> Any: ...
