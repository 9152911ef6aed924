"""What log rules cost on arrival: CPU per line, and the share of a core at 600 lines a second.

    python bench/log_rules.py [--lines N] [--json FILE]

quiet:  lines that match no rule, appended in bulk: CPU per line of the combined matcher.
steady: 600 lines a second in batches of 60, ten apps, one line in fifty an error: matching, windows, and the
        evaluation of every rule on arrival and once in 15 s. What the store and routing do is not in it.

Rules are of the kinds that people write: a text in an app's lines, a pattern, a JSON field; and where it is steady two
kinds for which every line has to be looked at, a number in a JSON field and a rate of everything.
Ends with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.rules.log_windows import LogWindows
from obskit.store.listed_logs import ListedLogs
from obskit.store.log_interface import Records
from obskit.testing.clock import FakeClock

S = 1_000_000_000
APPS = [Labels({"app": f"app{n}", "region": "fra"}) for n in range(10)]
WORDS = ["request", "served", "cache", "hit", "user", "order", "queue", "worker", "done", "path", "took", "session"]
GOAL_QUIET_PER_S = 1_000_000
GOALS_SHARE = {100: 1.0, 1000: 3.0}
KINDS = (
    'sum by (app) (count_over_time({{app="app{app}"}} |= "payment {n} failed" [5m])) > 5',
    'sum by (app) (rate({{app=~"app.*"}} |~ "(?i)timeout after [0-9]+ms for shard {n}" [5m])) > 1',
    'count_over_time({{app="app{app}"}} |= "upstream {n}" |= "refused" != "retry" [1m]) > 3',
    'sum by (level) (count_over_time({{app="app{app}"}} | json | level="fatal{n}" [5m])) > 0',
    'quantile_over_time(0.9, {{app="app{app}"}} |= "slow query {n}" | json | unwrap took_ms | __error__="" [5m]) by (app) > 9',
    'sum by (app) (count_over_time({{app="app{app}"}} | json | status >= {status} [5m])) > 5',
    'sum by (region) (rate({{app="app{app}"}}[{n}s])) > 1e4',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """`us_per_line` is CPU; `share` the percentage of a core at 600 lines a second (steady only)."""

    scene: str
    rules: int
    us_per_line: float
    share: float | None
    missed: bool


def rules_of(count: int, kinds: int = len(KINDS)) -> list[Group]:
    exprs = [KINDS[n % kinds].format(n=n + 1, app=n % 10, status=500 + n) for n in range(count)]
    every = "".join(
        f"  - {{alert: A{n}, labels: {{severity: info}}, expr: '{expr}'}}\n" for n, expr in enumerate(exprs)
    )
    if not every:
        return []
    return list(load_rules(f"groups:\n- name: g\n  type: loki\n  interval: 15s\n  rules:\n{every}", "b.yaml").groups)


def line(chance: random.Random, *, quiet: bool) -> str:
    """About 300 bytes of JSON, as services log."""
    error = not quiet and chance.random() < 0.02
    said = f"payment {chance.randrange(100)} failed" if error else " ".join(chance.choices(WORDS, k=20))
    fields = {"level": "error" if error else "info", "msg": said, "took_ms": chance.randrange(900), "status": 200}
    return json.dumps({**fields, "trace_id": f"{chance.getrandbits(128):032x}", "host": "148e21d7", "path": "/api/x"})


def batch(lines: Sequence[str], at_ns: int, chance: random.Random) -> Records:
    streams = [chance.choice(APPS) for _ in lines]
    return Records(streams, [at_ns + n for n in range(len(lines))], list(lines), [NO_METADATA] * len(lines))


def quiet(rules: int, lines: int) -> Measured:
    chance, clock = random.Random(1), FakeClock()
    windows = LogWindows(ListedLogs(), clock)
    windows.watch(rules_of(rules, kinds=5))
    texts = [line(chance, quiet=True) for _ in range(5_000)]
    best = float("inf")
    for _ in range(max(3, lines // len(texts))):
        records = batch(texts, clock.now_ns(), chance)
        clock.advance(0.1)
        began_s = time.process_time()
        windows.offer(records)
        windows.take_in()
        best = min(best, (time.process_time() - began_s) / len(texts))
    return Measured("quiet", rules, best * 1e6, None, rules == 100 and 1 / best < GOAL_QUIET_PER_S)


def steady(rules: int, seconds: int) -> Measured:
    chance, clock = random.Random(2), FakeClock()
    windows = LogWindows(ListedLogs(), clock)
    groups = rules_of(rules)
    windows.watch(groups)
    while windows.cold:
        windows.read_piece()
        windows.judge_piece()
    by_key = {rule.key: rule for group in groups for rule in group.rules}
    texts = [line(chance, quiet=False) for _ in range(20_000)]
    spent_s, lines = 0.0, 0
    for tick in range(seconds * 10):
        clock.advance(0.1)
        some = batch([texts[(tick * 60 + n) % len(texts)] for n in range(60)], clock.now_ns(), chance)
        began_s = time.process_time()
        windows.offer(some)
        due = list(by_key.values()) if tick % 150 == 149 else [by_key[key] for key in windows.take_in()]
        for rule in due:
            try:
                windows.instant(rule.query, clock.now_ns())
            except QueryError as error:
                raise SystemExit(f"{rule.expr}: {error}") from None
        spent_s += time.process_time() - began_s
        lines += 60
    share = spent_s / seconds * 100
    return Measured("steady", rules, spent_s / lines * 1e6, share, share > GOALS_SHARE.get(rules, 100.0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = [quiet(rules, options.lines) for rules in (0, 100, 1000)]
    found += [steady(rules, options.seconds) for rules in (0, 100, 1000)]
    print(f"{'scene':8} {'rules':>6} {'µs/line':>9} {'lines/CPU s':>13} {'% of a core at 600/s':>21}")
    for one in found:
        share = "" if one.share is None else f"{one.share:.2f}"
        per_s = 1e6 / one.us_per_line
        print(f"{one.scene:8} {one.rules:6} {one.us_per_line:9.3f} {per_s:13,.0f} {share:>21} {'missed' * one.missed}")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=2))
    return int(any(one.missed for one in found))


if __name__ == "__main__":
    sys.exit(main())
