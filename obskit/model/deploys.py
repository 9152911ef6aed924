"""Deploys as records: what collectors write when something went live, and what messages and graphs read again.

A deploy is a business event, in a stream of its own, which is short: `{source="event", event="deploy", app="shop"}`. Its
metadata has `name="deploy"`, as every event has its name there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from obskit.model.context import Deploy
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.records import Record

NAME: Final = "deploy"
_NS_PER_MS: Final = 1_000_000
_STREAM: Final = {"source": "event", "event": NAME}


def deploy_record(app: str, deploy: Deploy, *, vendor: str, kind: str = "release") -> Record:
    """`deploy` as the record to append. `kind` is `release`, `rollback` or `restart`; empty parts are left out."""
    parts = {
        "name": NAME,
        "kind": kind,
        "vendor": vendor,
        "what": deploy.what,
        "by": deploy.by,
        "version": deploy.version,
    }
    words = (kind, app, deploy.version, f"by {deploy.by}" if deploy.by else "")
    line = ": ".join(part for part in (" ".join(word for word in words if word), deploy.what) if part)
    return Record(
        Labels({**_STREAM, "app": app}),
        deploy.t_ms * _NS_PER_MS,
        line,
        {key: value for key, value in parts.items() if value},
    )


def deploys_of(app: str) -> list[Matcher]:
    """The matchers of the stream of a program's deploys."""
    return [Matcher(name, MatchOp.EQUAL, value) for name, value in {**_STREAM, "app": app}.items()]


def deploy_of(record: Record) -> Deploy:
    """The deploy that a record tells of."""
    told: Mapping[str, str] = record.metadata
    what = told.get("what") or told.get("kind") or NAME
    return Deploy(record.t_ns // _NS_PER_MS, what, told.get("by", ""), told.get("version", ""))
