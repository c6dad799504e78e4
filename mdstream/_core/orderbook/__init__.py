"""Books: levels, sides, the change log, views at any recent number, the checksum; the log of trades."""
