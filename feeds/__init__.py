"""Feed handlers: programs that bring a venue's market data onto the bus with ``mdstream.feed``."""

import mdstream._core  # noqa: F401 - first, because it tells when it is not built
