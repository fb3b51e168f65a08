"""What must never be seen in a log: every secret of the settings, also where it stands inside an address."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from infra.settings import Settings


def secrets_of(settings: Settings) -> frozenset[str]:
    """All of them; of an address only its password, for the rest may be told."""
    return frozenset(_secrets(settings.model_dump()))


def _secrets(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for each in tree.values():
            yield from _secrets(each)
    elif isinstance(tree, SecretStr) and (value := tree.get_secret_value()):
        if "://" not in value:
            yield value
        elif password := urlsplit(value).password:
            yield from {password, unquote(password)}
