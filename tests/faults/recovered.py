"""When a killed part works again: not when its process is back, but when what it does is seen to be done."""

import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import redis

from schemas.errors import BackendError
from tests.faults.market import SYMBOLS
from tests.faults.up import Up

ASK_S: Final = 2.0


class Probes:
    """Asks the services themselves, and remembers when a part was killed."""

    def __init__(self, up: Up) -> None:
        self._up = up

    def of(self, victims: tuple[str, ...]) -> list[Callable[[int], bool]]:
        """What has to be seen again after these were killed; each is asked with the moment of the kill in ns."""
        seen: list[Callable[[int], bool]] = [self.stored]
        if "redis" in victims:
            seen.append(self.newest)
        if "api" in victims:
            seen.append(self.answered)
        if "news" in victims:
            seen.append(self.signalled)
        return seen

    def stored(self, since_ns: int) -> bool:
        """A prediction about an event that was written later is in ClickHouse."""
        return self._any("SELECT src_offset FROM predictions WHERE ts_broker > {since} LIMIT 1", since_ns)

    def signalled(self, since_ns: int) -> bool:
        """A signal that the news agent wrote later is in ClickHouse."""
        return self._any(
            "SELECT src_offset FROM news WHERE ts_broker > {since} AND startsWith(item_id, 'item-') LIMIT 1", since_ns
        )

    def newest(self, since_ns: int) -> bool:
        """The newest row of a symbol, in Redis, is about an event that was written later."""
        client = redis.Redis.from_url(self._up.addresses["redis_url"], socket_timeout=ASK_S)
        try:
            found = [client.hget(f"tickwire:latest:{symbol}", "payload") for symbol in SYMBOLS]
        except redis.RedisError:
            return False
        finally:
            client.close()
        return any(raw is not None and msgspec.json.decode(raw)["ts_ingest"] > since_ns for raw in found)

    def answered(self, since_ns: int) -> bool:
        """The API answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self._up.addresses['api_port']}/healthz", timeout=ASK_S) as answer:
                return bool(answer.status == 200) and time.time_ns() > since_ns
        except (URLError, HTTPException, OSError):
            return False

    def _any(self, sql: str, since_ns: int) -> bool:
        database = self._up.database(timeout_s=ASK_S)
        try:
            moment = f"fromUnixTimestamp64Milli({since_ns // 1_000_000 + 1}, 'UTC')"
            return bool(database.rows(sql.replace("{since}", moment)).rows)
        except BackendError:
            return False
        finally:
            database.close()
