"""Binance spot: order books and trades, live or from a recording."""
