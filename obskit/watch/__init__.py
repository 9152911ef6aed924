"""The composition root: the only room that picks implementations, starts them in order and stops them in order."""

from obskit.watch.daemon import Daemon, Options

__all__ = ["Daemon", "Options"]
