"""The settings in force: read once, from defaults, `tickwire.toml` and `TICKWIRE_…` variables, in that order.

A name that sets nothing is refused, with the one that was probably meant.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr, ValidationError

from infra.settings import Settings
from schemas.errors import SettingsError

PREFIX: Final = "TICKWIRE_"
DELIMITER: Final = "__"
FILE: Final = "tickwire.toml"


@dataclass(frozen=True)
class Line:
    """One setting as `tickwire settings` prints it."""

    variable: str
    value: str
    origin: str


def load(environment: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """The settings in force; raises `SettingsError` naming what is unknown or impossible."""
    return _validated(_gathered(environment, file)[0])


def explain(environment: Mapping[str, str] | None = None, file: Path | None = None) -> list[Line]:
    """Every variable, its value (secrets masked) and where it came from."""
    tree, origins = _gathered(environment, file)
    settings = _validated(tree)
    return [Line(name, _shown(value), origins.get(name, "default")) for name, value in _leaves(settings, PREFIX)]


def _gathered(environment: Mapping[str, str] | None, file: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    environment = os.environ if environment is None else environment
    chosen = file or Path(environment.get(f"{PREFIX}CONFIG", FILE))
    known = [name for name, _ in _leaves(Settings(), PREFIX)]
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if chosen.exists():
        try:
            table = tomllib.loads(chosen.read_text())
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{chosen}: expected TOML, {error}") from error
        for name, value in _flat(table, PREFIX, known):
            _put(tree, _checked(name, known, f"{chosen}: "), value)
            origins[name] = str(chosen)
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in {f"{PREFIX}CONFIG", f"{PREFIX}TEST_DATA"}:
            _put(tree, _checked(name, known, ""), value)
            origins[name] = "environment"
    return tree, origins


def _validated(tree: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        told = [
            f"{PREFIX}{DELIMITER.join(str(part).upper() for part in item['loc'])}: {item['msg']}, was {item['input']!r}"
            for item in error.errors()
        ]
        raise SettingsError("; ".join(told)) from error


def _checked(name: str, known: list[str], where: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; `tickwire settings` lists all names"
    raise SettingsError(f"{where}{name} sets nothing{hint}")


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, leaf = name.removeprefix(PREFIX).lower().split(DELIMITER)
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = _parsed(value)


def _parsed(value: Any) -> Any:
    """Lists and tables are written as JSON; durations as seconds or ISO 8601."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] in {"{", "["}:
        import json  # noqa: PLC0415

        return json.loads(text)
    return text


def _flat(table: Mapping[str, Any], prefix: str, known: list[str]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{prefix}{key.upper()}"
        if isinstance(value, dict) and name not in known:
            yield from _flat(value, name + DELIMITER, known)
        else:
            yield name, value


def _leaves(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{key.upper()}{DELIMITER}")
        else:
            yield f"{prefix}{key.upper()}", value


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    return "" if value is None else str(value)
