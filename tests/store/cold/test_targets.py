"""Folder and bucket as one: what is sent is there and is verified, whatever the service does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from obskit.clock import SystemClock
from obskit.errors import ColdError
from obskit.store.cold.folder import Folder
from obskit.store.cold.s3 import S3
from obskit.store.cold.settings import S3Settings
from obskit.store.cold.target import PIECE_BYTES, Sealed, Stop, Target
from obskit.testing.http import Failure
from obskit.testing.s3 import FakeS3, Quirk

KEY = "logs/day=2026-11-20/source=a%2Fb ü/1-1.parquet"


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with FakeS3() as service:
        yield service


@pytest.fixture
def bucket(s3: FakeS3) -> Iterator[S3]:
    target = S3(S3Settings.model_validate(s3.settings(prefix="mine")), SystemClock())
    yield target
    target.close()


@pytest.fixture(params=["folder", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "bucket":
        return request.getfixturevalue("bucket")  # type: ignore[no-any-return]  # pytest knows no types
    (tmp_path / "cold").mkdir()
    return Folder(tmp_path / "cold")


@pytest.fixture
def sealed(tmp_path: Path) -> Callable[[int], Sealed]:
    def make(size: int) -> Sealed:
        path = tmp_path / "file"
        path.write_bytes(bytes(range(251)) * (size // 251) + b"x" * (size % 251))
        return Sealed.of(path)

    return make


def send_and_verify(target: Target, file: Sealed) -> None:
    target.send(file, KEY, Stop())
    target.verify(file, KEY, Stop())


SMALL = 100_000
LARGE = 2 * PIECE_BYTES + 12_345


@pytest.mark.parametrize("size", [0, 1, SMALL, PIECE_BYTES, LARGE])
def test_a_file_arrives_whole_and_can_be_read_in_parts(
    target: Target, sealed: Callable[[int], Sealed], size: int
) -> None:
    file = sealed(size)
    target.send(file, KEY, Stop())
    target.verify(file, KEY, Stop())
    assert target.get(KEY) == file.path.read_bytes()
    if size:
        assert target.read(KEY, size // 2, 100) == file.path.read_bytes()[size // 2 :][:100]


def test_what_is_deleted_is_gone_and_may_be_deleted_again(target: Target) -> None:
    target.put(KEY, b"text")
    target.delete(KEY)
    target.delete(KEY)
    assert target.get(KEY) is None
    with pytest.raises(ColdError) as raised:
        target.read(KEY, 0, 1)
    assert raised.value.reason == "missing"


def test_an_object_that_is_another_one_is_not_verified(target: Target, sealed: Callable[[int], Sealed]) -> None:
    file = sealed(SMALL)
    target.put(KEY, b"y" * SMALL)
    with pytest.raises(ColdError) as raised:
        target.verify(file, KEY, Stop())
    assert raised.value.reason == "corrupt"


def test_a_transfer_ends_when_we_stop(target: Target, sealed: Callable[[int], Sealed]) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(ColdError) as raised:
        target.send(sealed(LARGE), KEY, stop)
    assert raised.value.reason == "stopped"
    assert target.get(KEY) is None


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ColdError) as raised:
        Folder(tmp_path / "mount").put(KEY, b"text")
    assert raised.value.reason == "missing"
    assert not (tmp_path / "mount").exists()


def test_an_upload_goes_on_with_the_pieces_that_are_missing(
    s3: FakeS3, bucket: S3, sealed: Callable[[int], Sealed]
) -> None:
    file = sealed(LARGE)
    s3.plan(Failure(after=True), Failure(status=500), route="PUT")
    for _ in range(2):
        with pytest.raises(ColdError) as raised:
            bucket.send(file, KEY, Stop())
        assert raised.value.reason == "server"
    bucket.send(file, KEY, Stop())
    bucket.verify(file, KEY, Stop())
    assert [r.method for r in s3.requests].count("PUT") == 4  # the first piece only once
    assert not s3.uploads


@pytest.mark.parametrize(
    ("quirk", "size", "reason"),
    [
        (Quirk.EXPIRED, SMALL, "auth"),
        (Quirk.CUT_UPLOADS, SMALL, "network"),
        (Quirk.CUT_UPLOADS, LARGE, "network"),
        (Quirk.ERROR_IN_200, LARGE, "server"),
        (Quirk.FLIPPED_BIT, SMALL, "corrupt"),
        (Quirk.FLIPPED_BIT, LARGE, "corrupt"),
        (Quirk.LATE_OBJECTS, SMALL, "missing"),
    ],
)
def test_a_failure_is_told_and_the_next_try_mends_it(
    s3: FakeS3, bucket: S3, sealed: Callable[[int], Sealed], *, quirk: Quirk, size: int, reason: str
) -> None:
    file = sealed(size)
    s3.quirks.add(quirk)
    with pytest.raises(ColdError) as raised:
        send_and_verify(bucket, file)
    assert raised.value.reason == reason
    s3.quirks.clear()
    bucket.send(file, KEY, Stop())
    bucket.verify(file, KEY, Stop())


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_an_etag_that_is_no_checksum_is_made_up_for_by_reading_back(
    s3: FakeS3, bucket: S3, sealed: Callable[[int], Sealed], size: int
) -> None:
    s3.quirks.add(Quirk.OPAQUE_ETAGS)
    file = sealed(size)
    bucket.send(file, KEY, Stop())
    bucket.verify(file, KEY, Stop())
    assert "GET" in [request.method for request in s3.requests]
    s3.objects = {key: data[:-1] + b"!" for key, data in s3.objects.items()}
    with pytest.raises(ColdError):
        bucket.verify(file, KEY, Stop())


def test_a_service_without_ranges_is_read_all_the_same(s3: FakeS3, bucket: S3) -> None:
    s3.quirks.add(Quirk.NO_RANGES)
    bucket.put(KEY, b"0123456789")
    assert bucket.read(KEY, 3, 4) == b"3456"


def test_a_read_is_tried_again_when_the_service_or_the_network_fails(s3: FakeS3, bucket: S3) -> None:
    bucket.put(KEY, b"0123456789")
    s3.plan(Failure(status=500), Failure(drop=True), route="GET")
    assert bucket.read(KEY, 3, 4) == b"3456"
    s3.quirks.add(Quirk.CUT_ANSWERS)
    with pytest.raises(ColdError) as raised:
        bucket.read(KEY, 3, 4)
    assert raised.value.reason == "network"


def test_a_clock_that_is_wrong_is_set_by_the_service(s3: FakeS3, bucket: S3) -> None:
    s3.ahead_s = -7200
    bucket.put(KEY, b"text")
    before = len(s3.requests)
    assert bucket.get(KEY) == b"text"
    assert len(s3.requests) == before + 1  # asked with the right time at once


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(status=503, error="SlowDown"), "rate_limited"),
        (Failure(status=403, error="AccessDenied"), "auth"),
        (Failure(status=404, error="NoSuchBucket"), "config"),
        (Failure(status=500), "server"),
        (Failure(status=418, body="\0\xff<"), "server"),
        (Failure(drop=True), "network"),
    ],
)
def test_each_refusal_has_its_reason_and_no_secret(s3: FakeS3, bucket: S3, failure: Failure, reason: str) -> None:
    s3.break_down(failure)
    with pytest.raises(ColdError) as raised:
        bucket.put(KEY, b"text")
    assert raised.value.reason == reason
    assert s3.settings()["secret_key"] not in str(raised.value)
    assert s3.settings()["access_key"] not in str(raised.value)


def test_a_wrong_key_is_refused_by_the_service(s3: FakeS3) -> None:
    target = S3(S3Settings.model_validate({**s3.settings(), "secret_key": "other"}), SystemClock())
    with pytest.raises(ColdError) as raised:
        target.put(KEY, b"text")
    assert raised.value.reason == "auth"
    target.close()
