from typing import Any

class UsualUpgrades:
    def __init__(
        self, server: object, limits: object, offers: object, origins: object, *, path: bytes, asks: bool
    ) -> None: ...
    def requested(self, session: Any, head: bytes) -> None: ...
