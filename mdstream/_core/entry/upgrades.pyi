from typing import Any

from mdstream._core.entry.headcount import Headcount
from mdstream._core.entry.load_state import LoadState

class UsualUpgrades:
    def __init__(
        self,
        server: object,
        limits: Headcount,
        load: LoadState,
        offers: object,
        origins: object,
        *,
        path: bytes,
        asks: bool,
    ) -> None: ...
    def requested(self, session: Any, head: bytes) -> None: ...
