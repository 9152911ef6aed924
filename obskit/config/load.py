"""Puts the sections together: reads, validates, and checks what no single section can see.

What a section may say is decided by the model beside its component; here is only the assembly.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from obskit.collect import PACKS, Source, find_kind, kind_names
from obskit.config.alertmanager import as_written, spread_globals, take_alertmanager
from obskit.config.files import GLOB, ConfigTree, expand, read_document, read_tree
from obskit.config.hints import hints
from obskit.config.sections import GlobalSettings, RootKeys, SentHeartbeats, WebSettings
from obskit.config.validation import validate
from obskit.errors import CollectorError, ConfigError
from obskit.grouping.settings import GroupingSettings
from obskit.ingest.settings import IngestSettings
from obskit.model.documents import Path as KeyPath
from obskit.model.problems import Place, Problem, Severity, did_you_mean
from obskit.notify import ReceiverSettings
from obskit.routing.flaps import FlapSettings
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intervals import TimeIntervalSettings, build_intervals
from obskit.routing.maintenance import MaintenanceSettings
from obskit.routing.policy import Policy
from obskit.routing.tree import RouteSettings, build_tree, check_tree
from obskit.rules.files import RuleFile, load_rules
from obskit.rules.groups import Group
from obskit.shipped import OPT_IN, pack_files, rule_packs
from obskit.store.settings import StoreSettings

T = TypeVar("T")

UNSET: Final = "unset-variable"
DEFAULT_RECEIVER: Final = "console"
_DEFAULT_ROUTE: Final = {"group_by": ["alertname"], "group_wait": "0s", "group_interval": "30s"}
_DEFAULT_RECEIVERS: Final = [{"name": DEFAULT_RECEIVER, "console_configs": [{}]}]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a daemon is built from. `files` are watched for changes; `warnings` did not keep it from loading.

    `routing` holds the sections of routing as they were written.
    """

    path: Path
    general: GlobalSettings
    store: StoreSettings
    web: WebSettings
    ingest: IngestSettings
    errors: GroupingSettings
    heartbeats: SentHeartbeats
    sources: tuple[Source, ...]
    groups: tuple[Group, ...]
    route: RouteSettings
    receivers: tuple[ReceiverSettings, ...]
    files: tuple[Path, ...]
    inhibit_rules: tuple[InhibitRuleSettings, ...] = ()
    time_intervals: tuple[TimeIntervalSettings, ...] = ()
    maintenance: tuple[MaintenanceSettings, ...] = ()
    flapping: FlapSettings = field(default_factory=FlapSettings)
    routing: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    @property
    def policy(self) -> Policy:
        """What the dispatcher decides by."""
        return Policy(
            build_tree(self.route),
            tuple(each.rule() for each in self.inhibit_rules),
            build_intervals(self.time_intervals),
            self.general.resolve_timeout,
            tuple(each.window() for each in self.maintenance),
            self.flapping,
            {each.name: each.fallback for each in self.receivers if each.fallback},
        )

    @property
    def own_groups(self) -> tuple[Group, ...]:
        """The groups that a person wrote: those of no shipped pack."""
        packs = set(pack_files().values())
        return tuple(group for group in self.groups if group.file not in packs)

    @property
    def rule_count(self) -> int:
        """How many rules there are in all groups."""
        return sum(len(group.rules) for group in self.groups)


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The config in `path`; ConfigError with every problem of it and its rule files when there is an error."""
    loaded = _load(path, os.environ if environment is None else environment)
    if loaded.config is None:
        raise ConfigError([problem for problem in loaded.problems if problem.severity is Severity.ERROR])
    return loaded.config


@dataclass(slots=True)
class Checked:
    """What `obskit check` saw: how many files and rules, everything it found, and which files use keys of our own."""

    files: list[Path] = field(default_factory=list)
    rules: int = 0
    problems: list[Problem] = field(default_factory=list)
    own_keys: dict[str, tuple[str, ...]] = field(default_factory=dict)


def check_files(paths: Sequence[Path], environment: Mapping[str, str] | None = None) -> Checked:
    """Check config files (with all they name), rule files and their unit tests.

    A file with `groups:` is one of rules, one with `tests:` is one of unit tests.
    """
    checked = Checked()
    for path in paths:
        document = read_document(path)
        if isinstance(document.data, dict) and "tests" in document.data:
            checked.problems += _unit_test_problems(path)
            checked.files.append(path)
            continue
        if isinstance(document.data, dict) and "groups" in document.data:
            (read,) = _read_rules([path], GlobalSettings(), checked.problems)
            checked.rules += sum(len(group.rules) for group in read.groups)
            checked.files.append(path)
            checked.own_keys |= _own_keys([read])
            continue
        loaded = _load(path, os.environ if environment is None else environment)
        checked.problems += loaded.problems
        checked.files += loaded.files
        checked.rules += loaded.rules
        checked.own_keys |= loaded.own_keys
    return checked


def _unit_test_problems(path: Path) -> Sequence[Problem]:
    from obskit.rules.unit_test_files import read_test_file  # noqa: PLC0415 - the daemon never reads one

    try:
        return read_test_file(path).warnings
    except ConfigError as error:
        return error.problems


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What became of a config file: `config` is None when one of the problems is an error."""

    config: Config | None
    problems: list[Problem]
    files: tuple[Path, ...]
    rules: int
    own_keys: Mapping[str, tuple[str, ...]]


