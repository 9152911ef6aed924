"""Alertmanager's own file: what of it is taken, what is refused with its line, and one that routes as we do.

`alertmanager_config: FILE` adds the file to obskit.yaml's tree as if it had been pasted there, so everything in it is
checked by the same models. Only what its `global:` says for receivers is spread over them here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from obskit.config.files import ConfigTree, read_document
from obskit.model.documents import Document
from obskit.model.documents import Path as KeyPath
from obskit.model.durations import format_duration
from obskit.model.problems import did_you_mean
from obskit.notify.receivers import KINDS, find_kind

if TYPE_CHECKING:
    from obskit.config.load import Config

KEY: Final = "alertmanager_config"
SECTIONS: Final = (
    "global", "route", "inhibit_rules", "receivers", "templates", "time_intervals", "mute_time_intervals",
)  # fmt: skip
REFUSED: Final = {
    "tracing": "obskit sends no traces: leave this out",
    "event_recorder": "obskit keeps its events in its store: leave this out",
}
"""Sections of Alertmanager's that have no meaning here, and the fix."""

SPREAD: Final[Mapping[str, tuple[str, str]]] = {
    "slack_api_url": ("slack_configs", "api_url"),
    "slack_app_token": ("slack_configs", "app_token"),
    "slack_app_url": ("slack_configs", "app_url"),
    "pagerduty_url": ("pagerduty_configs", "url"),
    "opsgenie_api_url": ("opsgenie_configs", "api_url"),
    "opsgenie_api_key": ("opsgenie_configs", "api_key"),
    "telegram_api_url": ("telegram_configs", "api_url"),
    "telegram_bot_token": ("telegram_configs", "bot_token"),
    "smtp_smarthost": ("email_configs", "smarthost"),
    "smtp_from": ("email_configs", "from"),
    "smtp_hello": ("email_configs", "hello"),
    "smtp_auth_username": ("email_configs", "auth_username"),
    "smtp_auth_password": ("email_configs", "auth_password"),
    "smtp_auth_secret": ("email_configs", "auth_secret"),
    "smtp_auth_identity": ("email_configs", "auth_identity"),
    "smtp_require_tls": ("email_configs", "require_tls"),
    "smtp_force_implicit_tls": ("email_configs", "force_implicit_tls"),
    "smtp_tls_config": ("email_configs", "tls_config"),
    "jira_api_url": ("jira_configs", "api_url"),
    "mattermost_webhook_url": ("mattermost_configs", "webhook_url"),
    "rocketchat_api_url": ("rocketchat_configs", "api_url"),
    "rocketchat_token": ("rocketchat_configs", "token"),
    "rocketchat_token_id": ("rocketchat_configs", "token_id"),
    "victorops_api_key": ("victorops_configs", "api_key"),
    "victorops_api_url": ("victorops_configs", "api_url"),
    "webex_api_url": ("webex_configs", "api_url"),
    "wechat_api_url": ("wechat_configs", "api_url"),
    "wechat_api_secret": ("wechat_configs", "api_secret"),
    "wechat_api_corp_id": ("wechat_configs", "corp_id"),
}
"""Keys of `global:`, and of which receivers they are the default of which key."""
SECRETS: Final = frozenset(
    {
        "mattermost_webhook_url",
        "opsgenie_api_key",
        "rocketchat_token",
        "rocketchat_token_id",
        "slack_api_url",
        "slack_app_token",
        "smtp_auth_password",
        "smtp_auth_secret",
        "telegram_bot_token",
        "victorops_api_key",
        "wechat_api_secret",
    }
)
"""Those whose value is nobody's business."""
LOGIN: Final = "http_config"
_ALTERNATIVES: Final = {"slack_api_url": ("app_token",), "slack_app_token": ("api_url",)}
"""Where a receiver says one of these itself, the default would contradict it."""


def take_alertmanager(tree: ConfigTree) -> None:
    """Add what `alertmanager_config` names to the tree, and refuse Alertmanager's sections that mean nothing here."""
    named = tree.data.pop(KEY, None)
    if isinstance(named, str):
        _merge(tree, named)
    elif named is not None:
        tree.problems.append(tree.problem((KEY,), "bad-value", f"{KEY} must be the path of an alertmanager.yml"))
    for key, reason in REFUSED.items():
        if tree.data.pop(key, None):
            tree.problems.append(tree.problem((key,), "not-supported", f"{key}: {reason}", at_key=True))


