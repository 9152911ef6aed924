"""Prometheus rule files to Groups, with every problem of the file at once and the place of each.

The format is Prometheus' own (model/rulefmt/rulefmt.go), plus the keys of OWN_KEYS. Expressions are left to the parsers
of obskit.promql and obskit.logql, templates to template.py; what is right but unwise is left to lints.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.errors import PatternError, QuerySyntaxError
from obskit.model.documents import parse_document
from obskit.model.problems import Problem, Severity, did_you_mean
from obskit.promql.nodes import ValueType
from obskit.promql.parser import parse as parse_promql
from obskit.rules.fields import Fields, Path
from obskit.rules.groups import AlertRule, Group, GroupType, OnMissing, RecordingRule, Rule, rule_key
from obskit.rules.lints import lint_rule
from obskit.rules.template import Template, TemplateError, compile_template

FORM_KEYS: Final = (
    "frequency", "spike", "flatline", "change", "new_value", "cardinality", "percentage", "metric", "whitelist",
    "blacklist", "absence", "funnel",
)  # fmt: skip
LINE_KEYS: Final = ("window", "notify", "at_most", "during", *FORM_KEYS)
"""The keys of rules over lines; what they mean is decided in line_rules.py and forms.py."""
GROUP_KEYS: Final = ("name", "interval", "query_offset", "limit", "labels", "rules", "type")
RULE_KEYS: Final = (
    "record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations", "resolve_expr", "on_missing",
    *LINE_KEYS,
)  # fmt: skip
ALERT_ONLY: Final = ("for", "keep_firing_for", "annotations", "resolve_expr", "on_missing", *LINE_KEYS)
_NOTHING: Final = ("", "0", "0s", "0m", "0h")
"""What generators write beside a recording rule to say nothing of alerts, and Prometheus takes for nothing."""
OWN_KEYS: Final = ("type", "resolve_expr", "on_missing", *LINE_KEYS)
"""The keys of groups and rules that a Prometheus does not know, and refuses."""


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What was read. With an error among the problems no group of the file may be used, as in Prometheus.

    `own_keys` are those of OWN_KEYS that are written in it.
    """

    file: str
    groups: tuple[Group, ...]
    problems: tuple[Problem, ...]
    own_keys: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing in the file is wrong; warnings do not count."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)

    @property
    def portable(self) -> bool:
        """Whether a Prometheus would load the file too: it has none of our own keys."""
        return not self.own_keys


def load_rules(
    text: str, file: str, *, default_interval_ms: int = 60_000, default_query_offset_ms: int = 0
) -> RuleFile:
    """Read one rule file. `file` names it in places and keys; a group without `interval` or `query_offset` takes ours."""
    document = parse_document(text, file)
    fields = _RuleFields(document)
    root = fields.mapping((), document.data, ("groups",)) or {}
    groups: list[Group] = []
    names: set[str] = set()
    for index, data in enumerate(fields.sequence(("groups",), root.get("groups"))):
        group = _GroupReader(fields, ("groups", index), file).read(data, default_interval_ms, default_query_offset_ms)
        if group is None:
            continue
        if group.name in names:
            message = f'the group name "{group.name}" is already used in this file'
            fields.error(("groups", index, "name"), "duplicate-group", message)
        names.add(group.name)
        groups.append(group)
    problems = sorted(document.problems, key=lambda problem: (problem.place.line, problem.place.column))
    return RuleFile(file, tuple(groups), tuple(problems), tuple(key for key in OWN_KEYS if key in fields.keys))


@dataclass(slots=True)
class _RuleFields(Fields):
    """Fields of a rule file. Hundreds of rules have equal texts, and nobody changes them: each is kept once."""

    same_texts: dict[tuple[tuple[str, str], ...], dict[str, str]] = field(default_factory=dict)
    same_templates: dict[tuple[str, ...], dict[str, Template]] = field(default_factory=dict)
    compiled: dict[str, Template] = field(default_factory=dict)

    def shared(self, texts: dict[str, str]) -> dict[str, str]:
        """The first of all texts that are equal to these."""
        return self.same_texts.setdefault(tuple(texts.items()), texts)


