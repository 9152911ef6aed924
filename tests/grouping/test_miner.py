"""Templates: what is one, what stays apart, and that ids and memory hold whatever comes."""

import random
import tracemalloc

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.clock import SystemClock
from obskit.grouping.masks import MAX_LINE, collapse, mask
from obskit.grouping.miner import MAX_TEMPLATES, VALUES, Miner

MASKED = [
    ("took 12.5ms", "took <_>"),
    ("took 1 sec", "took <_>"),
    ("lifetime <1 sec", "lifetime <_>"),
    ("19904 bytes (19.4 KB) sent", "<_> sent"),
    ("0 bytes sent", "<_> sent"),
    ("user 10.0.0.7:443 left", "user <_> left"),
    ("from fe80::c6b3:1ff to 2001:db8::1", "from <_> to <_>"),
    ("bssid 0c:fe:dd:aa:bb:cc seen", "bssid <_> seen"),
    ("id b9000564-fe1a-409b-b8cc-1e88b294cd1d gone", "id <_> gone"),
    ("commit deadbee1 by a.b@example.com", "commit <_> by <_>"),
    ("GET /orders/17?x=1 HTTP/1.1", "GET <_> HTTP/<_>"),
    ("see https://example.com/a?b=c#d now", "see <_> now"),
    ("connect to db.internal:5432 failed", "connect to <_> failed"),
    ("cannot open C:\\temp\\a.txt", "cannot open <_>"),
    ("at Fri Jul  1 07:57:30 2005 ok", "at <_> ok"),
    ("2026-11-20T10:00:00.123Z start", "<_> start"),
    ("127.0.0.1 - - [01/Nov/2026:10:00:00 +0000] hi", "<_> - - [<_>] hi"),
    ("KeyError: 'price_eur'", "KeyError: <_>"),
    ('level="warn" n=1', "level=<_> n=<_>"),
    ('msg="could not save" n=1', 'msg="could not save" n=<_>'),
    ('{"level": "error", "n": 12}', '{"level": <_>, "n": <_>}'),
    ("channels 1 2 3 4 5", "channels <_>"),
    ("blk_123 and rdd_1_2 of node-D17", "<_> and <_> of <_>"),
    ("link up on eth0", "link up on eth0"),
    ("link up on eth1", "link up on eth0"),
    ("java.lang.String stays, utf8 too", "java.lang.String stays, utf0 too"),
    ("session opened for user alice by root", "session opened for user <_> by root"),
    ("Invalid user backup from 10.0.0.7", "Invalid user <_> from <_>"),
    ("wrong password for alice from 10.0.0.7", "wrong password for <_> from <_>"),
    ("wrong password for invalid user alice", "wrong password for invalid user <_>"),
    ("wrong password for the archive", "wrong password for the archive"),
    ("login failed user=alice", "login failed user=<_>"),
    ("login failed user=null", "login failed user=null"),
    ("prefetch depth......4", "prefetch depth.....<_>"),
    ("removed:0|com.example.app|17|null|10", "removed:<_>"),
    ("source=Worker{10113} up", "source=<_> up"),
    ("no route over IPv6", "no route over IPv6"),
    ("left 203.0.113.9.dsl.example.om today", "left <_> today"),
    ("wrote 0017.log in 3.5s. Then 2.5.", "wrote <_> in <_>. Then <_>."),
    ("don't touch isn't", "don't touch isn't"),
    ("from 1.2.3.4 () at once", "from <_> (<_>) at once"),
    ("name=com.example.app/.Main ok=true", "name=<_> ok=true"),
    ("PhysicalDevice1 ready in 3days", "PhysicalDevice0 ready in <_>"),
]


@pytest.mark.parametrize(("line", "masked"), MASKED)
def test_values_are_masked_and_words_are_not(line: str, masked: str) -> None:
    assert mask(collapse(line)) == masked


def groups(lines: list[str], miner: Miner | None = None) -> list[str]:
    miner = miner or Miner()
    ids = [miner.add(line).id for line in lines]
    return [miner.current(id_) for id_ in ids]


def one(lines: list[str]) -> bool:
    return len(set(groups(lines))) == 1


NAMES = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "oscar"]


def test_a_few_words_in_one_place_are_messages_and_many_are_values() -> None:
    assert len(set(groups(["VM started now", "VM stopped now", "VM paused now"] * 50))) == 3
    assert len(set(groups([f"mail for {name} failed" for name in NAMES[: VALUES - 1]]))) == VALUES - 1
    assert one([f"mail for {name} failed" for name in NAMES])


def test_what_came_before_a_merge_is_found_by_its_old_id() -> None:
    miner = Miner()
    first = miner.add("mail for alice failed")
    others = [miner.add(f"mail for {name} failed") for name in NAMES[1:]]
    assert first.text == "mail for alice failed"
    whole = miner.get(first.id)
    assert whole is not None
    assert (whole.id, whole.text, whole.count) == (first.id, "mail for <_> failed", len(NAMES))
    assert {miner.current(other.id) for other in others} == {first.id}
    assert set(miner.merges().values()) == {first.id}
    assert not miner.merges()


