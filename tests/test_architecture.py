"""What must stay true of the code's shape: sizes, names, vendors in their own files, and what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "obskit").rglob("*.py"), *(ROOT / "collectors").rglob("*.py")])
FILE_LINES = 600
FUNCTION_LINES = 60
POSITIONAL = 5
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "manager", "misc"}

VENDORS = {
    "slack": (
        "obskit/notify/slack",
        "obskit/notify/receivers.py",
        "obskit/testing/slack",
        "obskit/cli/slack",
        "obskit/cli/main.py",
    ),
    "pagerduty": ("obskit/notify/pagerduty", "obskit/notify/receivers.py", "obskit/testing/pagerduty"),
    "opsgenie": ("obskit/notify/opsgenie", "obskit/notify/receivers.py", "obskit/testing/opsgenie"),
    "discord": ("obskit/notify/discord", "obskit/notify/receivers.py", "obskit/testing/discord"),
    "telegram": ("obskit/notify/telegram", "obskit/notify/receivers.py", "obskit/testing/telegram"),
    "pushover": ("obskit/notify/pushover", "obskit/notify/receivers.py", "obskit/testing/pushover"),
    "ntfy": ("obskit/notify/ntfy", "obskit/notify/receivers.py", "obskit/testing/ntfy"),
    "apprise": ("obskit/notify/apprise", "obskit/notify/receivers.py"),
    "upstash": (
        "collectors/obskit_collectors/redis",
        "collectors/obskit_collectors/upstash.py",
        "obskit/collect/table.py",
    ),
    "neon": ("collectors/obskit_collectors/postgres", "obskit/testing/neon.py"),
    "supabase": ("collectors/obskit_collectors/postgres", "obskit/testing/supabase.py"),
    "fly.io": ("collectors/obskit_collectors/fly", "obskit/testing/fly.py"),
    "sqs": (
        "collectors/obskit_collectors/sqs",
        "obskit/testing/sqs",
        "obskit/collect/table.py",
        "obskit/shipped.py",
    ),
    "cloudflare": (
        "collectors/obskit_collectors/cloudflare",
        "obskit/testing/cloudflare",
        "obskit/collect/table.py",
        "obskit/store/cold/settings.py",
    ),
}
"""A vendor's word, and the files that may hold it in code (comments and docstrings may explain anything)."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_has_one_theme_and_fits_in_a_head(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES
    assert path.stem not in VAGUE
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not text.strip(), "says what it decides, and what it leaves to others"
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (function.end_lineno or 0) - function.lineno + 1
            assert length <= FUNCTION_LINES, f"{function.name} has {length} lines"
            named = [argument for argument in function.args.args if argument.arg not in ("self", "cls")]
            assert len(named) <= POSITIONAL, f"{function.name}: a value is missing"


def words_in_code(path: Path) -> Iterator[str]:
    """Names and string constants, docstrings left out."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_is_named_in_its_own_files_only(vendor: str) -> None:
    for path in SOURCES:
        if relative(path).startswith(VENDORS[vendor]):
            continue
        found = [word for word in words_in_code(path) if re.search(rf"\b{re.escape(vendor)}\b", word.lower())]
        assert not found, f"{relative(path)} knows {vendor}: {found[:3]}"


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running `code`."""
    script = f"{code}\nimport sys\nprint('loaded:', *sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", script], text=True, cwd=ROOT).split("loaded:")[1].split())


def test_a_service_that_imports_obskit_gets_nothing_of_the_daemon() -> None:
    loaded = loaded_by("import obskit")
    assert {name for name in loaded if name.startswith("obskit.")} == set()
    assert not loaded & {"numpy", "httpx", "pydantic", "yaml", "click", "sqlite3", "asyncio"}


def test_help_imports_no_command_and_no_daemon() -> None:
    code = (
        "import sys; sys.argv = ['obskit', '--help']\nfrom obskit.cli import run\ntry: run()\nexcept SystemExit: pass"
    )
    loaded = loaded_by(code)
    ours = {name for name in loaded if name.startswith("obskit.")}
    assert ours == {"obskit.cli", "obskit.cli.main"}
    assert not loaded & {"numpy", "httpx", "pydantic", "yaml", "rich", "asyncio"}


def test_unit_tests_of_rules_over_metrics_load_neither_a_daemon_nor_logs() -> None:
    loaded = loaded_by("import obskit.cli.rules, obskit.rules.unit_tests")
    assert not loaded & {"asyncio", "ssl", "pydantic", "httpx", "sqlite3", "rich", "html"}
    assert not loaded & {"obskit.logql", "obskit.model.context", "obskit.rules.comparison", "obskit.config"}


def test_the_daemon_loads_neither_a_terminal_library_nor_a_chat_library_until_it_needs_one() -> None:
    loaded = loaded_by("import obskit.watch")
    assert not loaded & {"rich", "pygments", "slack_sdk", "opentelemetry", "multiprocessing.pool"}
    assert not loaded & {"smtplib", "email.policy", "apprise"}
    assert {name for name in loaded if name.startswith("obskit.notify.")} <= {
        f"obskit.notify.{name}" for name in ("base", "defaults", "http", "receivers", "settings")
    }
