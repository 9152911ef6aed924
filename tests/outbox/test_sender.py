from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from obskit.clock import SystemClock
from obskit.errors import StoreFull
from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.model.telemetry import REGISTRY
from obskit.outbox import Budget, Delivery, Outbox, Paces, RowState, put
from obskit.store.database import Database
from obskit.testing.clock import FakeClock, run
from tests.outbox.fakes import Receiver, action, answers, house, play, yes

RATE_LIMITED = OutcomeReason.RATE_LIMITED
SERVER = Outcome.retry(OutcomeReason.SERVER, "503")
NETWORK = Outcome.retry(OutcomeReason.NETWORK, "connection refused")


def test_what_is_put_is_sent_once(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock)
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(3600)
            assert receiver.payloads == ["a"]
            (row,) = home.outbox.rows(RowState.SENT)
            assert (row.attempts, row.in_flight, row.done_ms) == (1, False, row.created_ms)

    play(scenario)


def test_what_was_rolled_back_is_not_sent(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        def work(tx: object) -> None:
            put(tx, action("a"), clock.now_ms())  # type: ignore[arg-type]
            raise StoreFull("the evaluation did not fit")

        receiver = Receiver(clock)
        async with house(tmp_path, clock, receiver) as home:
            with pytest.raises(StoreFull):
                await home.database.write(work)
            home.outbox.wake()
            await clock.sleep(10)
            assert receiver.calls == []

    play(scenario)


def test_the_actions_of_a_lane_go_one_after_the_other(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(SERVER, SERVER))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"), action("b"), action("c"))
            await clock.sleep(60)
            assert receiver.payloads == ["a", "a", "a", "b", "c"]
            assert receiver.times == [0.0, 1.0, 3.0, 3.0, 3.0]

    play(scenario)


def test_lanes_go_together_within_the_limit(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, took_s=1)
        async with house(tmp_path, clock, receiver, parallel=4) as home:
            await home.put(*(action(str(n), lane=str(n)) for n in range(10)))
            await clock.sleep(60)
            assert receiver.most_together == 4
            assert receiver.payloads == [str(n) for n in range(10)]
            assert receiver.times == [0.0] * 4 + [1.0] * 4 + [2.0] * 2

    play(scenario)


def test_a_dead_receiver_does_not_delay_another(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async def receiver(delivery: Delivery) -> Outcome:
            if delivery.action.destination == "dead":
                await clock.sleep(1e9)
            arrived.append((delivery.action.payload, clock.monotonic()))
            return Outcome.sent()

        arrived: list[tuple[str, float]] = []
        async with house(tmp_path, clock, receiver) as home:
            await home.put(*(action("x", to="dead", lane=str(n)) for n in range(200)))
            await clock.sleep(100)
            await home.put(action("y", to="alive"))
            await clock.sleep(1)
            assert arrived == [("y", 100.0)]

    play(scenario)


def test_a_silent_handler_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, took_s=31)
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(30.5)
            (row,) = home.outbox.rows(RowState.WAITING)
            assert (row.reason, row.detail) == ("timeout", "no answer within 30 s")
            receiver.took_s = 0
            await clock.sleep(1)
            assert receiver.times == [0.0, 31.0]

    play(scenario)


def test_a_broken_handler_is_tried_again_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock) -> None:
        def broken(_: Delivery) -> Outcome:
            raise KeyError("token-123")

        receiver = Receiver(clock, broken)
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(4)
            (row,) = home.outbox.rows(RowState.WAITING)
            assert (row.attempts, row.reason, row.detail) == (3, "internal", "KeyError")

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "handler failed: kind=notify destination=slack:ops:0",
        "destination fails: destination=slack:ops:0 reason=internal detail=KeyError",
    ]


