"""Binance spot: order books and trades, live or from a recording. ``python -m feeds.binance --help``."""
