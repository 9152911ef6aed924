"""What every test shares: a store in a temporary folder, and real servers that are started when they are there."""

from __future__ import annotations

from tests.servers import *  # noqa: F403 - fixtures are found by being here