def test_a_handler_that_cancels_itself_is_tried_again(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async def receiver(delivery: Delivery) -> Outcome:
            if delivery.attempt == 1:
                raise asyncio.CancelledError
            return Outcome.sent()

        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(2)
            assert [row.attempts for row in home.outbox.rows(RowState.SENT)] == [2]

    play(scenario)


def test_retry_after_is_honoured_exactly_and_pauses_the_whole_destination(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.retry(RATE_LIMITED, "429", after_s=42)))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", lane="1"))
            await clock.sleep(1)
            await home.put(action("b", lane="2"), action("c", lane="3", to="other"))
            await clock.sleep(100)
            assert list(zip(receiver.payloads, receiver.times, strict=True)) == [
                ("a", 0.0),
                ("c", 1.0),
                ("a", 42.0),
                ("b", 42.0),
            ]

    play(scenario)


def test_a_destination_that_is_paused_and_then_out_of_reach_is_probed(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async def receiver(delivery: Delivery) -> Outcome:
            if delivery.attempt > 1:
                return Outcome.sent()
            limited = delivery.action.lane == "1"
            await clock.sleep(0 if limited else 1)
            return Outcome.retry(RATE_LIMITED, "429", after_s=5) if limited else SERVER

        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", lane="1"), action("b", lane="2"))
            await clock.sleep(10)
            assert len(home.outbox.rows(RowState.SENT)) == 2

    play(scenario)


def test_a_defect_while_recording_keeps_the_action_and_stops_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.sent({"ts": object()})))  # type: ignore[dict-item]  # not JSON
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", handle_key="i"))
            await clock.sleep(1)
            await home.put(action("b", lane="other"))
            await clock.sleep(100)
            assert receiver.payloads == ["a", "b"]
            assert [row.in_flight for row in home.outbox.rows(RowState.WAITING)] == [True]
        async with house(tmp_path, clock, receiver) as home:
            await clock.sleep(1)
            assert receiver.payloads == ["a", "b", "a"]

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "attempt could not be recorded: id=1 destination=slack:ops:0"
    ]


def test_a_pause_outlives_the_process(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.retry(RATE_LIMITED, "429", after_s=3600)))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", lane="1"))
            await clock.sleep(10)
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("b", lane="2"))
            await clock.sleep(7200)
        assert list(zip(receiver.payloads, receiver.times, strict=True)) == [("a", 0.0), ("a", 3600.0), ("b", 3600.0)]

    play(scenario)


def test_a_destination_with_an_interval_gets_one_at_a_time(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock)
        async with house(tmp_path, clock, receiver, paces=Paces({"slack:ops:0": 1.0, "free": 0.0})) as home:
            await home.put(*(action(str(n), lane=str(n)) for n in range(4)))
            await clock.sleep(60)
            assert receiver.times == [0.0, 1.0, 2.0, 3.0]
            assert receiver.most_together == 1

    play(scenario)


def test_a_destination_that_fails_is_probed_by_one_lane_and_all_follow_once_it_answers(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, lambda _: NETWORK if clock.monotonic() < 1000 else Outcome.sent(), took_s=0.1)
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", lane="1"))
            await clock.sleep(10)
            await home.put(*(action(str(n), lane=str(n)) for n in range(20)))
            await clock.sleep(980)
            assert receiver.most_together == 1
            await clock.sleep(2 * 3600)
            arrived = [at for at, _ in receiver.calls if at >= 1000]
            assert len(arrived) == 21
            assert arrived[-1] - arrived[0] < 1

    play(scenario)


def test_a_poisonous_action_is_not_tried_with_every_success_of_another(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, lambda d: SERVER if d.action.payload == "poison" else Outcome.sent())
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("poison", lane="p"))
            for _ in range(600):
                await home.put(action("fine", lane="f"))
                await clock.sleep(1)
            assert receiver.payloads.count("fine") == 600
            assert receiver.payloads.count("poison") < 25

    play(scenario)


