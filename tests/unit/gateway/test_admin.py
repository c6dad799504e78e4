from __future__ import annotations

import json

from mdstream.bus import Refusal
from mdstream.bus.refusals import Reason
from mdstream.gateway.admin import refused_page


def test_refusals_are_shown_by_instrument() -> None:
    refusals = [
        Refusal(2, "SIM:A", "md.SIM.A.book", Reason.PAYLOAD, "ts must be an integer", 21, 0),
        Refusal(1, "SIM:A", "md.SIM.A.snap", Reason.FENCED, "smaller"),
        Refusal(3, "SIM:B", "md.SIM.B.ref", Reason.SCALE, "other exponents"),
    ]
    page = json.loads(refused_page(refusals))
    assert {name: len(entries) for name, entries in page.items()} == {"SIM:A": 2, "SIM:B": 1}
    assert page["SIM:A"][0] == {
        "time_us": 2,
        "subject": "md.SIM.A.book",
        "reason": "payload",
        "message": "ts must be an integer",
        "offset": 21,
        "value": 0,
    }
