"""Compares two results: what became better or worse, and what is within the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mdstream.bench import tables
from mdstream.bench.results import Pass, Result, Run
from mdstream.bench.tables import Table

DEFAULT_NOISE = 0.10
"""How much two results of the same program differ on a quiet machine; more where the repeats differ more."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to compare."""

    name: str
    of: Callable[[Pass], float | None]
    write: Callable[[float | None], str]
    lower_is_better: bool = True


FIGURES: tuple[Figure, ...] = (
    Figure("CPU per update × floor", lambda one: one.ratio if one.updates else None, tables.times),
    Figure("CPU per update", lambda one: one.us_per_update, lambda us: f"{tables.number(us, 3)} µs"),
    Figure("latency p50", lambda one: one.latency.p50_us if one.latency else None, tables.duration),
    Figure("latency p99", lambda one: one.latency.p99_us if one.latency else None, tables.duration),
    Figure("latency p99.9", lambda one: one.latency.p999_us if one.latency else None, tables.duration),
    Figure(
        "connections/s",
        lambda one: one.connections_per_s if not one.updates else None,
        tables.whole,
        lower_is_better=False,
    ),
    Figure(
        "memory per connection",
        lambda one: one.memory.per_connection_bytes if one.memory and one.connections >= 100 else None,
        tables.kilobytes,
    ),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one run in both results. A ``change`` above 1 is worse, for each figure."""

    run: str
    figure: Figure
    before: float
    after: float
    change: float
    noise: float

    @property
    def verdict(self) -> str:
        if self.change > 1 + self.noise:
            return "worse"
        return "better" if self.change < 1 / (1 + self.noise) else "same"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures that are in both results, and the runs that are in one."""

    differences: Sequence[Difference]
    missing: Sequence[str]
    warnings: Sequence[str]

    @property
    def worst(self) -> Difference | None:
        """The figure that became worse by the largest ratio, beyond noise."""
        worse = [difference for difference in self.differences if difference.verdict == "worse"]
        return max(worse, key=lambda difference: difference.change, default=None)


def compare(before: Result, after: Result, noise: float = DEFAULT_NOISE) -> Comparison:
    """Compares runs with the same profile, format and sweep point."""
    old, new = ({run.key: run for run in result.runs} for result in (before, after))
    differences = [
        difference for key in old if key in new for difference in _differences(old[key], new[key], noise)
    ]
    missing = [f"{old[key].title}: only in the first" for key in old if key not in new]
    missing += [f"{new[key].title}: only in the second" for key in new if key not in old]
    return Comparison(differences, missing, list(_warnings(before, after)))


def _differences(old: Run, new: Run, noise: float) -> list[Difference]:
    found = []
    for figure in FIGURES:
        before, after = figure.of(old.shown), figure.of(new.shown)
        if before is None or after is None or before <= 0 or after <= 0:
            continue
        change = after / before if figure.lower_is_better else before / after
        limit = max(noise, scatter(old, figure), scatter(new, figure))
        found.append(Difference(old.title, figure, before, after, change, limit))
    return found


def scatter(run: Run, figure: Figure) -> float:
    """Largest repeat of a run over the smallest, minus 1; 0 for a single repeat."""
    values = [value for value in map(figure.of, run.passes) if value is not None and value > 0]
    return max(values) / min(values) - 1 if len(values) > 1 else 0.0


def _warnings(before: Result, after: Result) -> list[str]:
    warnings = []
    if before.machine != after.machine:
        warnings.append("The machines differ: compare only what is measured against the floor (× floor).")
    changed = {
        run.title
        for run in before.runs
        for other in after.runs
        if run.key == other.key and run.profile != other.profile
    }
    warnings += [f"{title}: the profiles differ" for title in sorted(changed)]
    for name, result in (("first", before), ("second", after)):
        doubtful = [run.title for run in result.runs if run.shown.flags or not run.shown.passed]
        if doubtful:
            warnings.append(f"Doubtful or failed in the {name}: {', '.join(doubtful)}.")
    return warnings


def comparison_table(comparison: Comparison) -> Table:
    rows = [
        [
            difference.run,
            difference.figure.name,
            difference.figure.write(difference.before),
            difference.figure.write(difference.after),
            f"{difference.after / difference.before:.2f}×",
            f"±{difference.noise:.0%}",
            difference.verdict,
        ]
        for difference in comparison.differences
    ]
    heads = ["run", "figure", "first", "second", "second ÷ first", "noise", ""]
    return Table("Comparison", heads, rows, [*comparison.missing, *comparison.warnings])
