"""A real Prometheus on our alert rules, asking every second."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.services.processes import HOST, Program, free_ports

RULES = Path(__file__).parents[2] / "infra" / "prometheus" / "alerts.yml"


@dataclass(frozen=True)
class Prometheus:
    """Running; `url` answers."""

    url: str

    def firing(self) -> set[tuple[str, str]]:
        """(alert, table or partition or job it is about)."""
        told = httpx2.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {
            (labels["alertname"], labels.get("table") or labels.get("partition") or labels.get("job", ""))
            for labels in (alert["labels"] for alert in told if alert["state"] == "firing")
        }

    def value(self, query: str) -> float | None:
        """The only value of a query; None where it has none."""
        found = httpx2.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=10).json()["data"]["result"]
        return float(found[0]["value"][1]) if found else None


@contextmanager
def prometheus(folder: Path, metrics_port: int) -> Iterator[Prometheus]:
    """Scraping one process of ours."""
    need_prometheus()
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\n"
        f"scrape_configs:\n  - job_name: tickwire-score\n    static_configs: [{{targets: ['{HOST}:{metrics_port}']}}]\n"
    )
    address = f"{HOST}:{port}"
    program = Program(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"],
        folder / "prometheus.log",
    )  # fmt: skip
    program.start()
    try:
        program.await_ready(lambda: _is_ready(f"http://{address}"), within_s=30)
        yield Prometheus(f"http://{address}")
    finally:
        program.stop()


def need_prometheus() -> None:
    """Skip, by name, where it is not installed."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("prometheus is missing: apt-get install prometheus")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the checker says."""
    need_prometheus()
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/-/ready", timeout=1).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False
