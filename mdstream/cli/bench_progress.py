"""The progress of a bench, on stderr: one changing line in a terminal, a line per step elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from mdstream.bench.results import Run
from mdstream.bench.tables import duration, number, percent, times, whole


class Progress:
    """Shows the current step and finished runs; nothing if ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        on_screen = self._console.is_terminal and not quiet
        self._status: Status | None = self._console.status("starting") if on_screen else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, what: str) -> None:
        if self._status is not None:
            self._status.update(what.replace("[", r"\["))
        else:
            self._console.print(what, markup=False, soft_wrap=True)

    def done(self, run: Run) -> None:
        self._console.print(f"{run.title}: {one_line(run)}", markup=False, soft_wrap=True)


def one_line(run: Run) -> str:
    """The main figures of a run."""
    one = run.shown
    if one.updates:
        parts = [f"{whole(one.updates_per_s)} updates/s"]
        if one.us_per_update is not None:
            parts.append(f"{number(one.us_per_update)} µs each, {percent(one.cpu_share)} of a core")
        if one.latency is not None:
            parts.append(f"p50 {duration(one.latency.p50_us)}, p99 {duration(one.latency.p99_us)}")
    else:
        parts = [f"{whole(one.connections_per_s)} connections/s"]
        if one.memory is not None:
            parts.append(f"{one.memory.per_connection_bytes / 1e3:.1f} kB each")
    if one.ratio is not None:
        parts.append(f"{times(one.ratio)} floor")
    return "; ".join([*parts, one.verdict])
