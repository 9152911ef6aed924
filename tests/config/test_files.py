"""obskit.yaml as a file: includes, variables, secrets in files of their own, and YAML's traps."""

from __future__ import annotations

from pathlib import Path

import pytest

from obskit.config import Config, load_config
from obskit.errors import ConfigError
from tests.config.files import found, lay, told


def loaded(folder: Path, files: dict[str, str] | str, **environment: str) -> Config:
    return load_config(lay(folder, files), environment)


# Includes


def test_maps_are_merged_and_lists_appended_over_includes(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            "obskit.yaml": "include: [conf.d/*.yaml]\ncollectors: [host]\nglobal: {scrape_interval: 5s}\nrule_packs: []",
            "conf.d/a.yaml": "collectors: [{file: {paths: [a.log]}}]\nglobal: {external_labels: {site: a}}",
            "conf.d/b.yaml": "store: {path: b-data}\nglobal: {external_labels: {zone: b}}",
        },
    )
    assert [source.kind for source in config.sources] == ["host", "file"]
    assert config.general.scrape_interval == 5000
    assert config.general.external_labels == {"site": "a", "zone": "b"}
    assert [file.name for file in config.files] == ["obskit.yaml", "a.yaml", "b.yaml"]


def test_relative_paths_begin_beside_the_file_that_holds_them(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            "obskit.yaml": "include: conf.d/a.yaml\nrule_packs: []",
            "conf.d/a.yaml": "rule_files: [rules.yaml]\nstore: {path: data}\nweb: {token_file: token}\n"
            "collectors: [{file: {paths: [a.log]}}]",
            "conf.d/rules.yaml": "groups: []",
            "conf.d/token": "secret\n",
        },
    )
    assert config.store.path == str(tmp_path / "conf.d/data")
    assert config.web.token is not None
    assert config.web.token.reveal() == "secret"
    assert config.sources[0].settings.paths == [str(tmp_path / "conf.d/a.log")]
    assert config.files[-1] == tmp_path / "conf.d/rules.yaml"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"obskit.yaml": "include: a.yaml\nstore: {path: x}", "a.yaml": "store: {path: y}"},
            ['a.yaml:1:9  error  given-twice  "path" is already given in obskit.yaml'],
        ),
        (
            {"obskit.yaml": "include: a.yaml\nstore: {path: x}", "a.yaml": "store: [y]"},
            ['a.yaml:1:1  error  given-twice  "store" is already given in obskit.yaml'],
        ),
        (
            {"obskit.yaml": "include: a.yaml", "a.yaml": "include: obskit.yaml"},
            ["a.yaml:1:10  error  include-loop  obskit.yaml includes itself"],
        ),
        (
            {"obskit.yaml": "include: obskit.yaml"},
            ["1:10  error  include-loop  obskit.yaml includes itself"],
        ),
        (
            {"obskit.yaml": "include:\n  - a.yaml\n  - b*.yaml", "a.yaml": ""},
            ["3:5  error  file-missing  no file matches b*.yaml"],
        ),
        ({"obskit.yaml": "include: a.yaml", "a.yaml": "- x"}, ["a.yaml:1:1  error  not-a-mapping  …"]),
        (
            {
                "obskit.yaml": "include: a.yaml",
                "a.yaml": "x: [",
            },
            ["a.yaml:1:4  error  yaml-syntax  …"],
        ),
        ({"obskit.yaml": "include: {a: b}"}, ["1:10  error  bad-value  include must be a path or a list of paths"]),
    ],
    ids=["a value twice", "a map and a list", "a loop", "itself", "a glob", "a list", "broken YAML", "a mapping"],
)
def test_what_is_wrong_with_includes_is_told(files: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    said = [line.replace(f"{tmp_path}/", "") for line in told(found(tmp_path, files), tmp_path)]
    for line, wanted in zip(said, expected, strict=True):
        assert line.startswith(wanted[:-1]) if wanted.endswith("…") else line == wanted


def test_a_file_that_two_others_include_is_read_once(tmp_path: Path) -> None:
    files = {
        "obskit.yaml": "include: [a.yaml, b.yaml]\nrule_packs: []",
        "a.yaml": "include: c.yaml",
        "b.yaml": "include: c.yaml",
        "c.yaml": "collectors: [host]\nstore: {path: x}",
    }
    assert len(loaded(tmp_path, files).sources) == 1


# Variables


@pytest.mark.parametrize(
    ("written", "environment", "read"),
    [
        ("${HOST}", {"HOST": "a"}, "a"),
        ("${HOST:-b}", {}, "b"),
        ("${HOST:-b}", {"HOST": ""}, "b"),
        ("${HOST:-b}", {"HOST": "a"}, "a"),
        ("${HOST:-}", {}, ""),
        ("x-${HOST}-${HOST}", {"HOST": "a"}, "x-a-a"),
        ("$${HOST}", {}, "${HOST}"),
        ("$$", {}, "$"),
        ("$HOST", {"HOST": "a"}, "$HOST"),
        ("${HOST}", {"HOST": "${PATH}"}, "${PATH}"),
        ("${HOST}", {"HOST": "a: b # c"}, "a: b # c"),
    ],
)
def test_variables_are_replaced_in_values(written: str, environment: dict[str, str], read: str, tmp_path: Path) -> None:
    config = loaded(tmp_path, f'global: {{external_url: "{written}"}}\nrule_packs: []', **environment)
    assert config.general.external_url == read


def test_a_variable_takes_the_type_of_the_field(tmp_path: Path) -> None:
    text = 'store: {max_series: "${N}", max_size: "${S}"}\nglobal: {scrape_interval: "${D}"}\nrule_packs: []'
    config = loaded(tmp_path, text, N="12", S="1GiB", D="1m30s")
    assert (config.store.max_series, config.store.max_size, config.general.scrape_interval) == (12, 2**30, 90_000)


# YAML


def labels_of(folder: Path, text: str) -> dict[str, str]:
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    return dict(loaded(folder, f"rule_packs: []\nglobal:\n  external_labels:\n{indented}\n").general.external_labels)


@pytest.mark.parametrize(
    "scalar",
    [
        "22:30",
        "1:30:00",
        "on",
        "no",
        "yes",
        "Off",
        "0777",
        "0o17",
        "1_000",
        "2024-01-01",
        "1e3",
        ".5",
        "0x1F",
        ".inf",
        "true",
    ],
)
def test_a_scalar_is_what_was_written(scalar: str, tmp_path: Path) -> None:
    assert labels_of(tmp_path, f"site: {scalar}") == {"site": scalar}


@pytest.mark.parametrize(
    ("written", "value"),
    [("true", True), ("false", False), ("on", True), ("no", False)],
)
def test_a_truth_is_read_where_one_belongs(written: str, value: bool, tmp_path: Path) -> None:
    text = f"rule_packs: []\nscrape_configs: [{{job_name: a, honor_labels: {written}}}]"
    assert loaded(tmp_path, text).sources[0].settings.honor_labels is value


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = """\
        rule_packs: []
        scrape_configs:
          - &base {job_name: a, scrape_interval: 1m, honor_labels: true}
          - {<<: *base, job_name: b, scrape_interval: 2m}
        """
    first, second = loaded(tmp_path, text).sources
    assert (first.settings.job_name, second.settings.job_name) == ("a", "b")
    assert second.settings.scrape_interval == 120_000
    assert second.settings.honor_labels


def test_a_byte_order_mark_and_windows_lines_are_read_over(tmp_path: Path) -> None:
    (tmp_path / "obskit.yaml").write_bytes("\ufeffcollectors:\r\n  - host\r\nrule_packs: []\r\n".encode())
    assert len(load_config(tmp_path / "obskit.yaml", {}).sources) == 1


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "id", "line"),
    [
        ("store: {path: a}\nstore: {path: b}", "duplicate-key", 2),
        ("store:\n\tpath: a", "yaml-syntax", 2),
        ("store: {path: a", "yaml-syntax", 1),
        ("store: 'a", "yaml-syntax", 1),
        ("store: {path: a}\n---\nstore: {path: b}", "yaml-syntax", 2),
        ("store: !!python/object:os.system {}", "yaml-tag", 1),
        ("store: *nothing", "yaml-alias", 1),
        ("store: &a [*a]", "yaml-alias", 1),
        ("store: {<<: x}", "yaml-merge", 1),
        ("? [a]\n: b", "yaml-key", 1),
        ("store: " + "[" * 100 + "]" * 100, "yaml-too-large", 1),
        (BOMB, "yaml-too-large", 1),
    ],
    ids=[
        "a key twice", "tabs", "no end", "an open quote", "two documents", "a tag", "no anchor", "an anchor in itself",
        "a merge of text", "a key that is no text", "nesting", "aliases that multiply",
    ],
)  # fmt: skip
def test_yaml_that_is_refused_is_refused_at_its_place(text: str, id: str, line: int, tmp_path: Path) -> None:
    told_at = {(problem.id, problem.place.line) for problem in found(tmp_path, text)}
    assert (id, line) in told_at


