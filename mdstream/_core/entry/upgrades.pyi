from collections.abc import Callable
from typing import Any

from mdstream._core.entry.headcount import Headcount
from mdstream._core.entry.load_state import LoadState
from mdstream._core.entry.offers import OfferTable

def is_passed_on(peer: bytes, head: bytes) -> bool: ...

class UsualUpgrades:
    def __init__(
        self,
        server: object,
        limits: Headcount,
        load: LoadState,
        offers: OfferTable,
        origins: object,
        *,
        path: bytes,
        asks: bool,
        token_of: Callable[[bytes | None, bytes | None], tuple[bytes | None, bytes | None]],
        identity_of: Callable[[bytes], object],
    ) -> None: ...
    def requested(self, session: Any, head: bytes) -> None: ...
