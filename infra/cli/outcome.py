"""What came of a change that was written onto the log, for a person."""

import sys
from collections.abc import Mapping


def show_outcome(change: str, fence: Mapping[str, int], refused: Mapping[str, str]) -> None:
    """Print where it is in force, and where it was refused and why; partitions with one reason share a line."""
    if fence:
        print(f"{change}: in force behind " + ", ".join(f"{partition}:{offset}" for partition, offset in fence.items()))
    for why in dict.fromkeys(refused.values()):
        there = ", ".join(partition for partition, reason in refused.items() if reason == why)
        where = f" by {there}" if fence or len(set(refused.values())) > 1 else ""
        print(f"{change}: refused{where}: {why}", file=sys.stderr)
