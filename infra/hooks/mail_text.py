"""An alert as a mail."""

from email.message import EmailMessage

from infra.hooks.channel import Letter
from infra.hooks.messages import in_words


def email_of(letter: Letter, sender: str) -> EmailMessage:
    """The message for people, with its JSON below."""
    words = " ".join(in_words(letter.message).split())
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = sender, letter.target, words[:200]
    email["Message-ID"] = f"<{letter.message.id}@{sender.rpartition('@')[2]}>"
    email.set_content(f"{words}\n\n{letter.message.body.decode()}\n")
    return email
