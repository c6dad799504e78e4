from collections.abc import Callable
from typing import Any

from mdstream._core.base.budget import Allowances, ClockedBudgets
from mdstream._core.entry.headcount import Headcount
from mdstream._core.entry.load_state import LoadState
from mdstream._core.entry.visitor import ClientState

class Arrivals:
    are_logged: bool
    def __init__(
        self,
        sessions: object,
        limits: Headcount,
        load: LoadState,
        audit: object,
        open: dict[Any, None],
        *,
        make_client: type[ClientState],
        make_budgets: type[ClockedBudgets],
        allowances: Allowances,
        nobody: object,
        now_s: Callable[[], float],
        wall_us: Callable[[], int],
    ) -> None: ...
    @property
    def total(self) -> int: ...
    def forget_welcomes(self) -> None: ...
    def opened(self, session: Any) -> None: ...
