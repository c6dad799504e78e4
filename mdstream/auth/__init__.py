"""Who a client is: credentials in, an identity or a refusal out. It knows neither sockets of clients nor NATS.

Nothing is imported here: a client needs ``client_key`` alone, and no cryptography unless it has a key.
"""
