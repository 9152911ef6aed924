from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collectors.pages import Pages, serving


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A real HTTP server that answers as the test says."""
    with serving() as server:
        yield server
