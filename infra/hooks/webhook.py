"""The two channels over HTTP: a signed Standard Webhook, and Slack-compatible JSON."""

from dataclasses import dataclass

import msgspec

from infra.hooks.channel import Answer, Letter
from infra.hooks.messages import in_words
from infra.hooks.post import Poster
from infra.hooks.signing import signed_headers


@dataclass(frozen=True)
class WebhookChannel:
    """`Channel` by Standard Webhooks."""

    poster: Poster

    async def send(self, letter: Letter) -> Answer:
        headers = signed_headers(letter.message.id, letter.message.body, letter.keys, letter.at)
        return await self.poster.post(letter.target, headers, letter.message.body)


@dataclass(frozen=True)
class SlackChannel:
    """`Channel` to an incoming webhook of Slack, Mattermost and others that take `{"text": …}`; its URL is its secret."""

    poster: Poster

    async def send(self, letter: Letter) -> Answer:
        return await self.poster.post(letter.target, {}, msgspec.json.encode({"text": in_words(letter.message)}))
