from collections import Counter
from typing import Any

from mdstream._core.entry.headcount import Headcount

class Departures:
    are_logged: bool
    def __init__(
        self,
        sessions: object,
        limits: Headcount,
        closes_total: Counter[int],
        open: dict[Any, None],
        *,
        kept: tuple[dict[Any, Any], ...],
        all_unusual: bool,
    ) -> None: ...
    def closed(self, session: Any, code: int) -> None: ...
