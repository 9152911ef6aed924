"""What is read from stack traces, and which of them are one issue."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.clock import SystemClock
from obskit.grouping.fingerprints import custom, of_exception
from obskit.grouping.traces import MAX_TRACE, find_trace
from tests.grouping import traces

GOLDEN = [
    (
        "PYTHON",
        [
            ("ConnectionError", "('10.0.0.7', 5432): connection refused", ["shop/views:checkout", "shop/payments:pay"]),
            ("shop.errors.PaymentFailed", "order 1234 could not be paid", ["shop/views:checkout"]),
        ],
        "shop/views:checkout",
    ),
    (
        "GROUP",
        [
            ("ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)", ["work:main"]),
            ("ValueError", "7", ["work:job"]),
        ],
        "work:job",
    ),
    (
        "NODE",
        [
            (
                "TypeError",
                "Cannot read properties of undefined (reading 'id')",
                ["src/shop:checkout", "routes/index:handle"],
            ),
            ("Error", "connect ECONNREFUSED 10.0.0.7:5432", []),
        ],
        "src/shop:checkout",
    ),
    (
        "WORKER",
        [("RangeError", "Maximum call stack size exceeded", ["index-#:fetchOrder", "index-#:fetch"])],
        "index-#:fetchOrder",
    ),
    (
        "GO",
        [
            (
                "runtime error",
                "index out of range [5] with length 3",
                ["main:(*Server).handle", "github.com/acme/shop/internal/cart:Add"],
            )
        ],
        "main:(*Server).handle",
    ),
    (
        "JAVA",
        [
            (
                "java.lang.IllegalStateException",
                "cart 77 is closed",
                ["com.acme.shop.Cart:add", "com.acme.shop.Shop:lambda$buy"],
            ),
            ("java.sql.SQLTimeoutException", "timed out after 5000 ms", ["com.acme.shop.Store:save"]),
        ],
        "com.acme.shop.Cart:add",
    ),
    (
        "RUBY",
        [
            (
                "Payments::Declined",
                "card declined",
                ["models/order:charge", "controllers/orders_controller:create", "controllers/orders_controller:create"],
            )
        ],
        "models/order:charge",
    ),
    (
        "RAILS",
        [
            (
                "Payments::Declined",
                "card declined",
                ["models/order:Order#charge", "controllers/orders_controller:OrdersController#create"],
            )
        ],
        "models/order:Order#charge",
    ),
    (
        "PHP",
        [("PDOException", "SQLSTATE[HY000] [2002] Connection refused", ["src/Db", "src/Db:PDO::__construct"])],
        "src/Db:",
    ),
    (
        "RUST",
        [("panic", "index out of bounds: the len is 3 but the index is 99", ["shop::cart:add"])],
        "shop::cart:add",
    ),
    ("RUST_SHORT", [("panic", "called `Option::unwrap()` on a `None` value", ["src/main:"])], "src/main:"),
]


@pytest.mark.parametrize(("name", "chain", "culprit"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_a_trace_is_its_types_and_the_functions_of_our_own_code(
    name: str, chain: list[tuple[str, str, list[str]]], culprit: str
) -> None:
    trace = find_trace(getattr(traces, name))
    assert trace is not None
    found = [(t.type, t.message, [str(f).removesuffix(":") for f in t.frames if f.in_app]) for t in trace.chain]
    assert found == [(kind, message, [f.removesuffix(":") for f in frames]) for kind, message, frames in chain]
    assert trace.culprit == culprit


@pytest.mark.parametrize("name", [row[0] for row in GOLDEN])
def test_lines_and_addresses_and_folders_of_a_release_change_no_key(name: str) -> None:
    text = getattr(traces, name)
    moved = (
        text.replace("line 4", "line 7")
        .replace(":12:5", ":13:6")
        .replace("/app/", "/srv/r2/")
        .replace(".java:4", ".java:5")
    )
    moved = moved.replace("+0x1d", "+0x2f").replace("0xc0000b6000", "0xc000ffff00").replace("4f9ac1b2", "9b81aa02")
    assert moved != text or name in {"RUBY", "RAILS", "RUST_SHORT"}
    assert of_exception("", "", text).id == of_exception("", "", moved).id


def test_other_functions_are_another_key() -> None:
    ids = {of_exception("", "", getattr(traces, name)).id for name in dir(traces) if name.isupper()}
    assert len(ids) == len(GOLDEN)


def test_messages_count_only_where_no_frame_does() -> None:
    assert (
        of_exception("KeyError", "order 17 is unknown", "").id == of_exception("KeyError", "order 18 is unknown", "").id
    )
    assert of_exception("KeyError", "order 17 is unknown", "").id != of_exception("KeyError", "no such user", "").id
    other = traces.PYTHON.replace("could not be paid", "is too dear")
    assert of_exception("", "", other).id == of_exception("", "", traces.PYTHON).id


def test_an_explicit_fingerprint_wins_and_may_hold_ours() -> None:
    one, two = of_exception("", "", traces.PYTHON), of_exception("", "", traces.NODE)
    assert custom(["checkout"], one).id == custom(["checkout"], two).id
    assert custom(["{{ default }}", "eu"], one).id != custom(["{{default}}", "us"], one).id
    assert custom(["{{ default }}", "eu"], one).id == custom(["{{default}}", "eu"], one).id
    assert custom(["checkout"], one).title == one.title == "shop.errors.PaymentFailed: order 1234 could not be paid"


def test_keys_are_those_of_yesterday() -> None:
    assert of_exception("", "", traces.PYTHON).id == "e1-064f368c31b6021d"
    assert of_exception("KeyError", "order 17 is unknown", "").id == "e1-65b0126c6bfaf5e0"


@given(
    st.text(alphabet="aA0 \n\t.:()/[]'\"#|<>$", max_size=400),
    st.sampled_from([r[0] for r in GOLDEN]),
    st.integers(0, 300),
)
@settings(max_examples=200)
def test_any_text_is_read(text: str, name: str, at: int) -> None:
    whole = getattr(traces, name)
    find_trace(whole[:at] + text + whole[at:])


@pytest.mark.parametrize(
    "piece",
    [
        "Traceback (most recent call last):\n", "    at a (", "\n    at " + "(" * 900, "goroutine 1 [\na.b(", "((((", "\tat a.b.",
        "Stack trace:\n#", "#0 a(1): ", ":in `", " panicked at '", "thread '", "a.", "  File \"", "Caused by: a: ", "\x00", "0: ",
    ],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_in_no_time(piece: str) -> None:
    clock = SystemClock()
    started = clock.monotonic()
    for mark in (
        "",
        "Traceback (most recent call last):\n",
        "goroutine 1 [running]:\n",
        "a\n    at b (c:1:1)\n",
        "\tat a.b(C.java:1)\n",
    ):
        find_trace(mark + piece * (1_000_000 // len(piece)))
        find_trace((piece * (1_000 // len(piece)) + "\n" + mark) * (MAX_TRACE // 1_000))
    assert clock.monotonic() - started < 5
