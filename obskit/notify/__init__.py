"""Delivery: one file per kind of receiver, each a pure render and a pure classify, and one Integration around them.

What is said is in text.py, what all share in base.py; when to try, and how often, is the outbox's.
"""

from obskit.notify.base import Integration, Look
from obskit.notify.receivers import ReceiverSettings, build_hooks, build_integrations, preview_integrations

__all__ = ["Integration", "Look", "ReceiverSettings", "build_hooks", "build_integrations", "preview_integrations"]
