"""The sender of webhooks: what happens, from the streams of NATS to receivers of HTTP, signed."""

from mdstream.webhooks.hooks import Hook, load_hooks
from mdstream.webhooks.options import WebhookOptions
from mdstream.webhooks.sender import WebhookSender

__all__ = ["Hook", "WebhookOptions", "WebhookSender", "load_hooks"]
