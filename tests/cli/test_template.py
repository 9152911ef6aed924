"""`obskit template render`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from obskit.notify.webhook import payload
from tests.cli.conftest import Obskit
from tests.notify.notices import alert, notice


def test_a_text_is_tried_on_an_example(obskit: Obskit) -> None:
    text = "{{ .CommonLabels.alertname }}: {{ .Alerts.Firing | len }} of {{ len .Alerts }}"
    result = obskit("template", "render", "--template.text", text)
    assert (result.exit_code, result.stdout) == (0, "Example: 1 of 2\n")


@pytest.mark.parametrize(("kind", "said"), [("text", "a < b"), ("html", "a &lt; b")])
def test_a_webhooks_body_is_told_in_other_words(kind: str, said: str, obskit: Obskit, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps(payload(notice(alert(summary="a < b"), alert("b", summary="a < b", ended=True)))))
    (tmp_path / "own.tmpl").write_text('noise {{ define "own" }}{{ .CommonAnnotations.summary }}{{ end }}')
    result = obskit(
        "template", "render", "--template.text", '{{ template "own" . }}', "--template.data", body,
        "--template.glob", f"{tmp_path}/*.tmpl", "--template.type", kind,
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, f"{said}\n")


@pytest.mark.parametrize("text", ["{{ if }}", "{{ .Nonsense }}", '{{ template "x" . }}'])
def test_a_text_that_is_wrong_is_told_in_words(text: str, obskit: Obskit) -> None:
    result = obskit("template", "render", "--template.text", text)
    assert result.exit_code == 1
    assert result.stderr.startswith("obskit: the template is wrong: ")


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"alerts":[{}]}', '{"alerts":[{"labels":{},"startsAt":"x"}]}'])
def test_data_that_are_no_webhooks_are_told_in_words(body: str, obskit: Obskit, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text(body)
    result = obskit("template", "render", "--template.text", "x", "--template.data", tmp_path / "body.json")
    assert result.exit_code == 1
    assert "is not a webhook's body" in result.stderr


def test_definitions_that_cannot_be_read_are_told_in_words(obskit: Obskit, tmp_path: Path) -> None:
    (tmp_path / "a.tmpl").write_bytes(b"\xff")
    result = obskit("template", "render", "--template.text", "x", "--template.glob", f"{tmp_path}/*.tmpl")
    assert result.exit_code == 1
    assert "cannot read" in result.stderr
