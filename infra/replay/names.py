"""How the parts of a replay are named: its database, its topics, its keys."""

import re
from typing import Final

from schemas.errors import InputError

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


def checked_name(name: str) -> str:
    """The name; `InputError` where it cannot be part of a database's and a topic's."""
    if NAME.fullmatch(name) is None:
        raise InputError(
            f"--into: expected a name of small letters, digits and _, at most 32, that begins with a letter; was {name!r}"
        )
    return name


def database_of(live: str, name: str) -> str:
    """ClickHouse database of a replay."""
    return f"{live}_replay_{checked_name(name)}"


def topic_of(name: str, topic: str) -> str:
    """Name of a replay's own topic."""
    return f"replay.{name}.{topic}"


def key_prefix(name: str) -> str:
    """What stands before a symbol in the Redis key of a replay's newest row."""
    return f"tickwire:replay:{name}:latest:"