def test_a_permanent_failure_is_a_dead_letter_and_the_next_one_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.permanent(OutcomeReason.PAYLOAD, "invalid_blocks")))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", step="root"), action("b"))
            await clock.sleep(60)
            assert receiver.payloads == ["a", "b"]
            assert home.outbox.stats.dead == 1
            assert REGISTRY.get_sample_value("obskit_outbox_dead") == 1

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "action given up: id=1 destination=slack:ops:0 step=root reason=payload detail=invalid_blocks"
    ]


def test_what_a_person_has_to_mend_waits_for_it_and_then_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(clock: FakeClock) -> None:
        revoked = Outcome.permanent(OutcomeReason.CREDENTIAL, "token_revoked")
        receiver = Receiver(clock, lambda _: revoked if clock.monotonic() < 3600 else Outcome.sent())
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"), action("b", lane="other"))
            await clock.sleep(3500)
            assert len(receiver.calls) <= 130, "asked about once a minute and lane, not hammered"
            assert home.outbox.stats.dead == 0
            await clock.sleep(240)
            assert set(receiver.payloads[-2:]) == {"a", "b"}
            assert home.outbox.stats.waiting == {}

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "destination fails: destination=slack:ops:0 reason=credential detail=token_revoked",
    ]


@pytest.mark.parametrize(
    ("failure", "tried_at_once"),
    [
        (Outcome.permanent(OutcomeReason.DESTINATION, "channel_not_found"), True),
        (Outcome.retry(OutcomeReason.TIMEOUT), True),
        (Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=600), False),
    ],
)
def test_a_retry_by_hand_goes_at_once_unless_the_receiver_asked_to_wait(
    tmp_path: Path, failure: Outcome, *, tried_at_once: bool
) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(failure))
        async with house(tmp_path, clock, receiver) as home:
            (number,) = await home.put(action("a"))
            await clock.sleep(0.5)
            assert await home.outbox.retry(number)
            await clock.sleep(0.1)
            assert len(receiver.calls) == 1 + tried_at_once

    play(scenario)


