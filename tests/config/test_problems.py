"""Everything a person can get wrong, with the place, the slug and the words it is told in."""

from __future__ import annotations

from pathlib import Path

import pytest

from obskit.collect import BUILT_IN
from obskit.config import check_files
from tests.config.files import found, lay, told

WRONG: dict[str, tuple[str, list[str]]] = {
    "a section's name": (
        "colectors: []",
        ['1:1  error  unknown-key  "colectors" is not a section of obskit.yaml (did you mean "collectors"?)'],
    ),
    "not a mapping": (
        "- a",
        ["1:1  error  not-a-mapping  the file must be a mapping of sections (collectors:, receivers:, …)"],
    ),
    "a section that is no mapping": ("store: x", ["1:8  error  bad-value  store: must be a mapping (key: value)"]),
    "a section that is no list": (
        "collectors: {host: {}}",
        ["1:13  error  bad-value  collectors must be a list (- item)"],
    ),
    "receivers that are no list": ("receivers: x", ["1:12  error  bad-value  receivers must be a list (- item)"]),
    "a route that is no mapping": ("route: []", ["1:8  error  bad-value  route: must be a mapping (key: value)"]),
    "two collectors in one item": (
        "collectors:\n  - host: {}\n    redis: {}",
        ["2:5  error  bad-value  collectors[0]: write one collector per item, as in `- redis: {...}`"],
    ),
    "no collector in an item": (
        "collectors: [null]",
        ["1:14  error  bad-value  collectors[0]: write one collector per item, as in `- redis: {...}`"],
    ),
    "an unknown collector": (
        "collectors:\n  - hots",
        ['2:5  error  unknown-collector  no collector "hots" (did you mean "host"?)'],
    ),
    "a collector like no other": (
        "collectors:\n  - kafka9000: {}",
        [f'2:5  error  unknown-collector  no collector "kafka9000" (there are: {", ".join(sorted(BUILT_IN))})'],
    ),
    "a misspelt key is told once, though it is required": (
        "collectors:\n  - file: {path: [x]}",
        ['2:12  error  unknown-key  collectors[0].file: "path" is not a key here (did you mean "paths"?)'],
    ),
    "a required key": ("receivers:\n  - {}", ['2:5  error  missing-key  receivers[0]: "name" is required']),
    "a required key deep inside": (
        "receivers: [{name: a, webhook_configs: [{url: 'http://a', http_config: {basic_auth: {}}}]}]",
        ['1:73  error  missing-key  receivers[0].webhook_configs[0].http_config.basic_auth: "password" is required'],
    ),
    "a secret given twice": (
        "web: {token: a, token_file: b}",
        ["1:6  error  bad-value  web: give either token or token_file, not both"],
    ),
    "a key in a nested model": (
        "store:\n  retention: {logz: 1d}",
        ['2:15  error  unknown-key  store.retention: "logz" is not a key here (did you mean "logs"?)'],
    ),
    "a key of a receiver": (
        'receivers: [{name: a, slack_configs: [{chanel: "#x", app_token: xoxb-1}]}]',
        [
            '1:40  error  unknown-key  receivers[0].slack_configs[0]: "chanel" is not a key here (did you mean "channel"?)'
        ],
    ),
    "a collector's name taken": (
        "collectors: [host, host]",
        ['1:20  error  duplicate-name  a collector "host" is already configured: give each its own name'],
    ),
    "a job's name taken": (
        "scrape_configs:\n  - {job_name: api}\n  - {job_name: api}",
        ['3:5  error  duplicate-name  a collector "prometheus/api" is already configured: give each its own job_name'],
    ),
    "a receiver's name taken": (
        "route: {receiver: a}\nreceivers: [{name: a}, {name: a}]",
        ['2:31  error  duplicate-name  receivers[1]: the name "a" is taken'],
    ),
    "several receivers and no route": (
        "receivers: [{name: a}, {name: b}]",
        ["1:1  error  missing-key  several receivers need a route: add `route: {receiver: NAME}`"],
    ),
    "a receiver that is not there": (
        "route: {receiver: a, routes: [{receiver: opps}]}\nreceivers: [{name: a}, {name: ops}]",
        ['1:42  error  bad-route  undefined receiver "opps" used in route (did you mean "ops"?)'],
    ),
    "a fallback that is not there": (
        "route: {receiver: a}\nreceivers: [{name: a, fallback: opps}, {name: ops}]",
        ['2:33  error  bad-value  undefined receiver "opps" used as fallback (did you mean "ops"?)'],
    ),
    "a fallback to itself": (
        "receivers: [{name: a, fallback: a}]",
        ["1:33  error  bad-value  a receiver cannot stand in for itself"],
    ),
    "a receiver with a mistake in it is there": (
        "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]",
        ['2:41  error  missing-key  receivers[0].webhook_configs[0]: "url" is required'],
    ),
    "a root route without a receiver": (
        "route: {group_by: [a]}",
        ["1:8  error  bad-route  the root route must name a default receiver"],
    ),
    "a root route with matchers": (
        "route: {receiver: console, matchers: [a=b]}",
        ["1:38  error  bad-route  the root route must not have any matchers: every alert takes it"],
    ),
    "a matcher": (
        "route: {receiver: console, routes: [{matchers: ['a=~(']}]}",
        ["1:49  error  bad-value  route.routes[0].matchers[0]: …"],
    ),
    "a duration without a unit": (
        "route: {receiver: console, group_wait: 30}",
        ["1:40  error  bad-value  route.group_wait: not a duration: '30' (like 30s, 5m or 1h30m)"],
    ),
    "a duration too short": (
        "store: {retention: {logs: 1s}}",
        ["1:27  error  bad-value  store.retention.logs: must be at least 1h"],
    ),
    "a size too small": ("store: {max_size: 1MB}", ["1:19  error  bad-value  store.max_size: must be at least 16MB"]),
    "a size that is none": (
        "store: {max_size: lots}",
        ["1:19  error  bad-value  store.max_size: must be a size such as 500MB or 2GiB"],
    ),
    "a whole number": (
        "store: {max_series: many}",
        ["1:21  error  bad-value  store.max_series: must be a whole number"],
    ),
    "a number too small": (
        "store: {max_series: 0}",
        ["1:21  error  bad-value  store.max_series: must be more than 0"],
    ),
    "a label's name": (
        "global: {external_labels: {1a: b}}",
        ['1:27  error  bad-value  global.external_labels: "1a" is not a label name'],
    ),
    "an address": (
        "web: {listen: here}",
        ["1:15  error  bad-value  web.listen: must be ADDRESS:PORT, such as 127.0.0.1:9797"],
    ),
    "an open door": (
        "web: {listen: '0.0.0.0:80'}",
        ["1:6  error  bad-value  web: 0.0.0.0:80 can be reached from outside: give a token, or listen on 127.0.0.1"],
    ),
    "a rule pack": (
        "rule_packs: [queue]",
        ['1:14  error  unknown-rule-pack  there is no rule pack "queue" (did you mean "queues"?): …'],
    ),
    "rule packs that are no list": ("rule_packs: api", ["1:13  error  bad-value  rule_packs must be a list (- item)"]),
    "a rule file": ("rule_files: [a.yaml]", ["1:14  error  file-missing  no file matches a.yaml"]),
    "a glob that matches nothing is unwise, not wrong": (
        "rule_files: ['*.rules']",
        ["1:14  warn  file-missing  no file matches *.rules"],
    ),
    "a receiver of a kind to come": (
        "receivers: [{name: a, webex_configs: [{to: x}]}]",
        ["1:38  error  bad-value  receivers[0].webex_configs: obskit does not deliver to webex yet"],
    ),
    "receivers' settings that are no list": (
        "receivers: [{name: a, webhook_configs: {url: x}}]",
        ["1:40  error  bad-value  receivers[0].webhook_configs: must be a list (- item)"],
    ),
    "a secret's file": (
        "web: {token_file: nope}",
        ["1:6  error  bad-value  web: cannot read nope: No such file or directory"],
    ),
    "a variable": (
        "web: {token: '${NOPE}'}",
        [
            "1:14  error  unset-variable  the environment variable NOPE is not set: set it, or write ${NOPE:-default}",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_it_is_told_where_it_stands_and_in_words(
    text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = told(found(tmp_path, text), tmp_path)
    assert len(said) == len(expected), said
    for line, wanted in zip(said, expected, strict=True):
        assert line.startswith(wanted[:-1]) if wanted.endswith("…") else line == wanted


def test_everything_wrong_is_told_at_once_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    files = {
        "obskit.yaml": """\
            include: more.yaml
            collectors:
              - hots
              - file: {paths: [a], evry: 5s}
            rule_files: [rules.yaml]
            route: {receiver: nobody}
            globul: {}
            """,
        "more.yaml": """\
            store: {max_size: tiny}
            web: {listen: here}
            """,
        "rules.yaml": """\
            groups:
              - name: a
                rules:
                  - {alert: A, expr: "1 +", labels: {severity: info}}
                  - {alert: B, expr: "up == 0", four: 5m, labels: {severity: info}}
            """,
    }
    problems = found(tmp_path, files)
    places = [f"{Path(problem.place.file).name}:{problem.place.line} {problem.id}" for problem in problems]
    assert places == [
        "obskit.yaml:3 unknown-collector",
        "obskit.yaml:4 unknown-key",
        "obskit.yaml:6 bad-route",
        "obskit.yaml:7 unknown-key",
        "more.yaml:1 bad-value",
        "more.yaml:2 bad-value",
        "rules.yaml:4 promql-syntax",
        "rules.yaml:5 unknown-key",
    ]


def test_a_frame_shows_the_line_with_a_caret_under_the_place(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, "collectors:\n  - file: {paths: [a], evry: 5s}\n")
    assert problem.frame() == "    2 |   - file: {paths: [a], evry: 5s}\n      |                        ^^^^"


def test_files_of_rules_are_checked_as_such_and_configs_with_all_they_name(tmp_path: Path) -> None:
    rule = (
        "groups: [{name: a, rules: [{record: 'a:b', expr: up}, {alert: A, expr: up == 0, labels: {severity: info}}]}]"
    )
    config = lay(
        tmp_path, {"obskit.yaml": "rule_packs: []\nrule_files: [r/*.yaml]", "r/one.yaml": rule, "two.yaml": rule}
    )
    checked = check_files([config, tmp_path / "two.yaml"], {})
    assert [file.name for file in checked.files] == ["obskit.yaml", "one.yaml", "two.yaml"]
    assert checked.rules == 4
    assert checked.problems == []


@pytest.mark.parametrize(
    ("content", "told_as"),
    [
        (None, "file-missing  cannot read it: No such file or directory"),
        (b"a: \xff\nb: 1", "not-utf-8  the file is not UTF-8 text"),
        (b"a: \x07", "yaml-syntax  character U+0007 is not allowed in YAML"),
        (b"", ""),
    ],
    ids=["missing", "not UTF-8", "a bell", "empty"],
)
def test_a_file_that_is_no_text_is_told(content: bytes | None, told_as: str, tmp_path: Path) -> None:
    path = tmp_path / "obskit.yaml"
    if content is not None:
        path.write_bytes(content)
    problems = check_files([path], {}).problems
    assert [f"{problem.id}  {problem.message}" for problem in problems] == ([told_as] if told_as else [])