# What is not written


def test_an_empty_file_is_a_config(tmp_path: Path) -> None:
    config = loaded(tmp_path, "")
    assert config.sources == ()
    assert [receiver.name for receiver in config.receivers] == ["console"]
    assert config.route.receiver == "console"
    assert config.route.group_by == ["alertname"]
    assert config.store.path == str(tmp_path / "obskit-data")
    assert (config.web.listen, config.web.token) == ("127.0.0.1:9797", None)


def test_the_shipped_packs_are_on_but_for_those_that_need_a_counterpart(tmp_path: Path) -> None:
    files = {Path(group.file).name for group in loaded(tmp_path, "").groups}
    assert {"queues.yaml", "host.yaml", "api.yaml", "obskit.yaml"} <= files
    assert "watchdog.yaml" not in files
    assert {Path(group.file).name for group in loaded(tmp_path, "rule_packs: [watchdog]").groups} == {"watchdog.yaml"}
    assert loaded(tmp_path, "rule_packs: []").groups == ()


def test_the_only_receiver_needs_no_route(tmp_path: Path) -> None:
    config = loaded(tmp_path, "receivers: [{name: ops, webhook_configs: [{url: 'http://a/'}]}]\nrule_packs: []")
    assert config.route.receiver == "ops"


def test_what_global_says_goes_for_those_who_say_nothing(tmp_path: Path) -> None:
    files = {
        "obskit.yaml": """\
            global: {scrape_interval: 7s, scrape_timeout: 3s, evaluation_interval: 11s, rule_query_offset: 13s}
            rule_packs: []
            rule_files: [rules.yaml]
            scrape_configs:
              - {job_name: a}
              - {job_name: b, scrape_interval: 1m}
            """,
        "rules.yaml": """\
            groups:
              - {name: a, rules: [{record: 'a:b', expr: up}]}
              - {name: b, interval: 1m, query_offset: 0s, rules: [{record: 'a:c', expr: up}]}
            """,
    }
    config = loaded(tmp_path, files)
    first, second = (source.settings for source in config.sources)
    assert (first.scrape_interval, first.scrape_timeout, second.scrape_interval) == (7_000, 3_000, 60_000)
    assert [(group.interval_ms, group.query_offset_ms) for group in config.groups] == [(11_000, 13_000), (60_000, 0)]


def test_a_config_that_cannot_be_used_raises_with_its_errors_and_no_warnings(tmp_path: Path) -> None:
    path = lay(tmp_path, "rule_files: ['*.rules']\nstore: {max_size: 1}")
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    assert [problem.id for problem in refused.value.problems] == ["bad-value"]


def test_a_config_that_can_be_used_keeps_its_warnings(tmp_path: Path) -> None:
    config = loaded(tmp_path, "rule_files: ['*.rules']\nrule_packs: []")
    assert [problem.id for problem in config.warnings] == ["file-missing"]
