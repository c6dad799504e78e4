from typing import Any

from mdstream._core.base.budget import ClockedBudgets

class Visitor:
    address: bytes
    identity: Any
    place: Any
    user: Any
    subscriptions: int
    line: int
    is_exempt: bool
    is_half_open: bool
    is_in: bool
    def __init__(self, peer: bytes, identity: object) -> None: ...
    @property
    def peer(self) -> bytes: ...
    @property
    def is_counted(self) -> bool: ...

class ClientState:
    identity: Any
    opening: int
    tasks: Any
    parts: Any
    def __init__(self, id: str, budgets: ClockedBudgets, opened_s: float, visitor: Visitor) -> None: ...
    @property
    def id(self) -> str: ...
    @property
    def visitor(self) -> Visitor: ...
    @property
    def opened_s(self) -> float: ...
    @property
    def budgets(self) -> Any: ...
