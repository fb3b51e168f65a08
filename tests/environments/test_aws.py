"""SES and SNS through boto3 against moto's server, in an environment of their own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.own_environment, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def found(aws_python: Path) -> Any:
    done = subprocess.run(
        [str(aws_python), "-m", "tests.environments.aws_channels"], cwd=ROOT, check=False, capture_output=True, text=True,
        timeout=300, env={**os.environ, **CREDENTIALS, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_an_alert_is_sent_by_ses(found: Any) -> None:
    outcome, status, message_id = found["mail"]
    assert (outcome, status) == ("sent", 200)
    assert message_id
    mails = json.dumps(found["mails"])
    assert "desk@example.com" in mails


def test_an_alert_is_published_to_a_topic_and_arrives_with_its_id(found: Any) -> None:
    assert found["topic"][:2] == ["sent", 200]
    arrived = json.loads(found["arrived"])
    assert json.loads(arrived["Message"])["data"]["symbol"] == "SIMA"
    assert arrived["MessageAttributes"]["webhook-id"]["Value"] == "a1-fired"
    assert found["fifo"][:2] == ["sent", 200]


def test_what_amazon_refuses_is_a_failed_attempt_with_its_words(found: Any) -> None:
    assert found["missing"][:2] == ["failed", 404]
    assert "NotFound" in found["missing"][2]
    outcome, status, detail = found["unknown"]
    assert (outcome, status >= 400) == ("failed", True)
    assert "MessageRejected" in detail
    assert found["nobody"][:2] == ["failed", 0]
    assert "EndpointConnectionError" in found["nobody"][2]
