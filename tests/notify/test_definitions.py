"""Templates by name: what Alertmanager's say, beside the real amtool, and what a person's files say."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from obskit.errors import TemplateError
from obskit.model.actions import Notice
from obskit.model.labels import Labels
from obskit.notify.definitions import Definitions, alertmanagers
from obskit.notify.templates import facts
from obskit.notify.webhook import payload
from obskit.notify.wording import template
from tests.notify.notices import alert, notice, resolved

THEIRS = Path("/usr/share/prometheus/alertmanager")
"""Where Debian's package has Alertmanager's own definitions."""
NAMES = [
    "__alertmanager", "__alertmanagerURL", "__description", "__subject", "discord.default.message",
    "discord.default.title", "email.default.subject", "opsgenie.default.description", "opsgenie.default.message",
    "opsgenie.default.source", "pagerduty.default.client", "pagerduty.default.clientURL",
    "pagerduty.default.description", "pushover.default.message", "pushover.default.title", "pushover.default.url",
    "slack.default.callbackid", "slack.default.fallback", "slack.default.footer", "slack.default.iconemoji",
    "slack.default.iconurl", "slack.default.pretext", "slack.default.text", "slack.default.title",
    "slack.default.titlelink", "slack.default.username", "sns.default.message", "sns.default.subject",
    "telegram.default.message",
]  # fmt: skip
NEWER = ["msteamsv2.default.text", "msteamsv2.default.title", "email.default.html", "__text_alert_list_markdown"]
LISTS = ["__text_alert_list", "pagerduty.default.instances"]
ALONE = replace(notice(alert("a")), group_labels=Labels({}), receiver="team.a & b")
NOTICES = {
    "firing": notice(alert("a"), alert("b", summary='9 % <failed> & "more"', description="two\nlines")),
    "both": notice(alert("a"), alert("b"), alert("c", ended=True)),
    "resolved": resolved("a", "b"),
    "alone": ALONE,
    "by all": replace(notice(alert("a")), group_labels=alert("a").labels),
}


def said(name: str, one: Notice, dot: str = ".", *, definitions: Definitions | None = None, html: bool = False) -> str:
    text = f'{{{{ template "{name}" {dot} }}}}'
    return template(text, definitions, html=html).expand(facts(one), data=one)


def amtool(folder: Path, pattern: str, text: str, one: Notice, kind: str = "text") -> str:
    (folder / "data.json").write_text(json.dumps(payload(one)))
    command = ["amtool", "template", "render", f"--template.glob={pattern}", f"--template.type={kind}"]
    command += [f"--template.data={folder}/data.json", f"--template.text={text}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.server("amtool")
@pytest.mark.parametrize("case", NOTICES)
def test_alertmanagers_own_say_what_they_say_there(case: str, tmp_path: Path) -> None:
    if not (THEIRS / "default.tmpl").is_file():
        pytest.skip("this package of Alertmanager has no default.tmpl")
    texts = [f'{{{{ template "{name}" . }}}}' for name in NAMES]
    texts += [f'{{{{ template "{name}" .Alerts }}}}' for name in LISTS]
    answer = amtool(tmp_path, f"{THEIRS}/*.tmpl", "\x01".join(texts), NOTICES[case])
    ours = [said(name, NOTICES[case]) for name in NAMES] + [said(name, NOTICES[case], ".Alerts") for name in LISTS]
    assert dict(zip(NAMES + LISTS, answer.split("\x01"), strict=True)) == dict(zip(NAMES + LISTS, ours, strict=True))


def test_every_name_is_compared_or_newer_than_the_alertmanager_at_hand() -> None:
    known = {name for name in alertmanagers().known if not name.startswith("obskit.")}
    assert known == {*NAMES, *NEWER, *LISTS}


def test_lists_in_markdown_have_a_line_between_their_parts() -> None:
    one = replace(ALONE, alerts=(replace(alert("a"), annotations={"summary": "s"}),))
    lines = said("msteamsv2.default.text", one).splitlines()
    assert lines[:6] == ["", "", "# Alerts Firing:", "", "Labels:", "  - alertname = High5xx"]
    assert lines[10:15] == ["", "Annotations:", "  - summary = s", "", f"Source: {alert('a').generator_url}"]


FILE = """
{{ define "who" }}{{ .Labels.machine }}{{ end }}
{{ define "list" }}{{ range .Alerts }}{{ template "who" . }},{{ end }}{{ end }}
{{ define "slack.default.text" }}{{ template "list" . }}{{ end }}
{{ define "__subject" }}{{ end }}
"""


def test_files_define_and_redefine() -> None:
    definitions = alertmanagers().with_file("a.tmpl", FILE).with_file("b.tmpl", '{{ define "who" }}!{{ end }}')
    one = NOTICES["both"]
    assert said("slack.default.text", one, definitions=definitions) == "!,!,!,"
    assert definitions.own == {"who", "list", "slack.default.text", "__subject"}


def test_an_empty_definition_replaces_nothing() -> None:
    definitions = alertmanagers().with_file("a.tmpl", FILE)
    assert said("__subject", NOTICES["both"], definitions=definitions).startswith("[FIRING:2] ")


def test_a_text_s_own_definition_goes_before_a_file_s() -> None:
    text = '{{ define "who" }}me{{ end }}{{ template "list" . }}'
    compiled = template(text, alertmanagers().with_file("a.tmpl", FILE))
    assert compiled.expand(facts(ALONE), data=ALONE) == "me,"


def test_an_error_in_a_definition_quotes_the_file_and_not_the_text() -> None:
    definitions = alertmanagers().with_file("a.tmpl", '{{ define "x" }}long before {{ index .Alerts 7 }}{{ end }}')
    with pytest.raises(TemplateError, match=r"out of range, in \{\{ index \.Alerts 7 }}"):
        said("x", ALONE, definitions=definitions)


HTML = (
    "<p title=\"{{ .CommonAnnotations.summary }}\">{{ .CommonAnnotations.summary }}</p>{{ safeHtml \"<b>\" }}"
    "<a href=\"{{ (index .Alerts 0).GeneratorURL }}\">x</a><a href='{{ .CommonAnnotations.script }}'>y</a>"
    "{{ range .Alerts }}{{ template \"row\" . }}{{ end }}"
)  # fmt: skip
ROW = '{{ define "row" }}<td>{{ .Labels.machine | printf "%s <&>" }}</td>{{ end }}'


@pytest.mark.server("amtool")
def test_values_in_html_are_escaped_as_there(tmp_path: Path) -> None:
    evil = alert("a", summary="<script>'1'+\"2\"</script> & co", script="javascript:alert(1)")
    one = notice(replace(evil, generator_url="http://p/g?a=1&b=x%2By"))
    (tmp_path / "x.tmpl").write_text(ROW)
    theirs = amtool(tmp_path, f"{tmp_path}/x.tmpl", HTML, one, "html")
    compiled = template(HTML, alertmanagers().with_file("x.tmpl", ROW), html=True)
    assert compiled.expand(facts(one), data=one) == theirs
    assert "&lt;script&gt;" in theirs
    assert "#ZgotmplZ" in theirs


def test_the_mail_says_all_of_every_alert() -> None:
    mail = said("email.default.html", NOTICES["firing"], html=True)
    assert "9 % &lt;failed&gt; &amp; &#34;more&#34;" in mail
    assert '<a href="https://obskit.example/graph?expr=rate(x[5m])&gt;2">Source</a>' in mail
