"""Templates by name: those of Alertmanager's that people's own refer to, and what is read from files.

The names and what comes out of them are Alertmanager's (template/default.tmpl); `email.default.html` alone looks as
obskit's mails do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from obskit.gotemplate.template import Definition, joined
from obskit.notify.templates import compile_text

# `obskit.…` are ours: what Alertmanager's have in common. A line break counts wherever it stands.
_TEXT: Final = """
{{ define "__alertmanager" }}Alertmanager{{ end }}
{{ define "__alertmanagerURL" }}{{ .ExternalURL }}/#/alerts?receiver={{ urlquery .Receiver }}{{ end }}
{{ define "__subject" -}}
  [{{ toUpper .Status }}{{ if .Alerts.Firing }}:{{ len .Alerts.Firing }}{{ end }}] \
{{- print " " (join " " .GroupLabels.SortedPairs.Values) " " -}}
  {{ if lt (len .GroupLabels) (len .CommonLabels) -}}
    ({{ join " " (.CommonLabels.Remove .GroupLabels.Names).Values }})
  {{- end }}
{{- end }}

{{ define "obskit.pairs" }}{{ range .SortedPairs }} - {{ .Name }} = {{ .Value }}
{{ end }}{{ end }}
{{ define "__text_alert_list" }}{{ range . }}Labels:
{{ template "obskit.pairs" .Labels }}Annotations:
{{ template "obskit.pairs" .Annotations }}Source: {{ .GeneratorURL }}
{{ end }}{{ end }}

{{ define "obskit.bullets" }}{{ range .SortedPairs }}  - {{ .Name }} = {{ .Value }}
{{ end }}{{ end }}
{{ define "__text_alert_list_markdown" }}{{ range . }}
Labels:
{{ template "obskit.bullets" .Labels }}
Annotations:
{{ template "obskit.bullets" .Annotations }}
Source: {{ .GeneratorURL }}
{{ end }}
{{ end }}

{{ define "obskit.common" }}{{ join " " .CommonAnnotations.SortedPairs.Values }}
{{ end }}
{{ define "obskit.by_state" }}{{ if .Alerts.Firing }}
Alerts Firing:
{{ template "__text_alert_list" .Alerts.Firing }}
{{ end }}
{{ if .Alerts.Resolved }}
Alerts Resolved:
{{ template "__text_alert_list" .Alerts.Resolved }}
{{ end }}
{{ end }}
{{ define "telegram.default.message" }}
{{ template "obskit.by_state" . }}{{ end }}
{{ define "pushover.default.message" }}{{ template "obskit.common" . }}{{ template "obskit.by_state" . }}{{ end }}
{{ define "opsgenie.default.description" }}{{ template "obskit.common" . }}{{ if .Alerts.Firing }}Alerts Firing:
{{ template "__text_alert_list" .Alerts.Firing }}{{ end }}
{{ if .Alerts.Resolved }}Alerts Resolved:
{{ template "__text_alert_list" .Alerts.Resolved }}{{ end }}{{ end }}
{{ define "msteamsv2.default.text" }}
{{ if .Alerts.Firing }}
# Alerts Firing:
{{ template "__text_alert_list_markdown" .Alerts.Firing }}
{{ end }}
{{ if .Alerts.Resolved }}
# Alerts Resolved:
{{ template "__text_alert_list_markdown" .Alerts.Resolved }}
{{ end }}
{{ end }}

{{ define "slack.default.fallback" -}}
  {{ template "slack.default.title" . }} | {{ template "slack.default.titlelink" . }}
{{- end }}

{{ define "email.default.html" -}}
<!DOCTYPE html>
<html><body style="font-family:Helvetica,Arial,sans-serif;font-size:15px;line-height:1.45">
<h2 style="font-size:18px">{{ template "__subject" . }}</h2>
<p><a href="{{ template "__alertmanagerURL" . }}">View in {{ template "__alertmanager" . }}</a></p>
{{ range .Alerts }}<p><b>{{ toUpper .Status }}</b><br>
{{ range .Labels.SortedPairs }}{{ .Name }} = {{ .Value }}<br>
{{ end }}{{ range .Annotations.SortedPairs }}<b>{{ .Name }}</b>: {{ .Value }}<br>
{{ end }}{{ if .GeneratorURL }}<a href="{{ .GeneratorURL }}">Source</a>{{ end }}</p>
{{ end }}</body></html>
{{ end }}
"""
_SAME: Final = {
    "__subject": (
        "slack.default.title", "pagerduty.default.description", "opsgenie.default.message", "pushover.default.title",
        "sns.default.subject", "discord.default.title", "msteamsv2.default.title", "email.default.subject",
    ),
    "__alertmanagerURL": (
        "slack.default.titlelink", "pagerduty.default.clientURL", "opsgenie.default.source", "pushover.default.url",
    ),
    "__alertmanager": ("slack.default.username", "pagerduty.default.client"),
    "__text_alert_list": ("pagerduty.default.instances",),
    "pushover.default.message": ("sns.default.message",),
    "telegram.default.message": ("discord.default.message",),
}  # fmt: skip
"""What says the same under other names."""
_EMPTY: Final = (
    "__description", "slack.default.callbackid", "slack.default.footer", "slack.default.iconemoji",
    "slack.default.iconurl", "slack.default.pretext", "slack.default.text",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Definitions:
    """What there is by name; `own` are the names that files of a person's give a meaning to."""

    known: Mapping[str, Definition]
    own: frozenset[str] = frozenset()

    def with_file(self, name: str, text: str) -> Definitions:
        """With what one more file defines, and the file itself by its name; TemplateError when it is wrong."""
        compiled = compile_text(text)
        read = {name: Definition(text, compiled.tree.body), **compiled.defined}
        return Definitions(joined(self.known, read), self.own | compiled.defined.keys())


@lru_cache(maxsize=1)
def alertmanagers() -> Definitions:
    """Alertmanager's alone."""
    same = [(name, f'{{{{ template "{of}" . }}}}') for of, names in _SAME.items() for name in names]
    more = (f'{{{{ define "{name}" }}}}{text}{{{{ end }}}}' for name, text in (*same, *((name, "") for name in _EMPTY)))
    return Definitions(compile_text(_TEXT + "".join(more)).defined)
