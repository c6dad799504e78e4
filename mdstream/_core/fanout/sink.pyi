from mdstream._core.fanout.topic import Topic

class Sink:
    """Where frames for one client go. ``net.session`` has the one that writes to a WebSocket."""

    @property
    def format(self) -> int:
        """0: JSON, 1: MessagePack."""
    @property
    def blocked(self) -> bool:
        """The peer does not take more now: deliveries are marked, not queued."""
    @property
    def closed(self) -> bool: ...
    @property
    def subscriptions(self) -> int:
        """How many topics it is subscribed to."""
    @property
    def subscription_bytes(self) -> int:
        """Memory that those take here; ``Topic.subscription_bytes`` is the rest."""
    def topics(self) -> list[Topic]: ...
    def close(self) -> None:
        """Drops every subscription; nothing is sent any more."""
