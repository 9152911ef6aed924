"""Opens the store of a config for reading, beside a daemon that may be writing it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from obskit.cli.options import stop

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.store.embedded import EmbeddedStore


@contextmanager
def open_store(config_path: Path) -> Iterator[EmbeddedStore]:
    """The store that the config names, loaded; ends the command when there is none."""
    with open_configured(config_path) as (_, store):
        yield store


@contextmanager
def open_configured(config_path: Path) -> Iterator[tuple[Config, EmbeddedStore]]:
    """The same with the config."""
    from obskit.cli.watch import load
    from obskit.errors import StoreError
    from obskit.store.embedded import EmbeddedStore

    config = load(config_path)
    try:
        store = EmbeddedStore.open_readonly(config.store.path)
        store.load()
    except StoreError as error:
        stop(str(error))
    try:
        yield config, store
    finally:
        asyncio.run(store.close())
