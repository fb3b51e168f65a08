"""Mail over a real SMTP server: with STARTTLS and a password, and refused in every way a server may refuse."""

import asyncio
import contextlib
import email
import email.policy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from infra.hooks.channel import Answer, Letter
from infra.hooks.desk import check_target
from infra.hooks.mail import MailChannel, MailServer
from infra.hooks.mail_text import email_of
from infra.hooks.messages import message_of
from infra.settings import Hooks
from schemas.errors import SettingsError, TargetRefused
from schemas.hooks import NewEndpoint
from tests.infra.hooks.alerts import alert
from tests.services.processes import free_ports

LETTER = Letter("desk@example.com", message_of(alert(0)), (), 0)
MAIL = Hooks(smtp_url=SecretStr("smtp://localhost"), mail_from="tickwire@example.org")


class Mailbox:
    """Keeps what comes, or answers with an error."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal, self.mails = refusal, []  # type: str, list[Any]

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 kept"


@contextmanager
def smtp(box: Mailbox, **options: Any) -> Iterator[int]:
    """A server on a free port."""
    (port,) = free_ports(1)
    controller = Controller(box, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def sent(url: str, tls: ssl.SSLContext | None = None) -> Answer:
    channel = MailChannel(MailServer.of(url), "tickwire@example.org", tls or ssl.create_default_context(), 5.0)

    async def until_closed() -> Answer:
        """A connection with TLS takes some turns of the loop to close; a process that goes on has them."""
        answer = await channel.send(LETTER)
        async with asyncio.timeout(10):
            while not all(each.is_closing() for each in vars(asyncio.get_running_loop())["_transports"].values()):
                await asyncio.sleep(0.01)
        return answer

    return asyncio.run(until_closed())


def test_an_alert_is_a_mail_whose_message_id_is_the_alerts() -> None:
    box = Mailbox()
    with smtp(box) as port:
        assert sent(f"smtp://127.0.0.1:{port}") == Answer("sent", 250, "kept")
    (mail,) = box.mails
    assert mail["Message-ID"] == f"<{LETTER.message.id}@example.org>"
    assert (mail["To"], mail["From"]) == ("desk@example.com", "tickwire@example.org")
    assert mail["Subject"].strip().startswith("SIM0: vwap-dev fired at 1.25")
    assert LETTER.message.body.decode() in mail.get_content().replace("\n", "")


def test_with_a_password_there_is_tls_first_and_the_servers_name_is_checked() -> None:
    authority, box = trustme.CA(), Mailbox()
    shown, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(shown)
    authority.configure_trust(trusting)
    given: list[tuple[bytes, bytes]] = []

    def authenticate(server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        given.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cret", handled=False)

    with smtp(box, tls_context=shown, require_starttls=True, authenticator=authenticate, auth_required=True) as port:
        assert sent(f"smtp://desk:s3cret@localhost:{port}", trusting).outcome == "sent"
        wrong = sent(f"smtp://desk:wrong@localhost:{port}", trusting)
        assert (wrong.outcome, wrong.status) == ("failed", 535)
        assert "CERTIFICATE_VERIFY_FAILED" in sent(f"smtp://desk:s3cret@localhost:{port}").detail
    assert (given[0], set(given[1:])) == ((b"desk", b"s3cret"), {(b"desk", b"wrong")})
    assert len(box.mails) == 1


def test_a_password_is_never_told_to_a_server_without_tls() -> None:
    box = Mailbox()
    with smtp(box, auth_require_tls=False) as port:
        answer = sent(f"smtp://desk:s3cret@localhost:{port}")
    assert answer.outcome == "failed"
    assert "STARTTLS" in answer.detail
    assert box.mails == []


@pytest.mark.parametrize("refusal", ["550 nobody here", "451 later"])
def test_what_the_server_refuses_is_a_failed_attempt_with_its_words(refusal: str) -> None:
    with smtp(Mailbox(refusal)) as port:
        assert sent(f"smtp://127.0.0.1:{port}") == Answer("failed", int(refusal[:3]), refusal)


@pytest.mark.parametrize(
    "address",
    [
        "a@[x.y", "a@x].y", "[a@x.y", "a\\b@x.y", "a:b@x.y", "a@x.y:", "a@b@x.y", "=?utf-8?q?b?=@x.y", "a@x", "@x.y", "a@", "",
        "a@x..y", 'a"b@x.y', "a b@x.y", "a@x.y,b@x.y", "a@x.y\n", "ä@x.y", "a<b@x.y>",
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(address: str) -> None:
    with pytest.raises(TargetRefused):
        check_target(NewEndpoint(target=address, channel="mail"), MAIL)


BITS = (
    "a",
    "B7",
    ".",
    "-",
    "_",
    "+",
    "@",
    "x.y",
    "[",
    "]",
    "\\",
    ":",
    "=?",
    "?=",
    "'",
    "!",
    "%",
    "(",
    "<",
    ",",
    ";",
    '"',
    " ",
    "é",
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(BITS) | st.characters(codec="ascii"), max_size=10).map("".join))
def test_an_address_that_is_taken_is_the_one_that_the_mail_goes_to(address: str) -> None:
    for text in (address, f"{address}@example.com"):
        with contextlib.suppress(TargetRefused):
            check_target(NewEndpoint(target=text, channel="mail"), MAIL)
            mail = email_of(Letter(text, LETTER.message, (), 0), "tickwire@example.org")
            assert [each.addr_spec for each in mail["To"].addresses] == [text]


def test_nobody_listening_is_a_failed_attempt() -> None:
    (port,) = free_ports(1)
    assert sent(f"smtp://127.0.0.1:{port}").outcome == "failed"


@pytest.mark.parametrize(
    "url", ["", "http://example.com", "smtp://", "smtp://user:s3cret@host:port", "mail.example.com"]
)
def test_another_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        MailServer.of(url)
    assert "s3cret" not in str(caught.value)
