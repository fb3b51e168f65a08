"""A real MLflow server on 127.0.0.1, from an environment of its own: the full package does not go with our pins (pandas < 3).

The environment is made once, in `.cache/` of the checkout.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from infra.embedded.service import WRAPPER
from infra.registry import QUIET
from tests.services.apache_kafka import CACHE
from tests.services.processes import HOST, Program, free_ports

PACKAGE: Final = "mlflow==3.17.2"
START_WITHIN_S: Final = 120.0


def mlflow_environment() -> Path:
    """Folder of the environment; the first call on a checkout (or after a change of version) makes it."""
    target = CACHE / f"mlflow-{hashlib.sha256(PACKAGE.encode()).hexdigest()[:12]}"
    ready = target / "ready"
    if not ready.exists():
        CACHE.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True, timeout=120)
        command = [target / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, f"pip did not install {PACKAGE}:\n{done.stderr[-3000:]}"
        ready.touch()
    return target


@contextmanager
def mlflow(folder: Path) -> Iterator[str]:
    """The address of a server with its database and artifacts in `folder`; it is gone at the end, also where we are killed."""
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    command = [
        sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), str(mlflow_environment() / "bin" / "python"), "-m", "mlflow",
        "server", "--host", HOST, "--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db",
        "--artifacts-destination", (folder / "artifacts").as_uri(),
    ]  # fmt: skip
    log = folder / "server.log"
    server = Program(command, log, env={**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    server.start()
    try:
        server.await_ready(lambda: _answers(url), within_s=START_WITHIN_S)
        yield url
    finally:
        server.stop(grace_s=10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def mlflow_server() -> Iterator[str]:
    """One server for the whole test run."""
    with tempfile.TemporaryDirectory(prefix="tickwire-mlflow-") as folder, mlflow(Path(folder)) as url:
        yield url
