"""What a gateway does without."""

from __future__ import annotations

import errno
import logging

from mdstream.gateway import node


def test_where_io_uring_is_refused_clients_are_written_to_one_by_one(monkeypatch, caplog):
    def refuse():
        raise OSError(errno.EPERM, "io_uring is not available: Operation not permitted")

    monkeypatch.setattr(node, "UringSender", refuse)
    with caplog.at_level(logging.INFO, "mdstream.gateway"):
        assert node._sender() is None
    assert caplog.messages == [
        "io_uring is not available: Operation not permitted; clients are written to one by one"
    ]
