"""Virtual environments of tools that cannot live beside us: made once, from a list of exact versions."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PIP = (
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
    "--no-compile",
    "--only-binary",
    ":all:",
    "--requirement",
)


def environment(name: str) -> Path:
    """The Python of the environment that `NAME.txt` lists, made where it is not there or the list has changed.

    It lies in `.cache/` of the checkout, or in the directory that OTHER_VENVS names.
    """
    listed = HERE / f"{name}.txt"
    directory = Path(os.environ.get("OTHER_VENVS", ROOT / ".cache")) / f"{name}-venv"
    python, stamp = directory / "bin" / "python", directory / ".listed"
    wanted = hashlib.sha256(listed.read_bytes()).hexdigest()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # sessions side by side wait for the one that makes it
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(directory)], check=True)
            subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *PIP, str(listed)], check=True)
            stamp.write_text(wanted)
    return python
