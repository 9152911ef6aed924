"""How everything stands at one moment: the status table and the front page show the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from obskit.collect import Supervisor, TargetStatus
from obskit.model.alerts import ActiveAlert, AlertState
from obskit.outbox import Outbox, OutboxStats
from obskit.rules.blind import BlindRule, BlindRules
from obskit.rules.leaves import LeafState
from obskit.rules.live import RuleHealth
from obskit.rules.runner import Runner


@dataclass(frozen=True, slots=True)
class Overview:
    """Collectors, alerts, rules and the outbox. Times are Unix milliseconds."""

    now_ms: int
    started_ms: int
    targets: tuple[TargetStatus, ...]
    alerts: tuple[ActiveAlert, ...]
    rules: int
    failing_rules: int
    outbox: OutboxStats
    blind_rules: tuple[BlindRule, ...] = ()
    log_windows: Mapping[LeafState, int] = field(default_factory=dict)

    @property
    def firing(self) -> tuple[ActiveAlert, ...]:
        """The alerts that are on."""
        return tuple(alert for alert in self.alerts if alert.state is AlertState.FIRING)

    @property
    def pending(self) -> tuple[ActiveAlert, ...]:
        """The alerts that wait for their `for`."""
        return tuple(alert for alert in self.alerts if alert.state is AlertState.PENDING)

    @property
    def waiting(self) -> int:
        """How many messages are to be delivered."""
        return sum(self.outbox.waiting.values())

    def as_text(self) -> str:
        """A page without markup."""
        up = sum(target.up is True for target in self.targets)
        lines = [
            "obskit watch",
            "",
            f"targets   {up} of {len(self.targets)} up",
            f"rules     {self.rules}, {self.failing_rules} failing, {len(self.blind_rules)} blind",
            *self._windows(),
            f"alerts    {len(self.firing)} firing, {len(self.pending)} pending",
            f"outbox    {self.waiting} waiting, {self.outbox.dead} given up",
            "",
        ]
        lines += [
            f"down      {each.collector} {each.target}: {each.error}" for each in self.targets if each.up is False
        ]
        lines += [
            f"firing    {alert.labels.get('alertname')} {alert.labels.without('alertname')}" for alert in self.firing
        ]
        lines += [f"blind     {rule.source}: {rule.reason}" for rule in self.blind_rules]
        lines += ["", "/metrics  /healthz  /readyz  POST /-/reload", ""]
        return "\n".join(lines)

    def _windows(self) -> list[str]:
        """How log rules are answered, where there are some."""
        if not any(self.log_windows.values()):
            return []
        warm, asked = self.log_windows[LeafState.WARM], self.log_windows[LeafState.GIVEN_UP]
        return [
            f"log rules {warm} windows in memory, {self.log_windows[LeafState.COLD]} being read, {asked} left to the store"
        ]


def look(
    *, supervisor: Supervisor, runner: Runner, blind: BlindRules, outbox: Outbox, started_ms: int, now_ms: int
) -> Overview:
    """The overview of now."""
    rules = [rule for group in runner.snapshot() for rule in group.rules]
    alerts = [alert for rule in rules for alert in rule.alerts if alert.state is not AlertState.INACTIVE]
    return Overview(
        now_ms=now_ms,
        started_ms=started_ms,
        targets=tuple(supervisor.status()),
        alerts=tuple(sorted(alerts, key=lambda alert: (alert.state is not AlertState.FIRING, alert.active_ms))),
        rules=len(rules),
        failing_rules=sum(rule.health is RuleHealth.ERR for rule in rules),
        outbox=outbox.stats,
        blind_rules=blind.found,
        log_windows=runner.log_windows(),
    )
