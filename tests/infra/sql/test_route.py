"""`/v1/sql` on a socket over the engine: answers, refusals, and a client that hangs up."""

import socket
import time

import httpx2
import pytest

from api.sql.ports import SqlEngine
from tests.api.fakes import serving
from tests.api.sql.fakes import Asking
from tests.infra.sql.conftest import GUARD, NAME, ROWS, Stored

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
ENDLESS = f"SELECT uniq(a.price * b.price * c.price) FROM {NAME}.trades AS a, trades AS b, trades AS c"


def asking(stored: Stored) -> Asking:
    engine: SqlEngine = stored.patient
    return Asking(sql=engine, check=GUARD.checked)


def test_people_ask_over_http(stored: Stored) -> None:
    with serving(asking(stored)) as (address, _), httpx2.Client(base_url=f"http://{address}", timeout=60) as client:
        named = client.post("/v1/sql", json={"query": "activity", "limit": 2}).json()
        assert (named["row_count"], named["cut"], len(named["columns"])) == (2, True, 6)
        free = client.post("/v1/sql", json={"sql": "SELECT symbol, count() AS n FROM trades GROUP BY symbol"}).json()
        assert sum(row[1] for row in free["rows"]) == ROWS
        csv = client.post("/v1/sql", json={"sql": "SELECT 1 AS a"}, headers={"accept": "text/csv"})
        assert (csv.text, csv.headers["x-row-count"]) == ('"a"\n1\n', "1")
        assert client.post("/v1/sql", json={"sql": "SELECT * FROM system.users"}).status_code == 422
        wrong = client.post("/v1/sql", json={"sql": "SELECT nope FROM trades"}).json()
        assert "Unknown expression identifier `nope`" in wrong["detail"]


def test_a_client_that_hangs_up_takes_its_query_with_it(stored: Stored) -> None:
    with serving(asking(stored)) as (address, _):
        host, _, port = address.partition(":")
        body = f'{{"sql": "{ENDLESS}"}}'
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                f"POST /v1/sql HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            _await(stored, running=True)
        _await(stored, running=False)


def _await(stored: Stored, *, running: bool) -> None:
    """Until the endless query runs, or does no longer; well before its own time is over."""
    sql = "SELECT count() > 0 FROM system.processes WHERE query LIKE '%c.price%' AND query NOT LIKE '%processes%'"
    deadline = time.monotonic() + 40
    while stored.database.rows(sql.replace("c.price", '"c"."price"')).rows != [(running,)]:
        assert time.monotonic() < deadline, f"running is not {running}"
        time.sleep(0.1)
