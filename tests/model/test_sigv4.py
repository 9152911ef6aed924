"""Signatures against the examples that AWS publishes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from obskit.model.settings import Secret
from obskit.model.sigv4 import NO_BODY, SigningKey, encoded_path, encoded_query, sign

BUCKET = "https://examplebucket.s3.amazonaws.com"
S3_KEY = SigningKey(
    Secret("AKIAIOSFODNN7EXAMPLE"), Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "us-east-1", "s3"
)
S3_TIME_MS = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp() * 1000)
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


def signature(headers: dict[str, str]) -> str:
    return headers["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        (
            "GET",
            "/test.txt",
            {"Range": "bytes=0-9"},
            NO_BODY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/" + encoded_path("test$file.text"),
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            WELCOME,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/?lifecycle", {}, NO_BODY, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/?" + encoded_query({"prefix": "J", "max-keys": "2"}),
            {},
            NO_BODY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_documented_requests_get_the_documented_signatures(
    method: str, path: str, headers: dict[str, str], body: str, expected: str
) -> None:
    headers = {**headers, "x-amz-content-sha256": body}
    added = sign(S3_KEY, method, BUCKET + path, headers, body_sha256=body, now_ms=S3_TIME_MS)
    assert signature(added) == expected


def test_a_service_without_a_body_hash_header_is_signed_too() -> None:
    key = SigningKey(Secret("AKIDEXAMPLE"), Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1", "service")
    at_ms = int(datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp() * 1000)
    added = sign(key, "GET", "https://example.amazonaws.com/", {}, body_sha256=NO_BODY, now_ms=at_ms)
    assert signature(added) == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"


def test_the_example_with_a_query_and_a_signed_header_is_right() -> None:
    key = SigningKey(Secret("AKIDEXAMPLE"), Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1", "iam")
    url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    added = sign(key, "GET", url, headers, body_sha256=NO_BODY, now_ms=1_440_938_160_000)
    assert added["X-Amz-Date"] == "20150830T123600Z"
    assert signature(added) == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


def test_a_body_in_the_json_protocol_is_signed_as_botocore_does() -> None:
    """Made with botocore 1.44.5."""
    key = SigningKey(Secret("AKIDEXAMPLE"), Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), "us-east-1", "sqs")
    body = b'{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/123456789012/jobs","AttributeNames":["All"]}'
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.GetQueueAttributes"}
    at_ms = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)
    digest = hashlib.sha256(body).hexdigest()
    added = sign(key, "POST", "https://sqs.us-east-1.amazonaws.com/", headers, body_sha256=digest, now_ms=at_ms)
    assert signature(added) == "387d733efa83ede574c74e7bd1aa4016809a245ee6f8890afe202a64af305858"


def test_a_temporary_key_sends_its_token_signed() -> None:
    key = SigningKey(Secret("a"), Secret("b"), "auto", "s3", Secret("token"))
    added = sign(key, "GET", "https://example.com/", {}, body_sha256=NO_BODY, now_ms=0)
    assert added["X-Amz-Security-Token"] == "token"
    assert "x-amz-security-token" in added["Authorization"]


def test_the_secret_key_is_nowhere_in_what_is_sent() -> None:
    added = sign(S3_KEY, "GET", BUCKET, {}, body_sha256=NO_BODY, now_ms=0)
    assert S3_KEY.secret_key.reveal() not in str(added)
    assert S3_KEY.secret_key.reveal() not in repr(S3_KEY)
