"""A `clickhouse-server` for the tests: Debian's package, the only server that installs as a package here.

It is version 18.16, of 2018: no DateTime64, no Bool, no query parameters, no insert tokens. What needs those is tested on the
embedded engine (HTTP) and on its native gateway; this server proves the native protocol against a server that we did not write.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.services.processes import HOST, Program, free_ports

PACKAGE: Final = "clickhouse-server"
START_WITHIN_S: Final = 30.0
CONFIG: Final = """<?xml version="1.0"?>
<yandex>
  <logger><level>warning</level><console>1</console></logger>
  <listen_host>{host}</listen_host>
  <tcp_port>{tcp}</tcp_port>
  <http_port>{http}</http_port>
  <path>{folder}/store/</path>
  <tmp_path>{folder}/tmp/</tmp_path>
  <users_config>{folder}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>67108864</mark_cache_size>
  <max_concurrent_queries>50</max_concurrent_queries>
  <timezone>UTC</timezone>
</yandex>
"""
USERS: Final = """<?xml version="1.0"?>
<yandex>
  <profiles><default><max_threads>2</max_threads><allow_experimental_low_cardinality_type>1</allow_experimental_low_cardinality_type></default></profiles>
  <quotas><default/></quotas>
  <users>
    <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
    <writer><password>s3cret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer>
  </users>
</yandex>
"""


@dataclass(frozen=True)
class ClickHouseServer:
    """A running server; user `writer` has the password `s3cret`, `default` has none."""

    tcp_port: int
    http_port: int
    program: Program

    @property
    def native_url(self) -> str:
        return f"native://default@{HOST}:{self.tcp_port}"

    @property
    def http_url(self) -> str:
        return f"http://{HOST}:{self.http_port}"


def started(folder: Path) -> ClickHouseServer:
    """A server over this folder, ready for queries; whoever asks for it stops `program`."""
    binary = shutil.which(PACKAGE, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        pytest.skip(f"{PACKAGE} is missing: apt-get install {PACKAGE}")
    tcp, http = free_ports(2)
    (folder / "config.xml").write_text(CONFIG.format(host=HOST, tcp=tcp, http=http, folder=folder))
    (folder / "users.xml").write_text(USERS)
    program = Program([binary, f"--config-file={folder}/config.xml"], folder / "server.log")
    program.start()
    program.await_ready(lambda: _answers(http), within_s=START_WITHIN_S)
    return ClickHouseServer(tcp, http, program)


@pytest.fixture(scope="session")
def clickhouse_server() -> Iterator[ClickHouseServer]:
    """One server for the whole test run; tests make tables of their own."""
    folder = Path(tempfile.mkdtemp(prefix="tickwire-clickhouse-"))
    server = started(folder)
    try:
        yield server
    finally:
        server.program.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://{HOST}:{port}/ping", timeout=1) as reply:
            return bool(reply.status == 200)
    except (URLError, ConnectionError, TimeoutError):
        return False
