"""The watcher of price alerts: maps of alerts, books and trades from NATS; events to users."""

from mdstream.alerts.options import AlertOptions
from mdstream.alerts.watcher import AlertWatcher

__all__ = ["AlertOptions", "AlertWatcher"]