def test_an_action_nobody_carries_out_is_a_dead_letter(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with house(tmp_path, clock, Receiver(clock)) as home:
            home.outbox.reload({}, Paces())
            await home.put(action("a"))
            await clock.sleep(1)
            (row,) = home.outbox.rows(RowState.DEAD)
            assert (row.reason, row.detail) == ("config", "nothing here carries out notify")

    play(scenario)


def test_what_cannot_arrive_for_long_is_a_dead_letter(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, lambda _: SERVER)
        async with house(tmp_path, clock, receiver, max_age_ms=7_200_000) as home:
            await home.put(action("a"))
            await clock.sleep(7200 - 300)
            assert len(home.outbox.rows(RowState.WAITING)) == 1
            await clock.sleep(600)
            assert len(home.outbox.rows(RowState.DEAD)) == 1
            assert len(receiver.calls) < 40

    play(scenario)


def test_a_refused_form_is_tried_once_more_in_plain_text(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        plainer = Outcome(OutcomeStatus.RETRY, OutcomeReason.PAYLOAD, "invalid_blocks", degrade=True)
        receiver = Receiver(clock, answers(plainer))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(1)
            assert [delivery.degraded for _, delivery in receiver.calls] == [False, True]
            assert receiver.times == [0.0, 0.0]
            assert len(home.outbox.rows(RowState.SENT)) == 1

    play(scenario)


def test_a_handle_is_kept_given_back_and_forgotten_when_it_is_lost(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        lost = Outcome(OutcomeStatus.RETRY, OutcomeReason.HANDLE_LOST, "message_not_found", forget_handle=True)
        receiver = Receiver(clock, answers(Outcome.sent({"ts": "1"}), lost, Outcome.sent({"ts": "2"})))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(*(action(name, handle_key="i1") for name in "abc"))
            await clock.sleep(1)
            assert [(d.action.payload, d.handle) for _, d in receiver.calls] == [
                ("a", None),
                ("b", {"ts": "1"}),
                ("b", None),
                ("c", {"ts": "2"}),
            ]

    play(scenario)


def test_an_unsent_action_is_replaced_by_the_newest_and_keeps_its_place_and_its_back_off(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(SERVER, SERVER, SERVER))
        async with house(tmp_path, clock, receiver) as home:
            first = await home.put(action("1", coalesce="root"), action("thread"))
            for n in range(2, 6):
                await clock.sleep(0.9)
                assert await home.put(action(str(n), coalesce="root")) == first[:1]
            await clock.sleep(60)
            assert receiver.payloads == ["1", "2", "4", "5", "thread"]
            assert receiver.times == [0.0, 1.0, 3.0, 7.0, 7.0]

    play(scenario)


def test_an_action_in_flight_is_not_replaced(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, took_s=5)
        async with house(tmp_path, clock, receiver) as home:
            for n in range(4):
                await home.put(action(str(n), coalesce="root"))
                await clock.sleep(1)
            await clock.sleep(60)
            assert receiver.payloads == ["0", "3"]

    play(scenario)


def test_a_dead_letter_can_be_tried_again_or_dropped(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(*[Outcome.permanent(OutcomeReason.PAYLOAD)] * 2))
        async with house(tmp_path, clock, receiver) as home:
            first, second = await home.put(action("a"), action("b"))
            await clock.sleep(1)
            assert await home.outbox.retry(first)
            assert await home.outbox.drop(second)
            await clock.sleep(1)
            assert receiver.payloads == ["a", "b", "a"]
            assert [row.id for row in home.outbox.rows(RowState.SENT)] == [first]
            assert [row.id for row in home.outbox.rows(RowState.DROPPED)] == [second]
            assert not await home.outbox.retry(first)
            assert not await home.outbox.drop(first)
            assert not await home.outbox.retry(99)
            assert await home.outbox.retry(second)

    play(scenario)


def test_a_dead_letter_goes_behind_what_waits_in_its_lane_unless_newer_content_took_its_place(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        dead = Outcome.permanent(OutcomeReason.PAYLOAD)
        receiver = Receiver(clock, answers(dead, dead, SERVER))
        async with house(tmp_path, clock, receiver) as home:
            old, other = await home.put(action("old", coalesce="root"), action("other"))
            await clock.sleep(0.1)
            await home.put(action("new", coalesce="root"), action("last"))
            await clock.sleep(0.1)
            assert not await home.outbox.retry(old)
            assert await home.outbox.retry(other)
            await clock.sleep(60)
            assert receiver.payloads == ["old", "other", "new", "new", "other", "last"]

    play(scenario)


def test_an_action_that_backs_off_can_be_hurried_and_dropped(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        internal = Outcome.retry(OutcomeReason.INTERNAL, after_s=100)
        receiver = Receiver(clock, answers(internal, internal), took_s=1)
        async with house(tmp_path, clock, receiver) as home:
            head, behind = await home.put(action("head"), action("behind"))
            await clock.sleep(0.5)
            assert not await home.outbox.retry(head), "it is in flight"
            assert not await home.outbox.drop(head)
            assert not await home.outbox.retry(behind), "it waits its turn"
            assert [row.due_ms is None for row in home.outbox.rows(RowState.WAITING)] == [False, True]
            await clock.sleep(9.5)
            assert await home.outbox.retry(head)
            await clock.sleep(9)
            assert await home.outbox.drop(head)
            await clock.sleep(9)
            assert list(zip(receiver.payloads, receiver.times, strict=True)) == [
                ("head", 0.0),
                ("head", 10.0),
                ("behind", 19.0),
            ]

    play(scenario)


def test_receipts_dead_letters_and_handles_are_forgotten_in_time(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.permanent(OutcomeReason.PAYLOAD), Outcome.sent({"ts": "1"})))
        kept = {"receipts_ms": 86_400_000, "dead_ms": 2 * 86_400_000, "handles_ms": 3 * 86_400_000}
        async with house(tmp_path, clock, receiver, **kept) as home:
            await home.put(action("dead"), action("sent", handle_key="i"))
            counts = []
            for _ in range(4):
                counts.append(
                    [home.database.read(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("outbox", "handle")]
                )
                await clock.sleep(86_400 + 3_700)
            assert counts == [[2, 0], [1, 1], [0, 1], [0, 0]]

    play(scenario)


def test_the_loop_outlives_a_store_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock)
        async with house(tmp_path, clock, receiver) as home:
            await clock.sleep(1)
            read = home.database.read

            def broken(*_: object) -> object:
                raise sqlite3.OperationalError("disk I/O error")

            home.database.read = broken  # type: ignore[method-assign,assignment]
            await home.put(action("a"))
            await clock.sleep(30)
            assert receiver.calls == []
            home.database.read = read  # type: ignore[method-assign]
            await clock.sleep(2)
            assert receiver.payloads == ["a"]

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == ["outbox cannot use the store: disk I/O error"]


def test_the_latency_from_commit_to_handler_is_under_5_ms(tmp_path: Path) -> None:
    async def scenario() -> list[float]:
        clock, waits = SystemClock(), []

        async def receiver(_: Delivery) -> Outcome:
            waits.append(clock.monotonic() - put_at)
            called.set()
            return Outcome.sent()

        called = asyncio.Event()
        database = Database.open(tmp_path, reserve_bytes=0)
        outbox = Outbox(database, clock, {"notify": receiver})
        running = asyncio.ensure_future(outbox.run())
        for _ in range(40):
            await clock.sleep(0.002)
            called.clear()
            await database.write(lambda tx: put(tx, action("a"), 0))
            put_at = clock.monotonic()
            outbox.wake()
            await called.wait()
        await outbox.drain(1)
        await running
        await database.close()
        return sorted(waits)

    assert run(scenario())[20] < 0.005


def test_a_drain_finishes_what_is_due_and_ends_the_loop(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, lambda d: SERVER if d.action.payload == "back-off" else Outcome.sent(), took_s=1)
        async with house(tmp_path, clock, receiver, parallel=1, paces=Paces({"paced": 2.0})) as home:
            await home.put(action("a"), action("b"), action("back-off"))
            await home.put(*(action(str(n), to="paced", lane=str(n)) for n in range(3)))
            await clock.sleep(0)
            await home.outbox.drain(10)
            assert clock.monotonic() == 5.0
            assert sorted(receiver.payloads) == ["0", "1", "2", "a", "b", "back-off", "back-off"]
            await home.put(action("late", lane="late"))
            await clock.sleep(10)
            assert "late" not in receiver.payloads

    play(scenario)


def test_a_drain_breaks_off_after_its_time_and_the_next_process_sends(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, took_s=20)
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(1)
            await home.outbox.drain(10)
            assert clock.monotonic() == 11.0
        receiver.took_s = 0
        async with house(tmp_path, clock, receiver) as home:
            await clock.sleep(0.5)
            assert receiver.times == [0.0, 11.0]
            assert len(home.outbox.rows(RowState.SENT)) == 1

    play(scenario)


def test_a_drain_before_the_loop_returns_at_once_and_the_loop_then_ends_at_once(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        database = Database.open(tmp_path, reserve_bytes=0)
        outbox = Outbox(database, clock, {})
        running = asyncio.ensure_future(outbox.run())  # has not begun yet
        await outbox.drain(10)
        await running
        assert clock.monotonic() == 0
        await database.close()

    play(scenario)


@pytest.mark.parametrize("jump_ms", [-86_400_000, 86_400_000])
def test_a_wall_clock_that_jumps_neither_delays_nor_hurries(tmp_path: Path, jump_ms: int) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(SERVER))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(0.5)
            clock.set_wall(clock.now_ms() + jump_ms)
            await clock.sleep(0.1)
            await home.put(action("b", to="other"))
            await clock.sleep(10)
            assert receiver.times == [0.0, 0.6, 1.0]

    play(scenario)


def test_a_due_time_from_a_wall_clock_that_was_set_back_waits_no_longer_than_a_back_off(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(SERVER))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(0.5)
        clock.set_wall(clock.now_ms() - 86_400_000)
        async with house(tmp_path, clock, receiver):
            await clock.sleep(400)
            assert receiver.times == [0.0, 300.5]

    play(scenario)


def test_a_full_disk_holds_the_outbox_and_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Fickle(Database):
        full = False

        def _attempt(self, work):  # type: ignore[no-untyped-def]
            if self.full:
                raise StoreFull("no space left")
            return super()._attempt(work)

    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, took_s=2)
        database = Fickle(tmp_path, reserve_bytes=0)
        outbox = Outbox(database, clock, {"notify": receiver})
        running = asyncio.ensure_future(outbox.run())
        await database.write(lambda tx: put(tx, action("a"), clock.now_ms()))
        outbox.wake()
        await clock.sleep(1)
        database.full = True
        await clock.sleep(100)
        assert len(outbox.rows(RowState.WAITING)) == 1
        database.full = False
        await clock.sleep(2)
        assert len(outbox.rows(RowState.SENT)) == 1
        assert receiver.payloads == ["a"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == ["outbox cannot use the store: no space left"]


def test_the_metrics_say_what_waits(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, lambda _: SERVER if clock.monotonic() < 100 else Outcome.sent())
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", to="measured"), action("b", to="measured"))
            await clock.sleep(60)
            labels = {"destination": "measured"}
            assert REGISTRY.get_sample_value("obskit_outbox_waiting", labels) == 2
            assert 45 <= (REGISTRY.get_sample_value("obskit_outbox_oldest_age_seconds", labels) or 0) <= 60
            await clock.sleep(100)
            assert REGISTRY.get_sample_value("obskit_outbox_waiting", labels) == 0
            assert REGISTRY.get_sample_value("obskit_outbox_oldest_age_seconds", labels) == 0
            failed = {"destination": "measured", "result": "retry", "reason": "server"}
            assert REGISTRY.get_sample_value("obskit_outbox_attempts_total", failed) == 7

    play(scenario)


def test_an_idle_outbox_wakes_about_once_an_hour(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with house(tmp_path, clock, Receiver(clock, yes)) as home:
            looks = 0
            plan = home.outbox._plan

            def counted() -> object:
                nonlocal looks
                looks += 1
                return plan()

            home.outbox._plan = counted  # type: ignore[method-assign,assignment]
            await clock.sleep(86_400)
            assert looks < 30

    play(scenario)


def test_a_long_queue_costs_no_more_than_a_short_one(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, lambda d: NETWORK if d.action.destination == "dead" else Outcome.sent())
        async with house(tmp_path, clock, receiver) as home:
            now_ms = clock.now_ms()
            flood = [action("x", to="dead", lane=str(n % 5_000)) for n in range(20_000)]
            await home.database.write(lambda tx: [put(tx, each, now_ms) for each in flood])
            began = time.perf_counter()
            for n in range(50):
                await home.put(action(str(n), to="alive"))
                await clock.sleep(0.001)
            assert receiver.payloads.count("x") == 4
            assert time.perf_counter() - began < 2

    play(scenario)


def test_what_goes_first_is_what_is_urgent_and_of_the_same_urgency_what_is_oldest(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(SERVER))
        async with house(tmp_path, clock, receiver, paces=Paces({"slack:ops:0": 1.0})) as home:
            await home.put(action("first", lane="x"))
            await clock.sleep(0.1)
            await home.put(
                action("edit", lane="a"),
                action("post", lane="b", priority=1),
                action("critical", lane="c", priority=2),
                action("another", lane="d", priority=2),
                action("behind", lane="c", priority=1),
            )
            await clock.sleep(20)
            assert receiver.payloads == ["first", "critical", "another", "post", "behind", "first", "edit"]

    play(scenario)


def test_newer_content_that_is_urgent_makes_its_row_urgent(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock)
        async with house(tmp_path, clock, receiver, paces=Paces({"slack:ops:0": 1.0})) as home:
            await home.put(action("now", lane="x"), action("a", lane="a"), action("b1", lane="b", coalesce="root"))
            await clock.sleep(0.1)
            await home.put(action("b2", lane="b", coalesce="root", priority=2))
            await clock.sleep(5)
            assert receiver.payloads == ["now", "b2", "a"]

    play(scenario)


def test_destinations_that_share_a_budget_take_turns(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock)
        paces = Paces(budget=lambda delivery: Budget("edits", 1.5, 2) if delivery.action.step == "edit" else None)
        async with house(tmp_path, clock, receiver, paces=paces) as home:
            await home.put(
                *(action(f"e{n}", to=f"d{n}", step="edit") for n in range(5)), action("p", to="d0", lane="p")
            )
            await clock.sleep(10)
            assert sorted(receiver.times) == [0.0, 0.0, 0.0, 1.5, 3.0, 4.5]
            assert dict(zip(receiver.payloads, receiver.times, strict=True))["p"] == 0.0

    play(scenario)


def test_an_action_with_nothing_to_say_takes_no_time_of_its_destination(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.needless(), Outcome.needless()))
        async with house(tmp_path, clock, receiver, paces=Paces({"slack:ops:0": 1.0})) as home:
            await home.put(*(action(name, lane=name) for name in "abcd"))
            await clock.sleep(5)
            assert receiver.times == [0.0, 0.0, 0.0, 1.0]

    play(scenario)


@pytest.mark.parametrize(
    ("outcome", "doubtful"),
    [
        (Outcome.retry(OutcomeReason.TIMEOUT), True),
        (SERVER, True),
        (Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=1), False),
        (replace(Outcome.permanent(OutcomeReason.PAYLOAD), degrade=True), False),
    ],
)
def test_an_attempt_is_doubtful_when_one_before_may_have_arrived(
    tmp_path: Path, outcome: Outcome, doubtful: bool
) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(outcome, Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=1)))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a"))
            await clock.sleep(10)
            assert [delivery.doubtful for _, delivery in receiver.calls] == [False, doubtful, doubtful]

    play(scenario)


def test_after_a_lost_handle_there_is_no_doubt_left(tmp_path: Path) -> None:
    lost = replace(Outcome.permanent(OutcomeReason.HANDLE_LOST), forget_handle=True)

    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.sent({"ts": "1"}), SERVER, lost))
        async with house(tmp_path, clock, receiver) as home:
            await home.put(action("a", handle_key="g"))
            await clock.sleep(1)
            await home.put(action("b", handle_key="g"))
            await clock.sleep(10)
            assert [delivery.doubtful for _, delivery in receiver.calls] == [False, False, True, False]

    play(scenario)


