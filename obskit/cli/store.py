"""Opens the store of a config for reading, beside a daemon that may be writing it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from obskit.cli.options import stop

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.store.embedded import EmbeddedStore
    from obskit.store.settings import StoreSettings

_FOREVER_MS: Final = 10**12


@contextmanager
def open_store(config_path: Path) -> Iterator[EmbeddedStore]:
    """The store that the config names, loaded; ends the command when there is none."""
    with open_configured(config_path) as (_, store):
        yield store


@contextmanager
def open_configured(config_path: Path, *, patient: bool = False) -> Iterator[tuple[Config, EmbeddedStore]]:
    """The same with the config. `patient`: a query may last as long as somebody waits for it."""
    from obskit.cli.watch import load
    from obskit.errors import StoreError
    from obskit.store.embedded import EmbeddedStore

    config = load(config_path)
    try:
        store = EmbeddedStore.open_readonly(config.store.path, _patient(config.store) if patient else config.store)
        store.load()
    except StoreError as error:
        stop(str(error))
    try:
        yield config, store
    finally:
        asyncio.run(store.close())


def _patient(limits: StoreSettings) -> StoreSettings:
    """The settings without a limit of time: output that waits in a pager is no work."""
    return limits.model_copy(update={"query": limits.query.model_copy(update={"max_time": _FOREVER_MS})})
