from __future__ import annotations

from pathlib import Path

from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.digest import Digest
from obskit.model.labels import Labels
from obskit.routing.floods import Floods
from obskit.store.database import Database, Transaction
from obskit.testing.clock import START_MS, run
from tests.routing.fakes import FakeDestination


def told(
    key: str, reason: NoticeReason = NoticeReason.FIRST, *, name: str = "", severity: str = "warning", **labels: str
) -> Notice:
    """A notice of the group `key`, with one alert."""
    ends_ms = START_MS if reason is NoticeReason.ALL_RESOLVED else None
    labelled = Labels({"alertname": name or key, "severity": severity, **labels})
    one = Alert(labelled, {}, START_MS - 1_000, ends_ms)
    return Notice("ops", key, labelled, (one,), reason, f"i-{key}", START_MS)


def play(folder: Path, *steps: object) -> list[tuple[list[str], list[Digest]]]:
    """Each step is a flush: (seconds, notices…); what it put: the groups told by themselves, and the digests."""
    channel = FakeDestination("slack", digests=True)

    async def scenario() -> list[tuple[list[str], list[Digest]]]:
        database = Database.open(folder, reserve_bytes=0)
        heard = []
        for seconds, *notices in steps:  # type: ignore[misc]

            def flush(
                tx: Transaction, seconds: float = seconds, notices: list = notices
            ) -> tuple[list[str], list[Digest]]:
                floods = Floods(tx, START_MS + round(seconds * 1000), "https://obskit.example")
                own = [action.lane for one in notices for action in floods.sift(channel, one)]
                return own, [Digest.from_json(action.payload) for action in floods.sum_up()]

            heard.append(await database.write(flush))
        await database.close()
        return heard

    return run(scenario())


def groups(*names: str) -> list[Notice]:
    return [told(name) for name in names]


def test_six_roots_a_minute_are_posted_and_the_seventh_opens_a_digest(tmp_path: Path) -> None:
    (first,) = play(tmp_path, (0, *groups(*"abcdefgh")))
    assert first[0] == list("abcdef")
    (digest,) = first[1]
    assert (digest.total, digest.firing) == (2, 2)
    assert [entry.title for entry in digest.entries] == ["g", "h"]
    assert digest.external_url == "https://obskit.example"


def test_six_every_minute_are_no_flood(tmp_path: Path) -> None:
    heard = play(tmp_path, (0, *groups(*"abcdef")), (60, *groups(*"ghijkl")), (120, *groups(*"mnopqr")))
    assert [len(own) for own, _ in heard] == [6, 6, 6]
    assert not any(digests for _, digests in heard)


def test_critical_groups_always_have_a_message_of_their_own(tmp_path: Path) -> None:
    heard = play(tmp_path, (0, *groups(*"abcdefg")), (1, told("X", severity="critical"), told("y")))
    assert heard[1][0] == ["X"]
    assert heard[1][1][0].total == 2


def test_a_group_that_becomes_critical_leaves_its_digest(tmp_path: Path) -> None:
    heard = play(
        tmp_path,
        (0, *groups(*"abcdefgh")),
        (60, told("g", NoticeReason.NEW_ALERTS, severity="critical")),
        (90, told("g", NoticeReason.ALL_RESOLVED, severity="critical")),
    )
    assert heard[1][0] == ["g"]
    assert (heard[1][1][0].moved, heard[1][1][0].firing) == (1, 1)
    assert heard[2] == (["g"], [])


def test_a_digest_is_open_until_five_minutes_pass_without_a_new_group(tmp_path: Path) -> None:
    heard = play(
        tmp_path,
        (0, *groups(*"abcdefg")),
        (290, told("h")),
        (580, told("i")),
        (881, told("j")),
    )
    assert [len(own) for own, _ in heard] == [6, 0, 0, 1]
    assert heard[2][1][0].total == 3


def test_what_is_in_a_digest_is_told_by_it_until_it_is_over(tmp_path: Path) -> None:
    heard = play(
        tmp_path,
        (0, *groups(*"abcdefgh")),
        (600, told("g", NoticeReason.SOME_RESOLVED)),
        (700, told("g", NoticeReason.ALL_RESOLVED)),
        (800, told("h", NoticeReason.ALL_RESOLVED)),
        (900, told("h", NoticeReason.FIRST)),
    )
    assert [own for own, _ in heard[1:]] == [[], [], [], ["h"]]
    assert [digest.firing for _, (digest,) in heard[1:4]] == [2, 1, 0]


def test_a_group_that_repeats_after_the_flood_speaks_for_itself(tmp_path: Path) -> None:
    heard = play(
        tmp_path,
        (0, *groups(*"abcdefgh")),
        (200, told("g", NoticeReason.REPEAT)),
        (4000, told("g", NoticeReason.REPEAT)),
    )
    assert heard[1][0] == []
    assert heard[2][0] == ["g"]
    assert heard[2][1][0].moved == 1


def test_a_group_that_is_escalated_leaves_its_digest(tmp_path: Path) -> None:
    heard = play(tmp_path, (0, *groups(*"abcdefgh")), (200, told("g", NoticeReason.ESCALATED)))
    assert heard[1][0] == ["g"]
    assert heard[1][1][0].moved == 1


def test_the_next_flood_has_a_digest_of_its_own(tmp_path: Path) -> None:
    heard = play(
        tmp_path,
        (0, *groups(*"abcdefgh")),
        (400, *[told(name, NoticeReason.ALL_RESOLVED) for name in "ab"]),
        (3600, *groups(*"abcdef"), told("g")),
        (3700, told("h", NoticeReason.ALL_RESOLVED)),
    )
    first, second, old = heard[0][1][0], heard[2][1], heard[3][1][0]
    assert old.id == first.id
    assert {digest.id for digest in second} == {first.id, second[-1].id}
    assert second[-1].id != first.id
    assert old.firing == 0


def test_a_flood_is_counted_by_place_and_rule(tmp_path: Path) -> None:
    ((_, (digest,)),) = play(
        tmp_path,
        (
            0,
            *groups(*"abcdef"),
            *(told(f"g{n}", name="Slow", app="api") for n in range(30)),
            told("h", name="Down", app="web"),
        ),
    )
    assert [(tally.place, tally.name, tally.firing) for tally in digest.tallies] == [
        ("api", "Slow", 30),
        ("web", "Down", 1),
    ]
    assert len(digest.entries) == 10


def test_a_test_message_is_never_in_a_digest(tmp_path: Path) -> None:
    heard = play(tmp_path, (0, *groups(*"abcdefg"), told("t", NoticeReason.TEST)))
    assert heard[0][0][-1] == "t"


def test_a_digest_outlives_the_process(tmp_path: Path) -> None:
    play(tmp_path, (0, *groups(*"abcdefg")))
    ((own, (digest,)),) = play(tmp_path, (30, told("h")))
    assert own == []
    assert digest.total == 2