def _load(path: Path, environment: Mapping[str, str]) -> _Loaded:
    tree = read_tree(path, environment)
    take_alertmanager(tree)
    _check_keys(tree)
    spread_globals(tree)
    if tree.data.get("templates"):
        from obskit.config.templates import read_templates  # noqa: PLC0415 - few write templates

        read_templates(tree)
    general: GlobalSettings = _section(tree, "global", GlobalSettings) or GlobalSettings()
    store: StoreSettings | None = validate(StoreSettings, tree.data.get("store") or {}, tree, ("store",))
    web: WebSettings | None = _section(tree, "web", WebSettings)
    ingest: IngestSettings | None = _section(tree, "ingest", IngestSettings)
    errors: GroupingSettings | None = _section(tree, "errors", GroupingSettings)
    heartbeats: SentHeartbeats | None = _section(tree, "heartbeats", SentHeartbeats)
    sources = list(_named_once(tree, [*_collectors(tree), *_scrapes(tree, general)]))
    intervals = list(_intervals(tree))
    receivers, route = _receivers(tree), _route(tree, [each.name for each in intervals])
    inhibit_rules = list(_items(tree, "inhibit_rules", InhibitRuleSettings))
    maintenance = list(_maintenance(tree, [each.name for each in intervals]))
    flapping: FlapSettings | None = _section(tree, "flapping", FlapSettings)
    rule_files = _rule_files(tree, frozenset(source.kind for source in sources))
    read = _read_rules(rule_files, general, tree.problems)
    groups = [group for file in read for group in file.groups]
    if route is not None and not any(problem.severity is Severity.ERROR for problem in tree.problems):
        rules_of_inhibition = [each.rule() for each in inhibit_rules]
        tree.problems.extend(hints(tree, route, rules_of_inhibition, groups))
    shipped = set(rule_packs().values())
    files = (*tree.files, *(file for file in rule_files if file not in shipped))
    problems = _presentable(tree, files)
    rules = sum(len(group.rules) for group in groups)
    if route is None or store is None or any(problem.severity is Severity.ERROR for problem in problems):
        return _Loaded(None, problems, files, rules, _own_keys(read))
    config = Config(
        path=path,
        general=general,
        store=store,
        web=web or WebSettings(),
        ingest=ingest or IngestSettings(),
        errors=errors or GroupingSettings(),
        heartbeats=heartbeats or SentHeartbeats(),
        sources=tuple(sources),
        groups=tuple(groups),
        route=route,
        receivers=tuple(receivers),
        files=files,
        inhibit_rules=tuple(inhibit_rules),
        time_intervals=tuple(intervals),
        maintenance=tuple(maintenance),
        flapping=flapping or FlapSettings(),
        routing=as_written(tree),
        warnings=tuple(problem for problem in problems if problem.severity is Severity.WARNING),
    )
    return _Loaded(config, problems, files, rules, _own_keys(read))


def _presentable(tree: ConfigTree, files: Sequence[Path]) -> list[Problem]:
    """All problems in the order of the files and their lines; the values of secrets hidden in what is shown of them."""
    order = {str(file): number for number, file in enumerate(files)}
    found = sorted(tree.problems, key=lambda each: (order.get(each.place.file, -1), each.place.line, each.place.column))
    # What an unset variable left empty is wrong by that alone.
    unset = {problem.place for problem in found if problem.id == UNSET}
    return [_without_secrets(each, tree) for each in found if each.id == UNSET or each.place not in unset]


