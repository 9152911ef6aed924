"""A real Alertmanager beside our dispatcher, on the same random worlds: who is told what, and when.

    python -m tests.routing.differential --seed 1 --count 100

Compared for each receiver and group: every webhook body (times to the second) and when it came. Differences that are
meant, each looked for by name and everything else reported:

- quiet end: the end of an alert that was told to be on, and is silenced or inhibited by then, is in our group's next
  message, and is one when nothing else of it is on. Alertmanager forgets it: the incident stays open. What follows is
  not compared, for its log still says that the alert is on. (Worlds with repeats have no silences.)
- late repeat: Alertmanager notes when a message had gone out, so where the repeat interval is a multiple of the group
  interval it repeats one flush later than asked. Ours repeats at the flush that is due. (Worlds repeat in between.)
- told again: a Prometheus goes on posting the end of an alert; Alertmanager lists it once more in the group's next
  message, ours has told it. (In no world is an end posted twice.)
- second life: Alertmanager 0.25 keeps an empty group for up to 30 s and flushes it at its old pace; ours begins anew,
  with its group_wait, as newer versions do. What follows the end of a group is not compared.
- Left out of the worlds: `group_by: []` (0.25 inherits, newer versions reset, and so do we); names with characters that
  0.25 refuses; two sibling routes with the same matchers (they share one entry in its notification log).
- Not in 0.25: `notification_reason`. Ours alone: milliseconds, where it keeps nanoseconds.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from obskit.clock import SystemClock
from obskit.model.labels import Labels
from obskit.model.matchers import match_all
from obskit.notify.webhook import payload
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intake import Posted
from obskit.routing.intervals import TimeIntervalSettings, build_intervals
from obskit.routing.policy import Policy
from obskit.routing.tree import RouteSettings, build_tree
from obskit.testing.clock import FakeClock, run
from obskit.web.alertmanager_json import read_silence, time_text
from tests.routing.fakes import Ears, FakeDestination, desk
from tests.routing.scenarios import LENGTH_S, RESOLVE_TIMEOUT_S, SILENT_END_S, Scenario, Step, scenario
from tests.servers import free_port, wait_for_port

FAR_S: Final = 3_600
LATE_S: Final = 0.25
"""How late an action may be done before the run says nothing."""
NEAR_S: Final = 0.45
"""How far apart two messages may be that are the same."""
TRIES: Final = 3
GENERATOR: Final = "http://p/g?<&>"

clock = SystemClock()


@dataclass
class Message:
    """One webhook body, and when it came (seconds since the world began)."""

    at: float
    body: dict[str, Any]

    @property
    def group(self) -> tuple[str, str]:
        """Whom it was for, and of which group."""
        return self.body["receiver"], self.body["groupKey"]

    def names(self, status: str) -> set[str]:
        """The fingerprints of its alerts in this state."""
        return {alert["fingerprint"] for alert in self.body["alerts"] if alert["status"] == status}


@dataclass
class Difference:
    """What was not the same."""

    seed: int
    what: str
    ours: Message | None
    theirs: Message | None

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.what}"]
        for name, message in (("ours", self.ours), ("theirs", self.theirs)):
            lines.append(f"  {name}: {f'{message.at:.2f} {json.dumps(message.body)}' if message else '-'}")
        return "\n".join(lines)


@dataclass
class Outcome:
    """What a comparison found."""

    compared: int = 0
    quiet_ends: int = 0
    second_lives: int = 0
    late: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count them together."""
        for name in ("compared", "quiet_ends", "second_lives", "late", "differences"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def policy_of(world: Scenario) -> Policy:
    """The world's config, as we read it (every scalar as text, as our YAML reader gives it)."""
    config = json.loads(json.dumps(world.config))
    return Policy(
        build_tree(RouteSettings.model_validate(config["route"])),
        [InhibitRuleSettings.model_validate(each).rule() for each in config.get("inhibit_rules", ())],
        build_intervals(TimeIntervalSettings.model_validate(each) for each in config["time_intervals"]),
        round(RESOLVE_TIMEOUT_S * 1000),
    )


# Ours: in a moment, on a clock that jumps


@dataclass
class Ours:
    """What our dispatcher told, and when each group was gone."""

    messages: list[Message]
    gone: dict[tuple[str, str], float]


def play_ours(world: Scenario, folder: Path) -> Ours:
    """The world, through our dispatcher."""
    fake = FakeClock(clock.now_ms())
    found = Ours([], {})

    async def whole() -> None:
        start_ms, ears = fake.now_ms(), Ears(fake)
        began_s = fake.monotonic()
        reach = {name: [FakeDestination(name)] for name in world.receivers}
        starts: dict[str, int] = {}
        async with desk(folder, fake, ears, policy_of(world), reach) as ops:
            seen: set[tuple[str, str]] = set()
            for quarter in range(round((LENGTH_S + SILENT_END_S) * 4)):
                step = world.steps.get(quarter // 4) if quarter % 4 == 0 else None
                if step is not None:
                    for body in silences(step, fake.now_ms()):
                        await ops.dispatcher.silences.set(read_silence(json.dumps(body).encode()))
                    await ops.dispatcher.post([_posted(each) for each in alerts(step, fake.now_ms(), starts)])
                await fake.sleep(0.25)
                now = {(_receiver(view.receiver), view.group_key) for view in ops.dispatcher.snapshot()}
                for key in seen - now:
                    found.gone.setdefault(key, fake.monotonic() - began_s)
                seen = now
        found.messages = [
            Message(told.at - began_s, _plain(json.loads(json.dumps(payload(told.notice))), start_ms))
            for told in ears.heard
        ]

    run(whole(), fake)
    return found


def _receiver(name: str) -> str:
    return name.replace(".", "\\.")


def silences(step: Step, now_ms: int) -> list[dict[str, Any]]:
    """The bodies of the step's silences."""
    return [
        {
            "matchers": matchers,
            "startsAt": time_text(now_ms),
            "endsAt": time_text(now_ms + length_s * 1000),
            "createdBy": "d",
            "comment": "c",
        }
        for matchers, length_s in step.silence
    ]


def alerts(step: Step, now_ms: int, starts: dict[str, int]) -> list[dict[str, Any]]:
    """The body of the step's POST, as a Prometheus would write it; `starts` remembers when each began."""
    found = []
    for labels, with_end in step.fire:
        starts[str(labels)] = now_ms
        item = {"labels": labels, "annotations": {"z": "<b>", "a": labels["severity"]}, "generatorURL": GENERATOR}
        item["startsAt"] = time_text(now_ms)
        found.append(item | ({"endsAt": time_text(now_ms + FAR_S * 1000)} if with_end else {}))
    for labels in step.resolve:
        item = {"labels": labels, "annotations": {"z": "<b>", "a": labels["severity"]}, "generatorURL": GENERATOR}
        found.append({**item, "startsAt": time_text(starts[str(labels)]), "endsAt": time_text(now_ms)})
    return found


def _posted(item: dict[str, Any]) -> Posted:
    return Posted(
        Labels(item["labels"]),
        item["annotations"],
        _ms(item["startsAt"]),
        _ms(item["endsAt"]) if "endsAt" in item else None,
        item["generatorURL"],
    )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _plain(body: dict[str, Any], start_ms: int) -> dict[str, Any]:
    """The body with its times in whole seconds since the world began, without what 0.25 does not know."""
    body.pop("notification_reason", None)
    for alert in body["alerts"]:
        for key in ("startsAt", "endsAt"):
            if not alert[key].startswith("0001"):
                alert[key] = round((_ms(_short(alert[key])) - start_ms) / 1000)
    return body


def _short(text: str) -> str:
    """A time with at most microseconds."""
    whole, _, rest = text.partition(".")
    digits = rest.rstrip("Z")[:6]
    return f"{whole}.{digits}+00:00" if digits else text


# Theirs: in real time


class Hooks(http.server.ThreadingHTTPServer):
    """Remembers every webhook and when it came."""

    request_queue_size = 128  # one that finds no room would come a second later

    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Hook)


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        came_ms = clock.now_ms()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Hooks)
        self.server.heard.append((came_ms, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def alertmanager(world: Scenario, folder: Path, url: str) -> Iterator[int]:
    """A real one with the world's config; the port it listens on."""
    file, port = folder / "alertmanager.yml", free_port()
    hooks = [{"name": name, "webhook_configs": [{"url": url}]} for name in world.receivers]
    file.write_text(yaml.safe_dump({**world.config, "receivers": hooks}))
    command = ["prometheus-alertmanager", f"--config.file={file}", f"--storage.path={folder}/am"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--web.external-url=http://obs"]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for_port(port, process, 20)
            yield port
        finally:
            process.kill()
            process.wait()


def play_theirs(world: Scenario, folder: Path) -> tuple[list[Message], float]:
    """The world, through the real one; and by how much the latest action was late."""
    hooks = Hooks()
    serving = threading.Thread(target=hooks.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        with alertmanager(world, folder, f"http://127.0.0.1:{hooks.server_address[1]}/") as port:
            start_ms, late_s = _act(world, port)
        messages = [Message((t_ms - start_ms) / 1000, _plain(body, start_ms)) for t_ms, body in hooks.heard]
        return messages, late_s
    finally:
        hooks.shutdown()
        hooks.server_close()
        serving.join()


def _act(world: Scenario, port: int) -> tuple[int, float]:
    pause = threading.Event()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def post(path: str, body: Any) -> None:
        connection.request("POST", f"/api/v2{path}", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text

    post("/alerts", [])
    start_ms, late_s = clock.now_ms(), 0.0
    starts: dict[str, int] = {}
    for second, step in world.steps.items():
        pause.wait(max(0.0, start_ms / 1000 + second - clock.now_ms() / 1000))
        for body in silences(step, clock.now_ms()):
            post("/silences", body)
        post("/alerts", alerts(step, clock.now_ms(), starts))
        late_s = max(late_s, clock.now_ms() / 1000 - start_ms / 1000 - second)
    pause.wait(max(0.0, start_ms / 1000 + LENGTH_S + SILENT_END_S - clock.now_ms() / 1000))
    connection.close()
    return start_ms, late_s


# The comparison


def compare(world: Scenario, ours: Ours, theirs: Sequence[Message]) -> Outcome:
    """What differs, and how often what is meant to differ did."""
    outcome = Outcome()
    by_group: dict[tuple[str, str], tuple[list[Message], list[Message]]] = defaultdict(lambda: ([], []))
    for side, messages in ((0, ours.messages), (1, theirs)):
        for message in sorted(messages, key=lambda each: each.at):
            by_group[message.group][side].append(message)
    for key, (all_mine, all_real) in by_group.items():
        until = ours.gone.get(key, LENGTH_S + SILENT_END_S) + 0.05
        outcome.second_lives += any(each.at > until + NEAR_S for each in (*all_mine, *all_real))
        horizon = min(until, LENGTH_S + SILENT_END_S - 0.5)
        mine = [each for each in all_mine if each.at <= horizon]
        _compare_group(world, mine, [each for each in all_real if each.at <= horizon + NEAR_S], outcome)
    return outcome


def _compare_group(world: Scenario, mine: list[Message], real: list[Message], outcome: Outcome) -> None:
    told: set[str] = set()
    owed: set[str] = set()
    for message in mine:
        same = next((each for each in real if abs(each.at - message.at) < NEAR_S), None)
        extra = message.names("resolved") - (same.names("resolved") if same else set())
        extra &= owed & _quiet_lately(world, message.at)
        if same is None:
            if extra and message.names("firing") <= told:
                outcome.quiet_ends += 1
                return
            outcome.differences.append(Difference(world.seed, "only ours told this", message, None))
        else:
            real.remove(same)
            outcome.compared += 1
            outcome.quiet_ends += bool(extra)
            if message.body != same.body and not (extra and _less(message, extra) == _less(same, set())):
                outcome.differences.append(Difference(world.seed, "not the same body", message, same))
        told = message.names("firing")
        owed = (owed | told) - message.names("resolved")
    outcome.differences += [Difference(world.seed, "only Alertmanager told this", None, each) for each in real]


def _quiet_lately(world: Scenario, at: float) -> set[str]:
    """The alerts that were kept quiet at any flush until then."""
    return set().union(*(quiet(world, half / 2) for half in range(1, round(at * 2) + 1, 2)))


def _less(message: Message, extra: set[str]) -> Any:
    """The alerts of a message less these."""
    return [alert for alert in message.body["alerts"] if alert["fingerprint"] not in extra]


def quiet(world: Scenario, at: float) -> set[str]:
    """The fingerprints of the alerts that are silenced or inhibited at a moment."""
    policy = policy_of(world)
    on: dict[str, float] = {}
    known: dict[str, Labels] = {}
    silencing: list[Any] = []
    for second, step in world.steps.items():
        if second > at:
            break
        for labels, with_end in step.fire:
            its = Labels(labels)
            known[its.fingerprint()] = its
            on[its.fingerprint()] = second + (FAR_S if with_end else RESOLVE_TIMEOUT_S)
        for labels in step.resolve:
            on[Labels(labels).fingerprint()] = second
        now_ms = second * 1000
        silencing += [
            (read_silence(json.dumps(body).encode()), second + length)
            for body, (_, length) in zip(silences(step, now_ms), step.silence, strict=True)
        ]
    from obskit.model.alerts import Alert
    from obskit.routing.inhibit import Inhibitor

    inhibitor = Inhibitor(policy.inhibit_rules, (Alert(known[each], {}, 0) for each, end in on.items() if end > at))
    return {
        fingerprint
        for fingerprint, labels in known.items()
        if inhibitor.inhibiting(labels)
        or any(match_all(silence.matchers, labels) for silence, end in silencing if end > at)
    }


def examine(seed: int) -> Outcome:
    """One world, again when this machine was too slow to say anything."""
    late = 0
    for _ in range(TRIES):
        world = scenario(seed)
        with tempfile.TemporaryDirectory(prefix="obskit-differential-") as folder:
            ours = play_ours(world, Path(folder) / "ours")
            theirs, late_s = play_theirs(world, Path(folder))
        outcome = compare(world, ours, theirs)
        outcome.late = late
        if late_s < LATE_S and not outcome.differences:
            return outcome
        late += late_s >= LATE_S
    return outcome


def main() -> None:
    """The command: many worlds, several at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="the first world")
    parser.add_argument("--count", type=int, default=1, help="how many worlds")
    parser.add_argument("--at-once", type=int, default=8, help="how many at a time")
    given = parser.parse_args()
    whole = Outcome()
    with ThreadPoolExecutor(given.at_once) as pool:
        for outcome in pool.map(examine, range(given.seed, given.seed + given.count)):
            whole.add(outcome)
            for difference in outcome.differences:
                print(difference)
    print(
        f"{given.count} worlds: {whole.compared} messages the same, {whole.quiet_ends} quiet ends,"
        f" {whole.second_lives} groups with a second life, {whole.late} runs too late,"
        f" {len(whole.differences)} differences"
    )
    raise SystemExit(1 if whole.differences else 0)


if __name__ == "__main__":
    main()
