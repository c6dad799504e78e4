"""``live`` means true: each fault is brought about with real parts, and what independent readers are told is held against the truth.

Faults are mostly waited for, so they are played together, once in a run of the tests, whichever tests ask for what came of them. How long
something took does not count here: ``make truth`` judges that.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import traceback
from collections.abc import Awaitable, Callable, Iterable

import pytest
import uvloop

from truth.faults import FAULTS
from truth.outages import OUTAGES, SteppedClock
from truth.patience import patient
from truth.rig import Rig

FAULTS_AT_ONCE, OUTAGES_AT_ONCE = 16, 5
DEADLINE_S = 60.0
Outcomes = dict[str, str]
"""By name, why it failed; empty if it did not."""


async def outcomes_of(names: Iterable[str], play: Callable[[str], Awaitable[None]], at_once: int) -> Outcomes:
    slots, outcomes = asyncio.Semaphore(at_once), {}

    async def one(name: str) -> None:
        async with slots:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await play(name)
                outcomes[name] = ""
            except Exception:
                outcomes[name] = traceback.format_exc()

    with patient():
        await asyncio.gather(*map(one, names))
    return outcomes


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[], Outcomes]) -> Outcomes:
    """Made by the first process that asks; the others, if tests run in several, wait for it."""
    directory = factory.getbasetemp()
    if directory.name.startswith("popen-"):
        directory = directory.parent
    path = directory / f"{name}.json"
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(json.dumps(make()))
    outcomes: Outcomes = json.loads(path.read_text())
    return outcomes


def wanted(request: pytest.FixtureRequest, test: str) -> list[str]:
    items = [item for item in request.session.items if getattr(item, "originalname", "") == test]
    return [item.callspec.params["name"] for item in items]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def faults(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    def make() -> Outcomes:
        rig = Rig(tmp_path_factory.mktemp("truth"))

        async def play(name: str) -> None:
            async with rig.case() as case:
                await FAULTS[name](case)

        try:
            return uvloop.run(outcomes_of(wanted(request, "test_fault"), play, FAULTS_AT_ONCE))
        finally:
            rig.stop()

    return shared(tmp_path_factory, "faults", make)


@pytest.fixture(scope="module")
def outages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    async def play(name: str) -> None:
        await OUTAGES[name](tmp_path_factory.mktemp(name))

    names = wanted(request, "test_outage")
    return shared(tmp_path_factory, "outages", lambda: uvloop.run(outcomes_of(names, play, OUTAGES_AT_ONCE)))


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str, faults: Outcomes) -> None:
    assert not faults[name], faults[name]


@pytest.mark.skipif(not SteppedClock.possible(), reason="the stepped clock is built with gcc")
@pytest.mark.parametrize("name", OUTAGES)
def test_outage(name: str, outages: Outcomes) -> None:
    assert not outages[name], outages[name]
