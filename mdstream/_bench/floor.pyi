from collections.abc import Sequence

class Floor:
    def __init__(
        self,
        instruments: Sequence[str],
        subjects: Sequence[str],
        nats_host: str,
        nats_port: int,
        *,
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
    ) -> None: ...
    @property
    def port(self) -> int: ...
    def run(self, seconds: float, *, wake_fd: int = -1) -> None: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...
