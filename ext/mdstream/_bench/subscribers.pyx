class Subscribers:
    def __init__(self, plan):
        raise NotImplementedError
