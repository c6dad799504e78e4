"""Binance spot: order books and trades, live or from a recording. ``mdstream feed binance --help``."""
