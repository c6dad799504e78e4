"""Feed handlers: they publish a venue's market data to NATS with ``mdstream.feed``. Run by ``mdstream feed``."""

import mdstream._core  # noqa: F401 - first, because it tells when it is not built
