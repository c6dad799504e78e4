"""Two results side by side: what became better, what worse, and what is within the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mdstream.bench import tables
from mdstream.bench.results import Pass, Result, Run
from mdstream.bench.tables import Table

DEFAULT_NOISE = 0.10
"""What two results of the same program may differ by on a calm machine; more where the repeats themselves differ more."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is compared; ``lower_is_better``, or the other way round."""

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
    """One figure of one run, in both results. ``change`` above 1 is worse, whichever way the figure counts."""

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
    """All figures that both results have, and the runs that only one has."""

    differences: Sequence[Difference]
    missing: Sequence[str]
    warnings: Sequence[str]

    @property
    def worst(self) -> Difference | None:
        """The greatest change for the worse, beyond noise."""
        worse = [difference for difference in self.differences if difference.verdict == "worse"]
        return max(worse, key=lambda difference: difference.change, default=None)


def compare(before: Result, after: Result, noise: float = DEFAULT_NOISE) -> Comparison:
    """Compares runs of the same profile, format and point of a sweep."""
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
        own = max(noise, scatter(old, figure), scatter(new, figure))
        found.append(Difference(old.title, figure, before, after, change, own))
    return found


def scatter(run: Run, figure: Figure) -> float:
    """How far the repeats of a run lie apart, as a share of the least; 0 for a single one."""
    values = [value for value in map(figure.of, run.passes) if value is not None and value > 0]
    return max(values) / min(values) - 1 if len(values) > 1 else 0.0


def _warnings(before: Result, after: Result) -> list[str]:
    said = []
    if before.machine != after.machine:
        said.append("The machines differ: compare only what is measured against the floor (× floor).")
    changed = {
        run.title
        for run in before.runs
        for other in after.runs
        if run.key == other.key and run.profile != other.profile
    }
    said += [f"{title}: the profile was not the same" for title in sorted(changed)]
    for name, result in (("first", before), ("second", after)):
        doubtful = [run.title for run in result.runs if run.shown.flags or not run.shown.passed]
        if doubtful:
            said.append(f"Doubtful or failed in the {name}: {', '.join(doubtful)}.")
    return said


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
