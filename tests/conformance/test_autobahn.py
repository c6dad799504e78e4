"""The Autobahn cases against a server of ``Session``s that echo. ``test_autobahn_deflate`` has those of permessage-deflate."""

from __future__ import annotations

import kosoku
import pytest

from mdstream._core.fanout.hub import Hub
from support.websocket import serving

COMPRESSION = ["12.*", "13.*"]
LARGEST = 1 << 24
ACCEPTABLE = {"OK", "INFORMATIONAL"}
CASES = 301


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "uvloop"])
def test_autobahn(run, compiled):
    """NON-STRICT counts as a failure too. The cases of limits and speed (9) run only once."""

    async def scenario() -> list[kosoku.CaseResult]:
        options = {"max_message_bytes": LARGEST, "control_backlog_bytes": 4 * LARGEST, "any_type": True}
        async with serving(Hub(), compiled=compiled, **options) as server:
            server.echo()
            url = f"ws://127.0.0.1:{server.port}/v1/stream"
            left_out = [*COMPRESSION, *(["9.*"] if not compiled else [])]
            try:
                return await kosoku.run_fuzzingclient(url, exclude_cases=left_out, concurrency=4)
            except kosoku.FailureError as failure:
                return failure.results

    results = run(scenario(), 120.0)
    verdicts = {case.case_id: (case.behavior.value, case.behavior_close.value) for case in results}
    assert len(verdicts) == (CASES if compiled else CASES - 54)
    assert {case: pair for case, pair in verdicts.items() if not ACCEPTABLE.issuperset(pair)} == {}
