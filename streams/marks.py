"""What of the log has no table of its own: the clock, sessions, controls, and events that came twice.

With them `trades`, `quotes`, `news`, `corrections`, `marks` and `dead_letters` hold one row for every record of the log, so
that it can be folded again when the topic no longer has it (`streams.archive`).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from processors.columns import CONTROL, HEARTBEAT, SESSION
from processors.shard import ShardOutput
from processors.timeline import DUPLICATE

DUPLICATED: Final = "duplicate"
_KINDS: Final = (HEARTBEAT, SESSION, CONTROL)


def marked(output: ShardOutput) -> NDArray[np.int64]:
    """Positions of the events of a stretch that go into `marks`."""
    return np.flatnonzero((output.placed.door == DUPLICATE) | np.isin(output.events.kind, _KINDS))


def mark_columns(output: ShardOutput, at: NDArray[np.int64]) -> dict[str, Any]:
    """Columns of the rows of these events, without those that say where they come from."""
    told = [(output.stretch.events[i], output.stretch.raw[i]) for i in at.tolist()]
    doubled = (output.placed.door[at] == DUPLICATE).tolist()
    tags = [str(event.__struct_config__.tag) for event, _ in told]
    return {
        "symbol": [event.symbol for event, _ in told],
        "venue": [event.venue for event, _ in told],
        "seq": output.events.seq[at],
        "ts_event": output.events.ts_event[at],
        "ts_ingest": output.events.ts_ingest[at],
        "kind": [DUPLICATED if twice else tag for twice, tag in zip(doubled, tags, strict=True)],
        "repeats": [tag if twice else "" for twice, tag in zip(doubled, tags, strict=True)],
        "raw": [bytes(raw) for _, raw in told],
    }
