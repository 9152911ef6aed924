"""A webhook, a Slack and a PagerDuty of our own, and what each of them believes of an alert."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from obskit.testing.http import Answer, Failure, FakeServer, Received
from obskit.testing.pagerduty import ROUTING_KEY, FakePagerDuty
from obskit.testing.slack import TOKEN, FakeSlack, SlackMessage
from obskit.testing.webhook import FakeWebhook

CHANNEL: Final = "alerts"
AT_ONCE: Final = {"group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h"}


class GaugePage(FakeServer):
    """A /metrics page whose gauges a test sets: series as written on the page → value."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        super().__init__()

    @property
    def target(self) -> str:
        """What goes into static_configs."""
        return self.base_url.removeprefix("http://")

    def answer(self, request: Received) -> Answer:
        """The page as it is now."""
        page = "".join(f"{series} {value}\n" for series, value in self.values.items())
        return Answer(200, page.encode(), "text/plain; version=0.0.4")


@dataclass(slots=True)
class Receivers:
    """One receiver `everyone` with three destinations."""

    hook: FakeWebhook = field(default_factory=FakeWebhook)
    slack: FakeSlack = field(default_factory=lambda: FakeSlack(channels={CHANNEL: "C0ALERTS"}))
    pagerduty: FakePagerDuty = field(default_factory=FakePagerDuty)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.close()

    @property
    def servers(self) -> tuple[FakeServer, ...]:
        """All three."""
        return self.hook, self.slack, self.pagerduty

    def config(self, timeout: str = "2s") -> dict[str, Any]:
        """The sections `route` and `receivers`."""
        slack = {"app_token": TOKEN, "app_url": self.slack.api_url, "channel": f"#{CHANNEL}", "timeout": timeout}
        pager = {"routing_key": ROUTING_KEY, "url": self.pagerduty.url, "timeout": timeout}
        return {
            "route": {"receiver": "everyone", **AT_ONCE},
            "receivers": [
                {
                    "name": "everyone",
                    "webhook_configs": [{"url": self.hook.url, "timeout": timeout}],
                    "slack_configs": [slack],
                    "pagerduty_configs": [pager],
                }
            ],
        }

    def break_down(self, failure: Failure) -> None:
        """All three fail until `repair`."""
        for server in self.servers:
            server.break_down(failure)

    def repair(self) -> None:
        """All three are well again."""
        for server in self.servers:
            server.repair()

    def posted(self, alertname: str) -> list[dict[str, Any]]:
        """What the webhook was sent about an alert, in order."""
        return [body for body in list(self.hook.bodies) if body["groupLabels"]["alertname"] == alertname]

    def states(self, alertname: str) -> dict[str, str]:
        """What each of them was last told: `firing`, `resolved`, or empty when it never heard of the alert."""
        incidents = [each.state for each in list(self.pagerduty.incidents) if f"] {alertname} " in each.summary]
        states = {
            "webhook": [body["status"] for body in self.posted(alertname)],
            "slack": [root.text.partition(" ")[0].lower() for root in self.roots(alertname)],
            "pagerduty": ["firing" if state == "triggered" else state for state in incidents],
        }
        return {name: told[-1] if told else "" for name, told in states.items()}

    def all_say(self, alertname: str, state: str) -> bool:
        """Whether all three were last told this state."""
        return set(self.states(alertname).values()) == {state}

    def roots(self, alertname: str) -> list[SlackMessage]:
        """The root messages about an alert, oldest first."""
        return [message for message in self.slack.messages(CHANNEL) if f": {alertname} " in message.text]
