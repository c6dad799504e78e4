from typing import Any

from mdstream._core.fanout.hub import Hub

COMMANDS: int
LEVELS: int
ANSWER_BYTES: int
ERRORS: int

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
        limits: object,
        hub: Hub,
        *,
        known: tuple[dict[bytes, UsualSubscribe], ...],
        most: int,
        no_id: object,
    ) -> None: ...
    def received(self, session: Any, payload: bytes) -> None: ...
