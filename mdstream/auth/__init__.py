"""Who a client is: credentials in, an identity or a refusal out. It knows neither sockets of clients nor NATS."""

from mdstream.auth.authenticator import Authenticator
from mdstream.auth.credentials import Credentials
from mdstream.auth.entitlements import Entitlements
from mdstream.auth.identity import Identity

__all__ = ["Authenticator", "Credentials", "Entitlements", "Identity"]
