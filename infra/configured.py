"""The settings in force: read once, from defaults, `tickwire.toml` and `TICKWIRE_…` variables, in that order.

A name that sets nothing is refused, with the one that was probably meant.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr, ValidationError

from infra.settings import Settings
from schemas.errors import SettingsError

PREFIX: Final = "TICKWIRE_"
DELIMITER: Final = "__"
CONFIG: Final = f"{PREFIX}CONFIG"
"""Names another file than `FILE`."""
FILE: Final = "tickwire.toml"
MASK: Final = "********"


@dataclass(frozen=True)
class Line:
    """One setting as `tickwire settings` prints it."""

    variable: str
    value: str
    origin: str


def load(environment: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """The settings in force; raises `SettingsError` naming what is unknown or impossible."""
    settings = _validated(_gathered(environment, file)[0])
    settings = settings.model_copy(update={"data": settings.data.expanduser()})
    _confirm_folder(settings.data)
    return settings


def _confirm_folder(data: Path) -> None:
    """`SettingsError` where the data directory cannot be made, because a file has its name or is above it."""
    with suppress(PermissionError):  # told by whoever wants to write there
        for each in (data, *data.parents):
            if each.exists() and not each.is_dir():
                raise SettingsError(f"{PREFIX}DATA: expected a folder, found a file at {each}; name another place")


def explain(environment: Mapping[str, str] | None = None, file: Path | None = None) -> list[Line]:
    """Every variable, its value (secrets masked) and where it came from."""
    tree, origins = _gathered(environment, file)
    settings = _validated(tree)
    return [Line(name, _shown(value), origins.get(name, "default")) for name, value in _leaves(settings, PREFIX)]


def _gathered(environment: Mapping[str, str] | None, file: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    environment = os.environ if environment is None else environment
    named = environment.get(CONFIG) if file is None else None
    chosen = file or Path(FILE if named is None else named)
    known = dict(_leaves(Settings(), PREFIX))
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, value in _flat(_table(chosen, must_be=named is not None), PREFIX, known):
        _put(tree, _checked(name, known, f"{chosen}: "), _parsed(name, value, known[name]))
        origins[name] = str(chosen)
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in {CONFIG, f"{PREFIX}TEST_DATA"}:
            _put(tree, _checked(name, known, ""), _parsed(name, value, known[name]))
            origins[name] = "environment"
    return tree, origins


def _table(chosen: Path, *, must_be: bool) -> dict[str, Any]:
    """What the file says; nothing where there is none, unless it `must_be` because somebody named it."""
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not must_be:
            return {}
        raise SettingsError(f"{CONFIG}: expected a file, found none at {chosen}") from error
    except OSError as error:
        where = f"{CONFIG}: " if must_be else ""
        raise SettingsError(f"{where}{chosen}: expected a file that can be read, found: {error.strerror}") from error
    except ValueError as error:  # also of bytes that are not UTF-8
        raise SettingsError(f"{chosen}: expected TOML, {error}") from error


def _validated(tree: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_told(item["loc"], item["msg"], item["input"]) for item in error.errors())
        ) from error


def _told(where: tuple[int | str, ...], why: str, found: object) -> str:
    """A fault with the variable that has it; a secret is not repeated."""
    name = f"{PREFIX}{DELIMITER.join(str(part).upper() for part in where)}"
    secrets = [each for each, value in _leaves(Settings(), PREFIX) if isinstance(value, SecretStr)]
    secret = any(name == each or name.startswith(each + DELIMITER) for each in secrets)
    was = MASK if secret else _shown(found) if isinstance(found, timedelta) else repr(found)
    return f"{name}: {why}, was {was}"


def _checked(name: str, known: Mapping[str, Any], where: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; `tickwire settings` lists all names"
    raise SettingsError(f"{where}{name} sets nothing{hint}")


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, leaf = name.removeprefix(PREFIX).lower().split(DELIMITER)
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = value


def _parsed(name: str, value: Any, default: Any) -> Any:
    """Lists and tables, which their defaults tell from the rest, are written as JSON; durations as seconds or ISO 8601."""
    if not isinstance(value, str):
        return value
    if isinstance(default, Path) and not value.strip():
        raise SettingsError(f"{name}: expected a path, was {value!r}; an empty one would be the working directory")
    if not isinstance(default, tuple | dict):
        return value.strip()
    import json  # noqa: PLC0415

    kind, what, shown = (list, "list", list(default[:1])) if isinstance(default, tuple) else (dict, "object", default)
    with suppress(ValueError):
        if isinstance(found := json.loads(value), kind):
            return found
    example = f" such as {json.dumps(shown, default=timedelta.total_seconds)}" if shown else ""
    raise SettingsError(f"{name}: expected a JSON {what}{example}, was {value!r}")


def _flat(table: Mapping[str, Any], prefix: str, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
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
        return MASK if value.get_secret_value() else ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    return "" if value is None else str(value)