@dataclass(slots=True)
class _GroupReader:
    """Reads one group. `seen` counts its rules by name and labels, so that equal ones get keys of their own."""

    fields: _RuleFields
    path: Path
    file: str
    name: str = ""
    type: GroupType = GroupType.PROMETHEUS
    labels: dict[str, str] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def read(self, data: Any, default_interval_ms: int, default_query_offset_ms: int) -> Group | None:
        fields, path = self.fields, self.path
        if data is None:
            fields.error(path, "wrong-type", "a group (name, rules) belongs here")
        group = fields.mapping(path, data, GROUP_KEYS)
        if group is None:
            return None
        self.name = fields.text((*path, "name"), group.get("name"))
        if not group.get("name"):
            fields.error((*path, "name"), "missing-key", "a group needs a name")
        self.type = self._type(group.get("type"))
        self.labels = fields.texts((*path, "labels"), group.get("labels"), "label")
        interval_ms = fields.duration((*path, "interval"), group.get("interval"), 0)
        rules = fields.sequence((*path, "rules"), group.get("rules"))
        return Group(
            file=self.file,
            name=self.name,
            type=self.type,
            interval_ms=interval_ms or default_interval_ms,
            query_offset_ms=fields.duration(
                (*path, "query_offset"), group.get("query_offset"), default_query_offset_ms
            ),
            limit=fields.integer((*path, "limit"), group.get("limit")),
            rules=tuple(self._rules(rules)),
        )

    def _type(self, value: Any) -> GroupType:
        path = (*self.path, "type")
        text = self.fields.text(path, value) or GroupType.PROMETHEUS.value
        try:
            return GroupType(text)
        except ValueError:
            known = [kind.value for kind in GroupType]
            message = f'unknown group type "{text}"{did_you_mean(text, known)}: one of {", ".join(known)}'
            self.fields.error(path, "unknown-type", message)
            return GroupType.PROMETHEUS

    def _rules(self, rules: Iterable[Any]) -> Iterable[Rule]:
        fields = self.fields
        for index, data in enumerate(rules):
            path = (*self.path, "rules", index)
            if data is None:
                fields.error(path, "wrong-type", "a rule (alert or record, expr) belongs here")
            rule = fields.mapping(path, data, RULE_KEYS)
            if rule is not None:
                yield from self._rule(path, rule)
            fields.done(path)

    def _rule(self, path: Path, data: dict[str, Any]) -> Iterable[Rule]:
        """One rule, or none when it could not be named or its expression not be read."""
        fields = self.fields
        alert = fields.text((*path, "alert"), data.get("alert"))
        record = fields.text((*path, "record"), data.get("record"))
        if bool(alert) == bool(record):
            message = "a rule has either `alert` or `record`, not both" if alert else "a rule needs `alert` or `record`"
            fields.error(path, "alert-or-record", message)
            return
        own = fields.texts((*path, "labels"), data.get("labels"), "label")
        labels = fields.shared({**self.labels, **own})
        expr, query = self._measured(path, data)
        name = alert or record
        identity = rule_key((self.file, self.name), name, labels, 0)
        before = self.seen[identity]
        key = rule_key((self.file, self.name), name, labels, before) if before else identity
        self.seen[identity] += 1
        place = fields.document.place((*path, "alert" if alert else "record"))
        base = {"key": key, "name": name, "expr": expr, "query": query}
        base |= {"labels": labels, "place": place}
        rule: Rule
        if alert:
            rule = AlertRule(**base, **self._of_alerts(path, data, labels))
        else:
            self._check_record(path, data, record)
            rule = RecordingRule(**base)
        fields.document.problems.extend(lint_rule(fields.document, path, rule, repeated=before > 0))
        if query is not None:
            yield rule

    def _measured(self, path: Path, data: Mapping[str, Any]) -> tuple[str, Any]:
        """The expression of a rule, as text and parsed: its `expr`, or what its form stands for."""
        if self.type.reads_logs and any(name in data for name in FORM_KEYS):
            text, form = _line_rules().read_form(self.fields, path, data)
            return str(text), form
        for name in LINE_KEYS:
            if name in data and not self.type.reads_logs:
                message = f"`{name}` is for rules over lines: the group needs `type: loki` or `type: events`"
                self.fields.error((*path, name), "lines-only", message, at_key=True)
        query = self._query((*path, "expr"), data.get("expr"), lines="alert" in data)
        if self.type.reads_logs and query is not None and _gives_lines(query):
            query = _line_rules().read_lines(self.fields, path, data, query)
        return str(data.get("expr") or "").strip(), query

    def _of_alerts(self, path: Path, data: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
        """What only an alerting rule has."""
        fields = self.fields
        annotations = fields.texts((*path, "annotations"), data.get("annotations"), "annotation")
        templates: dict[str, Template] = {}
        for section, texts in (("labels", labels), ("annotations", annotations)):
            for name, text in texts.items():
                inherited = section == "labels" and name not in (data.get("labels") or {})
                place = (*self.path, "labels", name) if inherited else (*path, section, name)
                self._compile(place, text, templates)
        resolve = self._query((*path, "resolve_expr"), data["resolve_expr"]) if "resolve_expr" in data else None
        return {
            "for_ms": fields.duration((*path, "for"), data.get("for"), 0),
            "keep_firing_for_ms": fields.duration((*path, "keep_firing_for"), data.get("keep_firing_for"), 0),
            "annotations": fields.shared(annotations),
            "templates": fields.same_templates.setdefault(tuple(templates), templates),
            "on_missing": self._on_missing((*path, "on_missing"), data.get("on_missing")),
            "resolve_query": resolve,
            "during": _line_rules().read_during(fields, path, data) if "during" in data else None,
        }

    def _on_missing(self, path: Path, value: Any) -> OnMissing:
        if value is None:
            return OnMissing.RESOLVE
        text = self.fields.text(path, value) or OnMissing.RESOLVE.value
        known = [choice.value for choice in OnMissing]
        if text not in known:
            message = f'unknown on_missing "{text}"{did_you_mean(text, known)}: one of {", ".join(known)}'
            self.fields.error(path, "unknown-on-missing", message)
            return OnMissing.RESOLVE
        if self.type.reads_logs and text != OnMissing.RESOLVE:
            message = "`on_missing` needs metrics: where no lines come, nobody knows whether some are missing"
            self.fields.error(path, "metrics-only", message)
        return OnMissing(text)

    def _check_record(self, path: Path, data: Mapping[str, Any], name: str) -> None:
        for key in ALERT_ONLY:
            if data.get(key) and data[key] not in _NOTHING:
                message = f"`{key}` belongs to alerts, not to a recording rule"
                self.fields.error((*path, key), "alert-only", message, at_key=True)
        if "{" in name or "}" in name:
            message = f"braces in the name of a recording rule: {name!r} (labels go under `labels`)"
            self.fields.error((*path, "record"), "bad-name", message)

    def _query(self, path: Path, value: Any, *, lines: bool = False) -> Any:
        text = self.fields.text(path, value)
        if not text.strip():
            if value is None or isinstance(value, str):
                needed = "a rule needs an `expr`" if path[-1] == "expr" else f"`{path[-1]}` is empty"
                self.fields.error(path, "missing-key", needed)
            return None
        language = "logql" if self.type.reads_logs else "promql"
        try:
            query = _parse_logql(text) if self.type.reads_logs else parse_promql(text)
        except QuerySyntaxError as error:
            # The parsers say where in the expression the pattern stands, and keep the reason as the context.
            slug = "bad-regex" if isinstance(error.__context__, PatternError) else f"{language}-syntax"
            self.fields.error_at(path, error.start, error.end - error.start, id=slug, message=error.message)
        except PatternError as error:
            self.fields.error(path, "bad-regex", str(error))
        else:
            if (lines and self.type.reads_logs) or self._numbers(path, query):
                return query
        return None

    def _numbers(self, path: Path, query: Any) -> bool:
        """Whether the expression gives numbers; Prometheus would find out at the first evaluation only."""
        if self.type.reads_logs and _gives_lines(query):
            message = "a rule needs numbers, and this gives lines: count them, as in count_over_time({...}[5m]) > 0"
        elif not self.type.reads_logs and query.type in (ValueType.MATRIX, ValueType.STRING):
            message = f"a rule needs an instant vector or a scalar, and this is a {query.type}"
        else:
            return True
        self.fields.error(path, "wrong-result", message)
        return False

    def _compile(self, path: Path, text: str, templates: dict[str, Template]) -> None:
        if "{{" not in text or text in templates:
            return
        known = self.fields.compiled
        try:
            templates[text] = known.get(text) or known.setdefault(text, compile_template(text))
        except TemplateError as error:
            self.fields.error_at(path, error.start, 1, id="template-syntax", message=error.message)


def _parse_logql(text: str) -> Any:
    from obskit.logql.parser import parse  # noqa: PLC0415 - whose rules are all over metrics never loads it

    return parse(text)


def _gives_lines(query: Any) -> bool:
    from obskit.logql.log_nodes import LogQuery  # noqa: PLC0415 - as above

    return isinstance(query, LogQuery)


def _line_rules() -> Any:
    from obskit.rules import line_rules  # noqa: PLC0415 - as above

    return line_rules
