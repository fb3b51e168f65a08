"""Signatures are those of Standard Webhooks: by its own test vector, and by its own verifier."""

import time

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from infra.hooks.listen import verified
from infra.hooks.signing import new_secret, signed_headers

BODY = '{"type":"alert.fired","data":{"name":"Zoë"}}'.encode()


def test_the_specifications_vector() -> None:
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [key], 1_614_265_330 * 10**9 + 999
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_packages_own_verifier_takes_them() -> None:
    key = new_secret()
    assert Webhook(key).verify(BODY, signed_headers("m-1", BODY, [key], time.time_ns()))["data"] == {"name": "Zoë"}


def test_a_secret_has_256_bits_and_the_prefix() -> None:
    key = new_secret()
    assert key.startswith("whsec_")
    assert len(key) == len("whsec_") + 44
    assert key != new_secret()


def test_two_keys_sign_so_that_a_receiver_with_either_verifies() -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    headers = signed_headers("m-1", BODY, [new, old], time.time_ns())
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verified([new], headers, BODY)
    assert verified([old], headers, BODY)
    assert not verified([other], headers, BODY)


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "webhook-signature", "body"])
def test_whatever_is_changed_on_the_way_is_noticed(part: str) -> None:
    key = new_secret()
    headers, body = signed_headers("m-1", BODY, [key], time.time_ns()), BODY
    if part == "body":
        body = BODY.replace(b"fired", b"FIRED")
    else:
        headers[part] = {"webhook-timestamp": str(time.time_ns() // 10**9 + 2)}.get(part, headers[part][:-5] + "AAAA=")
    assert not verified([key], headers, body)
    with pytest.raises((WebhookVerificationError, ValueError)):
        Webhook(key).verify(body, headers)


@pytest.mark.parametrize("signature", ["", "v1", "v1,", "v1,%%%", "v1a,abc", "v1,é", "junk v1,AAAA", "v1,A"])
def test_a_malformed_signature_is_no_signature(signature: str) -> None:
    key = new_secret()
    assert not verified(
        [key], signed_headers("m-1", BODY, [key], time.time_ns()) | {"webhook-signature": signature}, BODY
    )


@pytest.mark.parametrize("seconds", [-360, 360, -86_400])
def test_an_old_or_future_attempt_is_not_taken(seconds: int) -> None:
    key = new_secret()
    assert not verified([key], signed_headers("m-1", BODY, [key], time.time_ns() + seconds * 10**9), BODY)
