from mdstream._core.fanout.instrument import Instrument

class Topic:
    """One shared view (instrument, channel, depth, group, interval) and who is subscribed to it. Made by ``Hub.topic``."""

    @property
    def number(self) -> int:
        """The ``sub`` of everybody subscribed to it; unique on its hub, from 1."""
    @property
    def instrument(self) -> Instrument: ...
    @property
    def channel(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def interval_ms(self) -> int: ...
    @property
    def alive(self) -> bool:
        """False once its last subscriber left."""
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int:
        """The number at which it stands: the last one sent to all."""
    @property
    def subscribers(self) -> int: ...
    @property
    def subscription_bytes(self) -> int:
        """Memory that its subscriptions take here; ``Sink.subscription_bytes`` is the rest."""
