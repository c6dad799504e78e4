class Floor:
    def __init__(self, instruments, subjects, nats_host, nats_port, *, host="127.0.0.1", port=0, price_exp=-2, size_exp=-8,
                 user=None, password=None, token=None):
        raise NotImplementedError
