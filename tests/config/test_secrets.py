"""No secret in anything that is said of a config: not in a message, not under one, not in a repr."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.config import check_files, load_config
from obskit.config.concealment import concealed, known_keys
from obskit.model.problems import Problem
from tests.config.files import SECRET, found, lay

RECEIVERS: dict[str, dict[str, Any]] = {
    "slack_configs": {"channel": "#ops", "app_token": f"xoxb-{SECRET}"},
    "webhook_configs": {
        "url": f"https://u:{SECRET}@example.com/{SECRET}",
        "secret": SECRET,
        "http_config": {"authorization": {"credentials": SECRET}},
    },
    "pagerduty_configs": {"routing_key": SECRET},
}
COLLECTORS: dict[str, dict[str, Any]] = {
    "redis": {"url": f"redis://u:{SECRET}@127.0.0.1:6379/0", "password": SECRET, "token": SECRET, "lists": ["a"]},
    "prometheus": {
        "job_name": "a",
        "static_configs": [{"targets": ["a:1"]}],
        "basic_auth": {"username": "u", "password": SECRET},
    },
}


def whole() -> dict[str, Any]:
    """A config with a secret at every place that takes one."""
    return {
        "web": {"token": SECRET},
        "rule_packs": [],
        "collectors": [{name: data} for name, data in COLLECTORS.items()],
        "receivers": [{"name": "ops", **{key: [data] for key, data in RECEIVERS.items()}}],
    }


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value that holds the secret."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in places(inner, (*path, key))]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in places(inner, (*path, index))]
    return [path] if isinstance(value, str) and SECRET in value else []


def everything_said(problems: list[Problem]) -> str:
    return "\n".join(f"{problem}\n{problem.frame()}\n{problem!r}" for problem in problems)


SECRET_PLACES = places(whole())
SPOILERS: dict[str, Any] = {
    "in a list": lambda value: [value],
    "in a mapping": lambda value: {"value": value},
    "cut short": lambda value: value[:-1] + "\x7f",
    "with another scheme": lambda value: f"ftp://{value}",
    "with spaces": lambda value: f"{value} {value}",
    "on two lines": lambda value: f"{value}\n{value}",
}


def spoilt(path: tuple[str | int, ...], how: str, letter: int) -> dict[str, Any]:
    """The whole config with one secret made wrong, or its key misspelt (a letter left out)."""
    config = json.loads(json.dumps(whole()))
    holder = config
    for step in path[:-1]:
        holder = holder[step]
    key = str(path[-1])
    value = holder.pop(key)
    if how == "misspelt":
        holder[key[: letter % len(key)] + key[letter % len(key) + 1 :]] = value
    else:
        holder[key] = SPOILERS[how](value)
    return dict(config)


def written(config: dict[str, Any], style: str) -> str:
    if style == "one line":
        return json.dumps(config)
    if style == "JSON lines":
        return json.dumps(config, indent=1)
    return "\n".join(block(config, 0))


def block(value: Any, depth: int) -> list[str]:
    """Block style, as people write YAML."""
    pad = "  " * depth
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            nested = isinstance(inner, dict | list) and inner
            lines += [f"{pad}{key}:", *block(inner, depth + 1)] if nested else [f"{pad}{key}: {scalar(inner)}"]
        return lines
    lines = []
    for item in value:
        first, *rest = block(item, depth + 1) if isinstance(item, dict | list) else [scalar(item)]
        lines += [f"{pad}- {first.strip()}", *rest]
    return lines


def scalar(value: Any) -> str:
    plain = isinstance(value, str) and value.isprintable() and not set(value) & set("#:{}[]'\"")
    return str(value) if plain else json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from(SECRET_PLACES),
    how=st.sampled_from(["misspelt", *SPOILERS]),
    letter=st.integers(0, 20),
    style=st.sampled_from(["one line", "JSON lines", "block"]),
    cut=st.integers(0, 40),
)
def test_a_secret_is_in_nothing_that_is_said(
    path: tuple[str | int, ...], how: str, letter: int, style: str, cut: int
) -> None:
    """However it is misspelt or misplaced, and wherever the file breaks off."""
    text = written(spoilt(path, how, letter), style)
    with tempfile.TemporaryDirectory() as folder:
        for version in (text, text[: len(text) - cut], text + "\n\tbroken: ["):
            problems = check_files([lay(Path(folder), version)], {}).problems
            assert SECRET not in everything_said(problems)


def test_the_whole_config_is_right_and_its_repr_shows_no_secret(tmp_path: Path) -> None:
    config = load_config(lay(tmp_path, json.dumps(whole())), {})
    assert SECRET not in repr(config)
    assert SECRET not in repr(config.sources)
    assert SECRET not in repr([receiver.model_dump() for receiver in config.receivers])


def test_a_secret_from_the_environment_is_in_nothing_that_is_said(tmp_path: Path) -> None:
    text = (
        'receivers: [{name: a, webhook_configs: [{url: "${HOOK}"}], pagerduty_configs: [{routing_key: ["${HOOK}"]}]}]'
    )
    problems = found(tmp_path, text, HOOK=f"nonsense {SECRET}")
    assert problems
    assert SECRET not in everything_said(problems)


@pytest.mark.parametrize(
    ("text", "number", "shown"),
    [
        ("url: https://a/b", 1, "url: ***********"),
        ("url: ${URL}", 1, "url: ${URL}"),
        ('url: "${URL}"', 1, 'url: "${URL}"'),
        ("url: ${URL:-https://a}", 1, "url: *****************"),
        ("  - {url: a, lists: [b]}", 1, "  - {url: *, lists: [b]}"),
        ("  - {url: 'a, b', lists: [b]}", 1, "  - {url: ******, lists: [b]}"),
        ("  - {lists: [b], url: [a, b]}", 1, "  - {lists: [b], url: *******"),
        ("token: 'open", 1, "token: *****"),
        ("token:\n  - abc", 2, "  - ***"),
        ("token:\n- abc", 2, "- ***"),
        ("token: |\n  abc\n  def", 3, "  ***"),
        ('token: "abc\n  def"', 2, "  ****"),
        ("tokn: abc", 1, "tokn: ***"),
        ("whatever: abc", 1, "whatever: ***"),
        ("chanel: '#ops'", 1, "chanel: '#ops'"),
        ("lists: [a, b]  # url: x", 1, "lists: [a, b]  # url: *"),
        ("token: abc\nlists: [a]", 2, "lists: [a]"),
        ("redis:\n  token: abc\n  lists: [a]", 3, "  lists: [a]"),
        ("just words", 1, "just words"),
        ("", 1, ""),
    ],
)
def test_a_line_is_shown_without_the_values_of_secrets(text: str, number: int, shown: str) -> None:
    assert concealed(text.split("\n"), number, known_keys()) == shown


def test_the_models_say_what_is_a_secret() -> None:
    keys = known_keys()
    assert {"token", "password", "url", "routing_key", "app_token", "credentials", "api_url"} <= keys.secret
    assert {"channel", "lists", "paths", "receiver", "listen", "token_file", "redis"} <= keys.plain
