from mdstream._bench.books import Books as Books
from mdstream._bench.histogram import Histogram

class Publisher:
    def __init__(
        self,
        books: Books,
        host: str,
        port: int,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> None: ...
    def run(
        self,
        seconds: float,
        *,
        rate: float,
        burst: int = 1,
        changes: int = 10,
        per_message: int = 1,
        zipf: float = 0.0,
        trades: float = 0.0,
        wake_fd: int = -1,
    ) -> dict[str, int | float | bool]: ...
    @property
    def lateness(self) -> Histogram: ...
    def finish(self, *, trades: bool = False) -> None: ...
    def close(self) -> None: ...