def _merge(tree: ConfigTree, named: str) -> None:
    path = tree.folder((KEY,)) / named
    if not path.is_file():
        tree.problems.append(tree.problem((KEY,), "file-missing", f"no file matches {named}"))
        return
    document = read_document(path)  # as Alertmanager reads it: a dollar sign in it is one
    tree.files.append(path)
    tree.documents[document.file] = document
    tree.problems.extend(document.problems)
    if isinstance(document.data, dict):
        for key in [key for key in document.data if key not in SECTIONS and key not in REFUSED]:
            message = f'"{key}" is not a section of an alertmanager.yml{did_you_mean(key, SECTIONS)}'
            tree.problems.append(document.problem((key,), "unknown-key", message, at_key=True))
            del document.data[key]
        _keep_its_globals(tree, document)
    tree.merge(document)


def _keep_its_globals(tree: ConfigTree, document: Document) -> None:
    general = document.data.get("global")
    known = ["resolve_timeout", LOGIN, *SPREAD]
    for key in list(general) if isinstance(general, dict) else ():
        if key.removesuffix("_file") not in known:
            message = f'global: "{key}" is not a key of an alertmanager.yml{did_you_mean(key, known)}'
            tree.problems.append(document.problem(("global", key), "unknown-key", message, at_key=True))
            del general[key]


def spread_globals(tree: ConfigTree) -> None:
    """Give each receiver what `global:` says for its kind and it does not say itself.

    What a kind of receiver does not know, or is no kind we have, is refused where `global:` says it and it would count.
    """
    general = tree.data.get("global")
    if not isinstance(general, dict):
        return
    for key in list(general):
        plain = key.removesuffix("_file")
        if plain not in SPREAD and plain != LOGIN:
            continue
        path: KeyPath = ("global", key)
        value = general.pop(key)
        if key != plain and isinstance(value, str):
            value = str(tree.folder(path) / value)
        kinds = [SPREAD[plain]] if plain in SPREAD else [(kind, LOGIN) for kind in KINDS]
        for kind, target in kinds:
            _spread(tree, path, value, (kind, target))


def _spread(tree: ConfigTree, path: KeyPath, value: Any, target: tuple[str, str]) -> None:
    key, (kind, name) = str(path[-1]), target
    plain = key.removesuffix("_file")
    suffix = key[len(plain) :]
    alternatives = (name, f"{name}_file", *_ALTERNATIVES.get(plain, ()))
    entries = [each for each in _entries(tree, kind) if not any(said in each for said in alternatives)]
    if not entries or kind not in KINDS:
        return  # a kind that we do not have is refused where a receiver names it
    fields = find_kind(kind).settings.model_fields
    if not any(name in (field.alias or known, known) for known, field in fields.items()):
        message = f"global.{key}: {kind} do not know {name} here: leave it out"
        tree.problems.append(tree.problem(path, "not-supported", message, at_key=True))
        return
    for entry in entries:
        entry[name + suffix] = value


def _entries(tree: ConfigTree, kind: str) -> Iterator[dict[str, Any]]:
    receivers = tree.data.get("receivers")
    for receiver in receivers if isinstance(receivers, list) else ():
        listed = receiver.get(kind) if isinstance(receiver, dict) else None
        yield from (each for each in listed if isinstance(each, dict)) if isinstance(listed, list) else ()


# A file that routes alike, for programs that ask for one

_AS_WRITTEN: Final = ("inhibit_rules", "time_intervals", "mute_time_intervals")


def as_written(tree: ConfigTree) -> dict[str, Any]:
    """What a person wrote of routing, none of which is a secret."""
    return {key: tree.data[key] for key in ("route", *_AS_WRITTEN) if tree.data.get(key)}


def original(config: Config) -> str:
    """An alertmanager.yml with our routing and the receivers' names: what amtool tests routes by. It holds no secret."""
    import yaml  # noqa: PLC0415 - only who asks for it pays for the dumper

    whole: dict[str, Any] = {
        "global": {"resolve_timeout": format_duration(config.general.resolve_timeout)},
        "route": _route(config.routing.get("route") or {"receiver": config.route.receiver}),
        "receivers": [{"name": each.name} for each in config.receivers],
        **{key: config.routing[key] for key in _AS_WRITTEN if key in config.routing},
    }
    text: str = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    return text


OURS: Final = ("escalate", "repeat_growth", "max_repeat_interval")
"""Keys of a route that Alertmanager does not know."""


def _route(written: Mapping[str, Any]) -> dict[str, Any]:
    """All scalars of ours are text; a boolean must not be one there."""
    route = {key: value for key, value in written.items() if key not in OURS}
    if "continue" in route:
        route["continue"] = str(route["continue"]).lower() in ("true", "yes", "on", "1")
    if "routes" in route:
        route["routes"] = [_route(child) for child in route["routes"]]
    return route