def _without_secrets(problem: Problem, tree: ConfigTree) -> Problem:
    document = tree.documents.get(problem.place.file)
    if document is None or not problem.source:
        return problem
    from obskit.config.concealment import concealed, known_keys  # noqa: PLC0415 - loads every collector and receiver

    return replace(problem, source=concealed(document.lines, problem.place.line, known_keys()))


def _section(tree: ConfigTree, name: str, model: Any) -> Any:
    data = tree.data.get(name)
    return None if data is None else validate(model, data, tree, (name,))


def _check_keys(tree: ConfigTree) -> None:
    known = [field.alias or name for name, field in RootKeys.model_fields.items()]
    for key in tree.data:
        if key in known:
            continue
        message = f'"{key}" is not a section of obskit.yaml{did_you_mean(key, known)}'
        tree.problems.append(tree.problem((key,), "unknown-key", message, at_key=True))


def _list(tree: ConfigTree, name: str) -> list[Any]:
    data = tree.data.get(name)
    if data is None:
        return []
    if not isinstance(data, list):
        tree.problems.append(tree.problem((name,), "bad-value", f"{name} must be a list (- item)"))
        return []
    return data


def _collectors(tree: ConfigTree) -> Iterable[tuple[Source, KeyPath]]:
    """`- redis: {…}`, or `- host` where nothing needs to be said."""
    for index, item in enumerate(_list(tree, "collectors")):
        entry = {item: {}} if isinstance(item, str) else item
        if not isinstance(entry, dict) or len(entry) != 1:
            message = f"collectors[{index}]: write one collector per item, as in `- redis: {{...}}`"
            tree.problems.append(tree.problem(("collectors", index), "bad-value", message))
            continue
        ((name, data),) = entry.items()
        yield from _source(tree, name, data or {}, ("collectors", index, name))


def _scrapes(tree: ConfigTree, general: GlobalSettings) -> Iterable[tuple[Source, KeyPath]]:
    """Prometheus' own section: its items are targets of the prometheus collector."""
    for index, item in enumerate(_list(tree, "scrape_configs")):
        data = item
        if isinstance(item, dict):
            data = {"scrape_interval": general.scrape_interval, "scrape_timeout": general.scrape_timeout, **item}
        yield from _source(tree, "prometheus", data, ("scrape_configs", index))


def _named_once(tree: ConfigTree, sources: Iterable[tuple[Source, KeyPath]]) -> Iterable[Source]:
    """Two collectors of one name would share their books: which of them is down, nobody could tell."""
    names: set[str] = set()
    for source, path in sources:
        name = find_kind(source.kind).build(source.settings).name
        if name in names:
            hint = "job_name" if source.kind == "prometheus" else "name"
            message = f'a collector "{name}" is already configured: give each its own {hint}'
            tree.problems.append(tree.problem(path, "duplicate-name", message, at_key=True))
        names.add(name)
        yield source


def _source(tree: ConfigTree, name: str, data: Any, path: KeyPath) -> Iterable[tuple[Source, KeyPath]]:
    try:
        kind = find_kind(name)
    except CollectorError as error:
        known = "" if "(did you mean" in str(error) else f" (there are: {', '.join(kind_names())})"
        tree.problems.append(tree.problem(path, "unknown-collector", f"{error}{known}", at_key=True))
        return
    settings: Any = validate(kind.settings, data, tree, path)
    if settings is not None:
        yield Source(name, settings), path


def _receivers(tree: ConfigTree) -> list[ReceiverSettings]:
    data = _list(tree, "receivers")
    if not data:
        return [ReceiverSettings.model_validate(item) for item in _DEFAULT_RECEIVERS]
    receivers: list[ReceiverSettings] = []
    names: set[str] = set()
    for index, item in enumerate(data):
        receiver: ReceiverSettings | None = validate(ReceiverSettings, item, tree, ("receivers", index))
        if receiver is None:
            continue
        if receiver.name in names:
            message = f'receivers[{index}]: the name "{receiver.name}" is taken'
            tree.problems.append(tree.problem(("receivers", index, "name"), "duplicate-name", message))
        names.add(receiver.name)
        receivers.append(receiver)
    _check_fallbacks(tree, receivers, [str(item.get("name")) for item in data if isinstance(item, dict)])
    return receivers


def _check_fallbacks(tree: ConfigTree, receivers: Sequence[ReceiverSettings], names: Sequence[str]) -> None:
    for index, each in enumerate(receivers):
        message = ""
        if each.fallback == each.name:
            message = "a receiver cannot stand in for itself"
        elif each.fallback and each.fallback not in names:
            message = f'undefined receiver "{each.fallback}" used as fallback{did_you_mean(each.fallback, names)}'
        if message:
            tree.problems.append(tree.problem(("receivers", index, "fallback"), "bad-value", message))


