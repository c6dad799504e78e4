"""How a gateway of several workers scales: two against one, measured, and up to 16 by a model of two measured costs.

What a worker does in a second takes ``updates × update_us + deliveries × delivery_us``. Each worker pays the first part for all
updates that its clients want; the deliveries are shared.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from mdstream.bench import runner
from mdstream.bench.measure import measure
from mdstream.bench.profiles import Profile
from mdstream.bench.results import Pass
from mdstream.bench.runner import Measure, Work
from mdstream.bench.setup import Setup
from mdstream.bench.tables import Table, number, whole
from mdstream.errors import BenchError

PROFILES: Final = ("fan-out", "symbols", "burst")
MODELLED: Final = (2, 4, 8, 16)
FEW: Final = 5
"""One worker is also measured with a fifth of the connections: the difference is what a delivery costs."""
SPARE: Final = ("each has", "4 workers", "8 workers", "verdict", "2 workers", "µs/delivery", "µs/update")
NOTES: Final = (
    "One worker and several: deliveries per CPU second, of all processes of the gateway; medians. Each worker has the same connections.",
    "A worker's CPU in a second = updates × µs/update + deliveries × µs/delivery. The two costs come from one worker with all and with"
    " a fifth of its connections.",
    "The columns at the right: what so many workers deliver for a CPU second, divided by what one would that had all their connections.",
)


class Costs(msgspec.Struct, frozen=True):
    """The inputs of the model, in µs of CPU."""

    update_us: float
    """Of an update, in each worker, whoever gets it."""
    delivery_us: float

    @classmethod
    def of(cls, few: Pass, many: Pass) -> Costs:
        """From the same updates to few and to many connections. Raises BenchError if these do not differ enough."""
        (u1, d1, t1), (u2, d2, t2) = _rates(few), _rates(many)
        determinant = u1 * d2 - u2 * d1
        if determinant <= 0:
            raise BenchError(
                "scaling: more connections were delivered no more updates; measure for longer (--seconds)"
            )
        delivery_us = max((u1 * t2 - u2 * t1) / determinant, 0.0)
        return cls(max((t1 - d1 * delivery_us) / u1, 0.0), delivery_us)

    def share(self, updates_per_s: float, deliveries_per_s: float, workers: int) -> float:
        """What so many workers, each with these deliveries, do for a CPU second, of what one would that had all of them."""
        updates = updates_per_s * self.update_us
        deliveries = deliveries_per_s * self.delivery_us
        return (updates + workers * deliveries) / (workers * (updates + deliveries))


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """One profile."""

    profile: str
    workers: int
    connections: int
    """Of each worker."""
    one: list[float]
    """Deliveries per CPU second of one worker, each time it was measured."""
    several: list[float]
    updates_per_s: float
    deliveries_per_s: float
    """To the connections of one worker."""
    costs: Costs
    exact: bool

    @property
    def ratio(self) -> float:
        """Of the medians: several workers by one."""
        return statistics.median(self.several) / statistics.median(self.one)


def _rates(one: Pass) -> tuple[float, float, float]:
    """Updates, deliveries and µs of CPU per second."""
    assert one.cpu_s is not None
    return one.published_per_s, one.updates_per_s, one.cpu_s * 1e6 / one.window_s


async def scale(
    profile: Profile,
    setup: Setup,
    *,
    workers: int,
    tell: Callable[[str], None],
    measure: Measure = measure,
) -> Scaled:
    """Measures ``setup.repeat`` times each, in turn. Raises MdstreamError if it cannot be done."""
    each = profile.connections // workers
    few, one, several = (
        Work(msgspec.structs.replace(profile, connections=count), profile.formats[0])
        for count in (each // FEW, each, each * workers)
    )
    found: tuple[list[Pass], ...] = ([], [], [])
    with runner.ready([several], setup):
        for turn in range(setup.repeat):
            for passes, item, processes in zip(found, (few, one, several), (1, 1, workers), strict=True):
                tell(
                    f"{item.title}: {item.profile.connections} connections, {processes} workers ({turn + 1} of {setup.repeat})"
                )
                passes.append(await runner.one_pass(item, replace(setup, workers=processes), measure))
    return _scaled(profile, workers, *found)


def _scaled(
    profile: Profile, workers: int, few: Sequence[Pass], one: Sequence[Pass], several: Sequence[Pass]
) -> Scaled:
    costs = [Costs.of(less, more) for less, more in zip(few, one, strict=True)]
    return Scaled(
        profile=profile.name,
        workers=workers,
        connections=one[0].connections,
        one=[_per_cpu_s(each) for each in one],
        several=[_per_cpu_s(each) for each in several],
        updates_per_s=statistics.median(each.published_per_s for each in one),
        deliveries_per_s=statistics.median(each.updates_per_s for each in one),
        costs=Costs(
            statistics.median(each.update_us for each in costs),
            statistics.median(each.delivery_us for each in costs),
        ),
        exact=all(each.passed for each in (*few, *one, *several)),
    )


def _per_cpu_s(one: Pass) -> float:
    assert one.cpu_s is not None
    return one.updates / one.cpu_s


def scaling_table(scaled: Sequence[Scaled]) -> Table:
    """A row for each profile."""
    heads = ["profile", "verdict", "each has", "one worker", "several", "several ÷ one"]
    heads += ["µs/update", "µs/delivery", *(f"{count} workers" for count in MODELLED)]
    rows = [
        [
            each.profile,
            "exact" if each.exact else "FAILED",
            whole(each.connections),
            whole(statistics.median(each.one)),
            f"{each.workers}: {whole(statistics.median(each.several))}",
            number(each.ratio),
            number(each.costs.update_us, 1),
            number(each.costs.delivery_us),
            *(
                number(each.costs.share(each.updates_per_s, each.deliveries_per_s, count))
                for count in MODELLED
            ),
        ]
        for each in scaled
    ]
    return Table("Scaling", heads, rows, NOTES, spare=SPARE)
