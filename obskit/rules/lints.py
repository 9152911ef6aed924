"""What is allowed in a rule file and yet unwise: few warnings, each about something that hurts at three in the morning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from obskit.model.documents import Document
from obskit.model.problems import Problem, Severity
from obskit.rules.groups import AlertRule, Rule

_VALUE: Final = re.compile(r"\$value\b|\.Value\b")


def lint_rule(document: Document, path: tuple[str | int, ...], rule: Rule, *, repeated: bool) -> Iterator[Problem]:
    """Warnings about the rule at `path`; `repeated` when its group already has one of the same name and labels."""
    if repeated:
        yield _warning(document, path, "duplicate-rule", f'"{rule.name}" with these labels is already in this group')
    if isinstance(rule, AlertRule):
        yield from _volatile_labels(document, path, rule)
        yield from _failing_templates(document, path, rule)
        if not rule.labels.get("severity"):
            message = f'"{rule.name}" has no `severity` label: routes cannot tell how much it matters'
            yield _warning(document, path, "missing-severity", message)


def _volatile_labels(document: Document, path: tuple[str | int, ...], rule: AlertRule) -> Iterator[Problem]:
    """Labels are the alert's identity: one that follows the value ends the alert and begins another at every change."""
    for name, text in rule.labels.items():
        template = rule.templates.get(text)
        if template is None or not template.uses_value:
            continue
        match = _VALUE.search(text)
        span = (match.start(), len(match[0])) if match else (0, 1)
        place = document.offset_place((*path, "labels", name), *span)
        message = f"label `{name}` follows the value: each change ends the alert and begins a new one"
        yield document.problem_at(place, "labels-volatile", message, severity=Severity.WARNING)


def _failing_templates(document: Document, path: tuple[str | int, ...], rule: AlertRule) -> Iterator[Problem]:
    """Prometheus loads what can only fail, and the alert says so in the place of its text."""
    for section, texts in (("labels", rule.labels), ("annotations", rule.annotations)):
        for name, text in texts.items():
            template = rule.templates.get(text)
            for doomed in () if template is None else template.doomed:
                place = document.offset_place((*path, section, name), doomed.start, 1)
                yield document.problem_at(place, "template-fails", doomed.why, severity=Severity.WARNING)


def _warning(document: Document, path: tuple[str | int, ...], id: str, message: str) -> Problem:
    key = "alert" if document.place((*path, "alert")) != document.place(path) else "record"
    return document.problem((*path, key), id, message, severity=Severity.WARNING)