def _items(tree: ConfigTree, section: str, model: type[T]) -> Iterator[T]:
    for index, item in enumerate(_list(tree, section)):
        found: T | None = validate(model, item, tree, (section, index))
        if found is not None:
            yield found


def _intervals(tree: ConfigTree) -> Iterator[TimeIntervalSettings]:
    """Both lists that Alertmanager has for them; a name stands for one thing."""
    names: set[str] = set()
    for section in ("time_intervals", "mute_time_intervals"):
        for index, each in enumerate(_items(tree, section, TimeIntervalSettings)):
            if each.name in names:
                message = f'{section}[{index}]: the name "{each.name}" is taken'
                tree.problems.append(tree.problem((section, index, "name"), "duplicate-name", message))
            names.add(each.name)
            yield each


def _maintenance(tree: ConfigTree, intervals: Sequence[str]) -> Iterator[MaintenanceSettings]:
    for index, each in enumerate(_items(tree, "maintenance", MaintenanceSettings)):
        for number, name in enumerate(each.time_intervals):
            if name not in intervals:
                message = f'undefined time interval "{name}" used in maintenance{did_you_mean(name, intervals)}'
                path = ("maintenance", index, "time_intervals", number)
                tree.problems.append(tree.problem(path, "bad-value", message))
        yield each


def _route(tree: ConfigTree, intervals: Sequence[str]) -> RouteSettings | None:
    """The routing tree. Without one, everything goes to the only receiver there is."""
    # A receiver with a mistake in it is one all the same: that it is not defined would be a second telling.
    listed = tree.data.get("receivers")
    named = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    names = [str(item.get("name")) for item in named] or [DEFAULT_RECEIVER]
    data = tree.data.get("route")
    if data is None:
        if len(names) > 1:
            message = "several receivers need a route: add `route: {receiver: NAME}`"
            tree.problems.append(tree.problem(("receivers",), "missing-key", message, at_key=True))
        return RouteSettings.model_validate({**_DEFAULT_ROUTE, "receiver": names[0]})
    route: RouteSettings | None = validate(RouteSettings, data, tree, ("route",))
    for wrong in check_tree(route, names, intervals) if route is not None else ():
        tree.problems.append(tree.problem(("route", *wrong.path), "bad-route", wrong.message))
    return route


def _rule_files(tree: ConfigTree, kinds: frozenset[str]) -> list[Path]:
    packs = rule_packs()
    default = [name for name in packs if name not in OPT_IN and (name not in PACKS or PACKS[name] & kinds)]
    chosen = tree.data.get("rule_packs")
    found: list[Path] = []
    for index, name in enumerate(default if chosen is None else _list(tree, "rule_packs")):
        if name in packs:
            found.append(packs[name])
            continue
        message = f'there is no rule pack "{name}"{did_you_mean(str(name), packs)}: there are {", ".join(packs)}'
        tree.problems.append(tree.problem(("rule_packs", index), "unknown-rule-pack", message))
    for index, pattern in enumerate(_list(tree, "rule_files")):
        path = ("rule_files", index)
        files = expand(tree.folder(path), str(pattern))
        if not files:
            severity = Severity.WARNING if any(character in str(pattern) for character in GLOB) else Severity.ERROR
            tree.problems.append(tree.problem(path, "file-missing", f"no file matches {pattern}", severity=severity))
        found.extend(file for file in files if file not in found)
    return found


def _read_rules(paths: Iterable[Path], general: GlobalSettings, problems: list[Problem]) -> list[RuleFile]:
    files: list[RuleFile] = []
    packs = pack_files()
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.append(Problem(Place(str(path)), "file-missing", f"cannot read it: {reason}"))
            files.append(RuleFile(str(path), (), ()))
            continue
        # A shipped pack is named alike wherever it is installed: its alerts keep their state over an upgrade.
        read = load_rules(
            text,
            packs.get(path, str(path)),
            default_interval_ms=general.evaluation_interval,
            default_query_offset_ms=general.rule_query_offset,
        )
        problems.extend(read.problems)
        files.append(read)
    return files


def _own_keys(files: Iterable[RuleFile]) -> dict[str, tuple[str, ...]]:
    """The keys of ours in each file that a person wrote."""
    packs = set(pack_files().values())
    return {file.file: file.own_keys for file in files if file.own_keys and file.file not in packs}
