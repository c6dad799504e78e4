"""Checks what a writer publishes against the contract: what ``mdstream check`` does."""

from mdstream.check.findings import Finding
from mdstream.check.instrument import InstrumentCheck
from mdstream.check.listener import Options, check
from mdstream.check.report import BusReport, InstrumentReport, Verdict

__all__ = [
    "BusReport",
    "Finding",
    "InstrumentCheck",
    "InstrumentReport",
    "Options",
    "Verdict",
    "check",
]
