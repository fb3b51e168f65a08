"""Alerts by Amazon SES and SNS, through boto3. Credentials come from where boto3 looks for them, never from us."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.hooks.channel import Answer, Letter, failed
from infra.hooks.mail_text import email_of

THREADS: Final = 8
CONNECT_S: Final = 5
READ_S: Final = 10


class Amazon:
    """Clients of one region; `endpoint`: another address than Amazon's own. Blocking calls run in threads of their own."""

    def __init__(self, region: str, endpoint: str = "") -> None:
        config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
        self._options = {"region_name": region, "endpoint_url": endpoint or None, "config": config}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="aws")

    def client(self, service: str) -> Any:
        """Of this service; clients may be shared between threads."""
        return boto3.client(service, **self._options)

    async def call(self, ask: Callable[[], Any]) -> Answer:
        """One attempt; retries are the outbox's."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except ClientError as error:
            return failed(str(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))
        except BotoCoreError as error:
            return failed(f"{type(error).__name__}: {error}")
        return Answer("sent", int(found["ResponseMetadata"]["HTTPStatusCode"]), found["MessageId"])


class SesChannel:
    """`Channel` to one mail address."""

    def __init__(self, amazon: Amazon, sender: str) -> None:
        self._amazon, self._sender, self._client = amazon, sender, amazon.client("sesv2")

    async def send(self, letter: Letter) -> Answer:
        raw = email_of(letter, self._sender).as_bytes()
        return await self._amazon.call(
            lambda: self._client.send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": [letter.target]},
                Content={"Raw": {"Data": raw}},
            )
        )


class SnsChannel:
    """`Channel` to a topic. A FIFO topic drops what has an id that it knows; of others, subscribers find it in `webhook-id`."""

    def __init__(self, amazon: Amazon) -> None:
        self._amazon, self._client = amazon, amazon.client("sns")

    async def send(self, letter: Letter) -> Answer:
        message = letter.message
        fifo = (
            {"MessageGroupId": "tickwire", "MessageDeduplicationId": message.id}
            if letter.target.endswith(".fifo")
            else {}
        )
        named = {"webhook-id": message.id, "type": message.kind}
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in named.items()}
        return await self._amazon.call(
            lambda: self._client.publish(
                TopicArn=letter.target, Message=message.body.decode(), MessageAttributes=attributes, **fifo
            )
        )
