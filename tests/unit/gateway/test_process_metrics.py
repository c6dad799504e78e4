"""The same as prometheus_client says of the process, in less time."""

from __future__ import annotations

import os
import sys

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector

from mdstream.gateway.process_metrics import ProcessMetrics, open_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def said(collector: Collector) -> dict[str, tuple[str, str, float]]:
    return {
        family.name: (family.documentation, family.type, family.samples[0].value)
        for family in collector.collect()
    }


def test_it_says_what_the_usual_collector_says() -> None:
    theirs, ours = said(ProcessCollector(registry=CollectorRegistry())), said(ProcessMetrics())
    assert ours.keys() == theirs.keys()
    for name, (text, kind, value) in theirs.items():
        assert ours[name][:2] == (text, kind)
        assert ours[name][2] == pytest.approx(value, rel=0.1, abs=1), name


def test_open_files_are_counted() -> None:
    before = open_files()
    opened = [os.dup(0) for _ in range(5)]
    assert open_files() == before + 5
    for each in opened:
        os.close(each)
