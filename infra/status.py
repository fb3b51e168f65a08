"""What the scoring processes say about themselves, read from Redis."""

from collections.abc import Sequence

import msgspec
import redis

from schemas.errors import SchemaError, StoreUnavailable
from schemas.rows import SCORE_STATUS_KEY, ScoreStatus

_DECODER = msgspec.json.Decoder(ScoreStatus)
_SCAN_COUNT = 5_000


class RedisStatus:
    """The `Status` port of the API over Redis.

    Raises: `StoreUnavailable` where Redis does not answer, `SchemaError` for a document of another build.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def scores(self) -> Sequence[ScoreStatus]:
        """One document a scoring process that is alive, by group; its key has expired when it is not."""
        try:
            keys = sorted(self._client.scan_iter(match=SCORE_STATUS_KEY.format(group="*"), count=_SCAN_COUNT))
            values = self._client.mget(keys) if keys else []
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis did not answer when asked for the scoring status: {error}") from error
        return [_decoded(key, value) for key, value in zip(keys, values, strict=True) if value is not None]


def _decoded(key: bytes | str, value: bytes | str) -> ScoreStatus:
    try:
        return _DECODER.decode(value)
    except msgspec.DecodeError as error:
        name = key.decode() if isinstance(key, bytes) else key
        raise SchemaError(f"Redis {name}: {error}; a scoring process of another version wrote it") from error
