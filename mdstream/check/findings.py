"""What is wrong, where, and what to do about it: one rule for each thing that the contract asks of a writer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

RULES: Final = {
    # what bytes may say
    "json": "Encode with MessagePack; JSON text is refused.",
    "float": "Send whole numbers as MessagePack integers. Some encoders write integers beyond 2^32 as floats: use a 64-bit type there.",
    "binary": "Send text as a MessagePack string (str), not as binary (bin).",
    "type": "Send the type that the contract names for this field.",
    "tag": "Begin each value with the number of its stream: 1 book, 2 snap, 3 trade, 5 status; `ref` is a map.",
    "fields": "Send each field of the contract, in its order, and no other.",
    "bounds": "Keep within the bound that is named here; readers refuse the whole message.",
    "negative_size": "Send the total size of the level, 0 to delete it; never a negative one or a difference.",
    "ref_epoch": "Put `epoch` into `ref`: the same number as in the values of the other streams.",
    "state": "Send one of trading, halted, closed, feed_down.",
    "encoding": "Send the values of the contract back to back, and nothing else.",
    "compressed": "Send the payload as it is: readers do not decompress it.",
    "levels": "Send levels flat, in pairs: [ticks, lots, ticks, lots, …].",
    "ts_unit": "Send times as integer microseconds since 1970 (not seconds, milliseconds or nanoseconds).",
    "ts_ahead": "Set the writer's clock, or send times in microseconds: this one lies more than an hour ahead of the server's clock.",
    "trade_id": "Send ids beyond 2^53 − 1 as text; JavaScript rounds the integer.",
    # where and in which order
    "subject": "Publish on the subject that is named here.",
    "nothing": "Start the writer, and publish `ref`, `status`, `snap` first.",
    "order": "Announce a new epoch with `ref`, then `status`, then `snap`; only then publish `book` and `trade`.",
    "missing": "Publish `ref`, `status` and `snap` of each epoch, in this order.",
    "epoch_unit": "Take the clock in microseconds as epoch, or the greatest known epoch + 1 if that is more.",
    "epoch_ahead": "Set the writer's clock: readers refuse an epoch more than an hour ahead of theirs.",
    "epoch_smaller": "Stop the older writer, or give the new one a greater epoch: readers show the greatest alone.",
    "scale": "Begin a new epoch for a new scale: `ref`, `status`, `snap`, numbers from 1.",
    # numbers and books
    "numbering": "Number the values of each stream 1, 2, 3 … in an epoch, without holes.",
    "conflict": "Run one writer per epoch; a number is used once, and a new life of the writer takes a new epoch.",
    "crossed": "Refuse such an update where it enters: the best bid must be below the best ask (equal is refused too).",
    "too_deep": "Publish fewer levels: readers keep 65,536 a side.",
    "level_twice": "Name each level once in an update, with its newest size.",
    "snap_order": "Send a snap's levels best first, each once, none with size 0.",
    "snap_differs": "Build the snap from the updates that you published, all of them up to its number.",
    "snap_ahead": "Publish a snap after the updates that it holds, on the same connection.",
    "snap_late": "Publish a snap that holds all updates at most 5 s or 1,000 updates after a change.",
    "max_payload": "Raise max_payload on the NATS server, or publish fewer levels: the server refuses a snap of this book.",
    "repeat_late": "Publish `ref` and `snap` again every 60 s, changed or not.",
    # signs of life
    "status_late": "Publish `status` at least every 10 s, also while nothing changes.",
    "status_short": "Send eight values: [5, epoch, ts, state, reason, book_seq, trade_seq, heard]; else frozen data cannot be told.",
    "heard_ahead": "`heard` is `ts` minus the age of the venue's last word, so it is never beyond `ts`.",
    "heard_stuck": "Move `heard` with each update, trade or other word of the venue.",
    "ts_stuck": "Give `status` the time at which it is sent, `book` and `trade` that of the event; do not send the same bytes again.",
    "status_ahead": "Send `status` after the updates that it counts, on the same connection.",
    "status_behind": "Take book_seq and trade_seq when the status is sent: the newest numbers that you published.",
    # what is stored
    "no_jetstream": "Start the server with `nats-server -js`, or put `jetstream {}` into its configuration.",
    "no_stream": "Start a gateway, which creates both streams, or let the writer create them as docs/protocol.md says.",
    "not_stored": "See that the stream lists the subject and has room, and that the account of the writer may publish there.",
}
"""Rule → what to do."""

_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class Finding:
    """A rule that a writer breaks, the first time; ``count`` says how often it was seen."""

    rule: str
    subject: str
    said: str
    """What is wrong, with the numbers."""
    after_s: float
    """When, in seconds since the check began."""
    field: str = ""
    byte: int | None = None
    value: str = ""
    count: int = 1

    @property
    def remedy(self) -> str:
        return RULES[self.rule]

    @property
    def key(self) -> tuple[str, str, str]:
        """Findings with the same key are counted, not listed again."""
        return self.rule, self.subject, _DIGITS.sub("#", self.field)


class Findings:
    """The findings of one instrument, each kind once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Finding] = {}

    def add(self, finding: Finding) -> Finding | None:
        """The finding if it is the first of its kind."""
        known = self._found.setdefault(finding.key, finding)
        if known is finding:
            return finding
        known.count += 1
        return None

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)
