class Books:
    def __init__(self, subjects, *, epoch, levels=40, seed=1):
        raise NotImplementedError


class Publisher:
    def __init__(self, books, host, port, *, user=None, password=None, token=None):
        raise NotImplementedError