def test_two_places_with_values_are_found_one_after_the_other() -> None:
    rand = random.Random(4)
    assert one([f"{'moved'} {rand.choice(NAMES)} to {rand.choice(NAMES)} today" for _ in range(2_000)])


def test_an_identifier_beside_a_value_is_a_value() -> None:
    assert one(["domain root2_domain is full", "domain storage_442 is full", "domain local_domain is full"])
    assert one(["name=com.example.mail up", "name=android up"])
    assert one(["loads com.example.Shop for com.example.Cart", "loads com.example.v2.Till for com.example.v2.Till"])
    assert one(["lock name=android owner=Worker{7}", "lock name=com.example.mail owner=null"])
    assert not one(["took 12 today", "took nothing today"])
    assert not one(["done ok=true n=com.example.mail", "done ok=false n=android"])
    assert not one(["failed error=timeout n=5", "failed error=io.EOF n=5"])


def test_enumerations_stay_apart_however_long_they_are() -> None:
    states = [f"job went {state}" for state in NAMES[:7]] * 300
    assert len(set(groups([*states, "job went missing"]))) == 8


def test_the_first_word_says_what_happened() -> None:
    assert len(set(groups([f"{name} (command 17)" for name in NAMES]))) == len(NAMES)
    assert len(set(groups(list(NAMES)))) == len(NAMES)


lines = st.lists(
    st.one_of(
        st.sampled_from([f"mail for {name} failed" for name in NAMES]),
        st.builds("{} = {} at {}".format, st.sampled_from(NAMES), st.integers(0, 9), st.sampled_from(NAMES)),
        st.text(alphabet="ab1 .:=/'\"<>_-\n\x00é\ud800", max_size=40),
    ),
    max_size=120,
)


@given(lines)
@settings(max_examples=100, deadline=None)
def test_the_same_lines_give_the_same_ids_again(lines: list[str]) -> None:
    assert groups(lines) == groups(lines)


@given(lines, lines, st.integers(4, 60))
@settings(max_examples=100, deadline=None)
def test_ids_go_on_after_a_restart(before: list[str], after: list[str], room: int) -> None:
    miner = Miner(room)
    known = dict(zip(before, groups(before, miner), strict=True))
    again = Miner(room)
    again.load(miner.dump())
    assert [(t.id, t.text, t.count) for t in again] == [(t.id, t.text, t.count) for t in miner]
    alive = {template.id for template in miner}
    for line, id_ in known.items():
        if id_ in alive and len(miner) < room:
            assert again.get(again.add(line).id) is again.get(id_)
    groups(after, again)
    assert len(again) <= room


@given(lines, st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_its_indices_hold_what_it_knows_and_nothing_else(lines: list[str], room: int) -> None:
    miner = Miner(room)
    groups(lines, miner)
    known = set(miner)
    assert len(known) <= room
    for index in (miner._neighbours, miner._crowds, miner._valueless):
        assert {template for members in index.values() for template in members} <= known
    assert set(miner._sums.values()) <= known
    assert {template for template in miner._spelled.values() if not template.gone} <= known
    assert sum(sum(merged.values()) for merged in miner._places.values()) == sum(1 for t in known if t.places)
    assert all(miner.current(old) in {t.id for t in known} or not miner.get(old) for old in miner._merged)


def test_ten_thousand_different_lines_take_bounded_memory() -> None:
    miner = Miner(512)
    rand = random.Random(1)
    words = ["".join(rand.choices("abcdefghijklmnop", k=7)) for _ in range(2_000)]
    tracemalloc.start()
    sizes = []
    for part in range(4):
        for _ in range(2_500):
            miner.add(" ".join(rand.choices(words, k=rand.randint(1, 12))))
        sizes.append(tracemalloc.get_traced_memory()[0])
        assert len(miner) <= 512, part
    tracemalloc.stop()
    assert sizes[-1] < sizes[1] * 1.3
    assert sizes[-1] < 20_000_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_different_lines_take_bounded_memory() -> None:
    miner, rand, process = Miner(), random.Random(1), psutil.Process()
    words = ["".join(rand.choices("abcdefghijklmnop", k=7)) for _ in range(50_000)]
    before = process.memory_info().rss
    for _ in range(1_000_000):
        miner.add(" ".join(rand.choices(words, k=6)))
    assert len(miner) <= MAX_TEMPLATES
    assert process.memory_info().rss - before < 60_000_000


@pytest.mark.parametrize(
    "line",
    ["a" * 1_000_000, "\x00" * 1_000_000, "{[(" * 300_000, "0" * 1_000_000, "a0" * 500_000, "a.b-" * 250_000, "/" * 1_000_000,
     "'" * 1_000_000, "a@" * 500_000, "0:" * 500_000, "x " * 500_000, "\ud800" * 100_000, "Jan 1 " * 100_000, "a=\"" * 300_000],
)  # fmt: skip
def test_hostile_lines_cost_what_their_beginning_costs(line: str) -> None:
    clock, miner = SystemClock(), Miner()
    miner.add(line[:MAX_LINE])
    started = clock.monotonic()
    for number in range(10):
        miner.add(line[number:])
    assert clock.monotonic() - started < 1
