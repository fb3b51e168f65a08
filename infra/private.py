"""Folders and files that only their owner can look into."""

import os
from pathlib import Path
from typing import Final

OWNER_ALONE: Final = 0o700


def private_folder(path: Path) -> Path:
    """Make the folder, and what is missing above it: `Path.mkdir` gives its mode to the last one alone."""
    for each in (*reversed(path.parents), path):
        if not each.is_dir():
            each.mkdir(mode=OWNER_ALONE, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file anew that others cannot read, whatever the umask is."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
