"""Files that somebody names on the command line."""

from pathlib import Path

from schemas.errors import InputError


def read(path: Path) -> bytes:
    """What is in the file. Raises: `InputError` with the path and why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read, found: {error.strerror}") from error


def read_text(path: Path) -> str:
    """The same as text. Raises: `InputError`, also where it is none."""
    try:
        return read(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, {error}") from error
