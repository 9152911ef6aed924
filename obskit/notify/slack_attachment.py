"""Slack messages in Alertmanager's form, for those who give texts of their own: one attachment, made of their templates.

What they leave out says what it says in Alertmanager. The life of the message is the same as that of obskit's layout.
(prometheus/alertmanager notify/slack/slack.go; docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments)
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from pydantic import Field

from obskit.model.actions import Notice
from obskit.model.settings import Settings
from obskit.notify import drawing, text
from obskit.notify.settings import NotifierSettings, Words
from obskit.notify.text import Card
from obskit.notify.wording import filled

_TITLE_LIMIT: Final = 1_024
_TEXT_LIMIT: Final = 12_000
_MARKED_UP: Final = ["fallback", "pretext", "text"]
_TEXTS: Final = (
    "title", "title_link", "pretext", "text", "fallback", "footer", "color", "callback_id", "image_url", "thumb_url",
    "message_text",
)  # fmt: skip
_NAMES: Final = ("username", "icon_emoji", "icon_url")
_DEFAULTS: Final = {
    "title": '{{ template "slack.default.title" . }}',
    "title_link": '{{ template "slack.default.titlelink" . }}',
    "fallback": '{{ template "slack.default.fallback" . }}',
    "color": '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}',
}


class FieldSettings(Settings):
    """One of `fields`."""

    title: Words = Field(description="its heading")
    value: Words = Field(description="its text")
    short: bool | None = Field(None, description="two stand side by side; default: `short_fields`")


class ConfirmSettings(Settings):
    """`confirm`: what is asked before an action."""

    text: Words = Field(description="the question")
    title: Words = Field("", description="above it")
    ok_text: Words = Field("", description="the word for yes")
    dismiss_text: Words = Field("", description="the word for no")


class ActionSettings(Settings):
    """One of `actions`: a button."""

    type: Words = Field(description="`button`")
    text: Words = Field(description="its words")
    url: Words = Field("", description="where it leads")
    style: Words = Field("", description="`primary` or `danger`")
    name: Words = Field("", description="told to the app that takes clicks")
    value: Words = Field("", description="told to it too")
    confirm: ConfirmSettings | None = Field(None, description="asked first")


class AttachmentSettings(NotifierSettings):
    """The texts of `slack_configs`. One of them makes the message Alertmanager's."""

    title: Words = Field("", description="the attachment's title; default as in Alertmanager, as of all these texts")
    title_link: Words = Field("", description="where the title leads")
    pretext: Words = Field("", description="above the attachment")
    text: Words = Field("", description="the attachment's text, in Slack's markup")
    fallback: Words = Field("", description="what phones show")
    footer: Words = Field("", description="below it; default: who acked or silenced it")
    color: Words = Field("", description="`good`, `warning`, `danger` or `#rrggbb`")
    fields: list[FieldSettings] = Field([], description="a table in the attachment")
    short_fields: bool = Field(False, description="fields stand side by side")
    actions: list[ActionSettings] = Field([], description="buttons")
    image_url: Words = Field("", description="a picture")
    thumb_url: Words = Field("", description="a small picture")
    callback_id: Words = Field("", description="told to the app that takes clicks")
    mrkdwn_in: list[str] = Field(_MARKED_UP, description="which texts hold Slack's markup")
    message_text: Words = Field("", description="the message's own text, above the attachment")
    link_names: bool = Field(False, description="`@name` in texts mentions")
    username: Words = Field("", description="who posts; a bot needs the scope chat:write.customize")
    icon_emoji: Words = Field("", description="its picture, as `:name:`")
    icon_url: Words = Field("", description="its picture")

    DEFAULT_TEXTS: ClassVar = {
        **{key: f"slack.default.{key.replace('_', '')}" for key in (*_TEXTS[:6], "callback_id", *_NAMES)},
    }


class SlackForm:
    """The messages of one receiver that has texts of its own."""

    def __init__(self, settings: AttachmentSettings) -> None:
        self.own = any(getattr(settings, key) for key in (*_TEXTS, "fields", "actions"))
        unset = {key: said for key, said in _DEFAULTS.items() if not getattr(settings, key)}
        self._settings = settings.model_copy(update=unset) if self.own else settings

    def message(self, notice: Notice, shown: Card) -> dict[str, Any]:
        """`text`, `blocks` and `attachments`: always all three, so that an edit leaves nothing of the message before."""
        given = filled(self._settings, notice, _without_mentions)
        made = {key: getattr(given, key) for key in _TEXTS if key != "message_text"}
        made |= {
            "title": drawing.fitted(given.title or text.headline(shown), _TITLE_LIMIT),
            "text": drawing.fitted(given.text, _TEXT_LIMIT),
            "footer": given.footer or text.marks(shown, text.utc_stamp),
            "fields": [_field(each, short=given.short_fields) for each in given.fields],
            "actions": [_present(each) for each in given.actions],
            "mrkdwn_in": given.mrkdwn_in,
        }
        attachment = {key: value for key, value in made.items() if value}
        return {"text": given.message_text, "blocks": [], "attachments": [attachment]}

    def sender(self, notice: Notice) -> dict[str, Any]:
        """What only a post can say: in whose name it is."""
        given = filled(self._settings, notice, _without_mentions)
        named: dict[str, Any] = {key: getattr(given, key) for key in _NAMES if getattr(given, key)}
        return named | ({"link_names": True} if given.link_names else {})


def _without_mentions(words: str) -> str:
    """Markup in what alerts say stays, as in Alertmanager; but nobody is woken by it."""
    return words.replace("<!", "&lt;!").replace("<@", "&lt;@")


def _field(given: FieldSettings, *, short: bool) -> dict[str, Any]:
    return {"title": given.title, "value": given.value, "short": short if given.short is None else given.short}


def _present(given: Settings) -> dict[str, Any]:
    """What is given, nested as it is."""
    return {
        key: _present(value) if isinstance(value, Settings) else value
        for key, value in ((key, getattr(given, key)) for key in type(given).model_fields)
        if value
    }
