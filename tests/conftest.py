"""What every test shares: a store in a temporary folder, and real servers that are started when they are there."""

from __future__ import annotations

from hypothesis import settings

from tests.postgres_server import *  # noqa: F403 - as below
from tests.servers import *  # noqa: F403 - fixtures are found by being here

# Hypothesis fails an example that takes 200 ms, which on a busy machine any of them may: how long is no property here.
settings.register_profile("obskit", deadline=None)
settings.register_profile("long", deadline=None, max_examples=20_000)  # pytest --hypothesis-profile=long -o timeout=0
settings.load_profile("obskit")
