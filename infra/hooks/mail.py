"""Alerts as mail, by SMTP. The id is the Message-ID, so that a mailbox may drop what comes twice."""

import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from infra.hooks.channel import EXCERPT, Answer, Letter, failed
from infra.hooks.mail_text import email_of
from schemas.errors import SettingsError

PORTS: Final = {"smtp": 587, "smtps": 465}
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed over. `smtps` begins with TLS; `smtp` wants STARTTLS, but for loopback without a password."""

    host: str
    port: int
    tls_first: bool
    username: str = ""
    password: str = ""

    @classmethod
    def of(cls, url: str) -> "MailServer":
        """From `smtp://user:password@host:587`; SettingsError, which does not repeat the password."""
        try:
            parts = urlsplit(url)
            port = parts.port or PORTS[parts.scheme]
        except (ValueError, KeyError) as error:
            raise SettingsError(
                "TICKWIRE_HOOKS__SMTP_URL: expected smtp://… or smtps://user:password@host:port"
            ) from error
        if not parts.hostname:
            raise SettingsError("TICKWIRE_HOOKS__SMTP_URL: expected a host")
        return cls(
            parts.hostname, port, parts.scheme == "smtps", unquote(parts.username or ""), unquote(parts.password or "")
        )

    @property
    def may_be_plain(self) -> bool:
        """Whether mail may go there without TLS."""
        return self.host in LOOPBACK and not self.password


@dataclass(frozen=True)
class MailChannel:
    """`Channel` by SMTP. The server is ours to name, so its address is not judged."""

    server: MailServer
    sender: str
    tls: ssl.SSLContext
    total_s: float

    async def send(self, letter: Letter) -> Answer:
        server = self.server
        starttls = None if server.may_be_plain else not server.tls_first
        try:
            _, answer = await aiosmtplib.send(
                email_of(letter, self.sender), hostname=server.host, port=server.port, use_tls=server.tls_first,
                start_tls=starttls, username=server.username or None, password=server.password or None,
                tls_context=self.tls, timeout=self.total_s,
            )  # fmt: skip
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = error.recipients[0]
            return failed(f"{refused.code} {refused.message}", refused.code)
        except aiosmtplib.SMTPResponseException as error:
            return failed(f"{error.code} {error.message}", error.code)
        except (aiosmtplib.SMTPException, OSError) as error:
            return failed(f"{type(error).__name__}: {error}")
        return Answer("sent", 250, answer[:EXCERPT])
