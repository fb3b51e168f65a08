"""One engine process for the tests that only talk to it."""

import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest

from infra.embedded.clickhouse import answers, command
from tests.services.processes import Program, free_ports


@dataclass(frozen=True)
class Response:
    """What came back; header names without regard to case."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class ClickHouse:
    """An engine process, asked as curl would: one connection a request."""

    port: int
    program: Program

    def ask(
        self,
        query: str = "",
        *,
        method: str = "POST",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        **url: str,
    ) -> Response:
        """`query`, `settings` and `url` go into the URL, `body` behind the headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            parameters = {**({"query": query} if query else {}), **(settings or {}), **url}
            connection.request(method, "/?" + urlencode(parameters), body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Response(response.status, response.read(), response.headers)
        finally:
            connection.close()

    def run(self, statement: str, **url: str) -> str:
        """A statement in the body of a POST; its answer as text, AssertionError where it is refused."""
        response = self.ask(body=statement.encode(), settings=url)
        assert response.status == 200, response.text
        return response.text


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """Shared by all tests: each uses a table of its own."""
    folder = tmp_path_factory.mktemp("clickhouse")
    (port,) = free_ports(1)
    program = Program(command(folder / "data", port), folder / "log")
    program.start()
    program.await_ready(lambda: answers(port), within_s=20)
    yield ClickHouse(port, program)
    program.stop()