def test_a_process_that_died_leaves_its_doubt(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with house(tmp_path, clock, Receiver(clock, took_s=60)) as home:
            await home.put(action("a"))
            await clock.sleep(1)
        receiver = Receiver(clock)
        async with house(tmp_path, clock, receiver):
            await clock.sleep(1)
        ((_, delivery),) = receiver.calls
        assert delivery.doubtful

    play(scenario)


def test_what_waits_is_bounded_by_leaving_out_older_states_the_least_urgent_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(clock: FakeClock) -> None:
        receiver = Receiver(clock, answers(Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=600)))
        async with house(tmp_path, clock, receiver, waiting=6) as home:
            await home.put(action("in flight before", lane="z", step="root"))
            await clock.sleep(1)
            for number in range(5):
                await home.put(
                    action(f"a{number}", lane="a", step="root"), action(f"b{number}", lane="b", step="root", priority=2)
                )
            await clock.sleep(60)
            left = [row.action.payload for row in home.outbox.rows(RowState.WAITING)]
            assert left == ["in flight before", "b1", "b2", "b3", "a4", "b4"]
            await clock.sleep(600)
            assert sorted(receiver.payloads[1:]) == ["a4", "b1", "b2", "b3", "b4", "in flight before"]

    play(scenario)
    assert "older states are left out" in caplog.text
