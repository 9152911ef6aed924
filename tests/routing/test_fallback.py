"""A receiver that takes no messages for two minutes: critical alerts reach its fallback too, once, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from obskit.model.actions import Outcome, OutcomeReason
from obskit.outbox import Delivery
from obskit.routing.policy import Policy
from obskit.testing.clock import FakeClock
from tests.outbox.fakes import play
from tests.routing.fakes import Ears, FakeDestination, desk, tree

OPS, PHONE, MAIL = "ops/slack[0]", "phone/push[0]", "mail/email[0]"
REACH = {"ops": [FakeDestination(OPS)], "phone": [FakeDestination(PHONE)], "mail": [FakeDestination(MAIL)]}
POLICY = replace(tree(group_wait="0s", group_by=["n"]), fallbacks={"ops": "phone"})


@dataclass
class Faulty(Ears):
    """Hears nothing at the destinations that are `down`."""

    down: set[str] = field(default_factory=set)
    outcome: Outcome = field(default_factory=lambda: Outcome.retry(OutcomeReason.SERVER, "HTTP 503"))

    async def __call__(self, delivery: Delivery) -> Outcome:
        if delivery.action.destination in self.down:
            return self.outcome
        return await super().__call__(delivery)

    def at(self, destination: str) -> list[str]:
        """What each of its notices said, in order."""
        return [f"{told.notice.reason.value} {told.line[3]}" for told in self.heard if told.destination == destination]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.retry(OutcomeReason.SERVER, "HTTP 503"),
        Outcome.retry(OutcomeReason.RATE_LIMITED, "HTTP 429", after_s=3_600),
        Outcome.retry(OutcomeReason.NETWORK, "api.example: ConnectError"),
        Outcome.permanent(OutcomeReason.CREDENTIAL, "invalid_auth"),
    ],
    ids=lambda outcome: outcome.reason.value,
)
def test_the_fallback_is_told_once_and_why(tmp_path: Path, outcome: Outcome) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Faulty(clock, down={OPS}, outcome=outcome)
        async with desk(tmp_path, clock, ears, POLICY, REACH) as ops:
            await ops.fire("a", severity="critical")
            await clock.sleep(100)
            assert ears.heard == []
            await clock.sleep(1_000)
            (told,) = ears.heard
            assert (told.destination, told.notice.receiver) == (PHONE, "phone")
            assert told.at < 140
            assert told.notice.instead == f"{OPS} has not taken messages for 2 min: {outcome.detail}"

    play(scenario)


@pytest.mark.parametrize(
    ("severity", "policy", "down"),
    [
        ("warning", POLICY, {OPS}),
        ("critical", replace(POLICY, fallbacks={}), {OPS}),
        ("critical", POLICY, {MAIL}),
    ],
    ids=["nothing critical waits", "there is none", "another fails"],
)
def test_the_fallback_is_left_alone(tmp_path: Path, severity: str, policy: Policy, down: set[str]) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Faulty(clock, down=down)
        async with desk(tmp_path, clock, ears, policy, REACH) as ops:
            await ops.fire("a", severity=severity)
            await clock.sleep(1_000)
            assert ears.at(PHONE) == []

    play(scenario)


def test_when_the_receiver_is_back_its_messages_arrive_in_order_and_the_fallback_hears_the_end(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Faulty(clock, down={OPS})
        async with desk(tmp_path, clock, ears, POLICY, REACH) as ops:
            await ops.fire("a", severity="critical")
            await clock.sleep(200)
            await ops.fire("b", severity="critical")
            await clock.sleep(100)
            ears.down.clear()
            await clock.sleep(400)  # the longest back-off
            await ops.resolve("a", "b", severity="critical")
            await clock.sleep(100)
            said = ["first notification A", "new alerts added AB", "all alerts resolved ab"]
            assert ears.at(OPS) == ears.at(PHONE) == said
            await ops.fire("c", severity="critical")
            await clock.sleep(1_000)
            assert ears.at(OPS)[-1] == "first notification C"
            assert ears.at(PHONE) == said  # another incident, which its receiver has heard of

    play(scenario)


def test_a_restart_tells_nobody_twice(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Faulty(clock, down={OPS})
        for _ in range(4):
            async with desk(tmp_path, clock, ears, POLICY, REACH) as ops:
                await ops.fire("a", severity="critical")
                await clock.sleep(70)
        assert ears.at(PHONE) == ["first notification A"]

    play(scenario)


def test_fallbacks_of_fallbacks_end_where_everybody_was_told(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Faulty(clock, down={OPS, PHONE})
        policy = replace(POLICY, fallbacks={"ops": "phone", "phone": "mail", "mail": "ops"})
        async with desk(tmp_path, clock, ears, policy, REACH) as ops:
            await ops.fire("a", severity="critical")
            await clock.sleep(1_000)
            assert ears.at(MAIL) == ["first notification A"]
            ears.down = {MAIL}
            await clock.sleep(600)
            assert [ears.at(each) for each in (OPS, PHONE)] == [["first notification A"]] * 2

    play(scenario)


def test_a_receiver_that_refuses_one_message_and_takes_others_has_not_failed(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Faulty(clock)
        ears.refused = {OPS: [Outcome.retry(OutcomeReason.SERVER, "HTTP 500")] * 7}
        async with desk(tmp_path, clock, ears, POLICY, REACH) as ops:
            await ops.fire("a", severity="critical", n="1")
            for number in range(20):
                await clock.sleep(60)
                await ops.fire(f"w{number}", severity="warning", n=f"w{number}")
            assert ears.at(PHONE) == []

    play(scenario)
