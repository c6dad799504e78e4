class LoadState:
    refuses: str | None
    level: int
