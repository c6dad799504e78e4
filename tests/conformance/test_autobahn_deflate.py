"""The Autobahn cases of permessage-deflate (12 and 13) against a server of ``Session``s that echo.

Each of the 216 cases sends a thousand messages of one size. The usual run takes one size for each offer and kind of payload.
``make conformance`` runs all of them; it sends and receives about 10 GB, so it runs them in parts, each with a memory limit.
"""

from __future__ import annotations

import resource

import kosoku
import pytest

from mdstream._core.fanout.hub import Hub
from support.websocket import serving

LARGEST = 1 << 20
# kosoku opens the text files that it sends; the garbage collector closes them.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO .*testdata:pytest.PytestUnraisableExceptionWarning"
)
QUICK = ["12.*.2", "13.*.3"]
PIECES = [f"12.{kind}" for kind in range(1, 6)] + [f"13.{offer}" for offer in range(1, 8)]
MOST_GROWTH_KIB = 256 * 1024


def verdicts_of(run, cases: list[str], deadline_s: float) -> dict[str, tuple[str, str]]:
    async def scenario() -> list[kosoku.CaseResult]:
        options = {"max_message_bytes": LARGEST, "control_backlog_bytes": 1 << 26, "any_type": True}
        async with serving(Hub(compression_threshold_bytes=1), **options) as server:
            server.echo()
            url = f"ws://127.0.0.1:{server.port}/v1/stream"
            try:
                return await kosoku.run_fuzzingclient(url, cases=cases, concurrency=4)
            except kosoku.FailureError as failure:
                return failure.results

    results = run(scenario(), deadline_s, debug=False)
    return {case.case_id: (case.behavior.value, case.behavior_close.value) for case in results}


def test_a_case_of_each_kind(run):
    verdicts = verdicts_of(run, QUICK, 180.0)
    assert len(verdicts) == 12
    assert set(verdicts.values()) == {("OK", "OK")}, verdicts


@pytest.mark.complete
@pytest.mark.parametrize("piece", PIECES)
def test_all_cases(run, piece):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdicts = verdicts_of(run, [f"{piece}.*"], 900.0)
    assert len(verdicts) == 18
    assert {case: pair for case, pair in verdicts.items() if pair != ("OK", "OK")} == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KIB
