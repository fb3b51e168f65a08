"""Whether an audit log is whole: every line as it was written, in its order, none missing, also not at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.access.audit_log import NOTHING, AuditLog, Head


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many lines there are, the newest one's seal, and what is wrong, by line."""

    lines: int
    seal: str
    wrong: Sequence[str]


def verify(log: AuditLog, known: Head | None = None) -> Verdict:
    """Read all of it. `known`: a line that was noted elsewhere, and must be there. Raises: `AccessError`."""
    wrong: list[str] = []
    seals = [NOTHING]
    keyed = False
    lines = log.path.read_bytes().splitlines(keepends=True) if log.path.exists() else []
    for number, line in enumerate(lines, 1):
        found = log.read(line)
        if found is None:
            wrong.append(
                f"line {number} was altered" + (", or has another key's seal" if b'"keyed":true' in line else "")
            )
            seals.append("")
            continue
        if found["before"] != seals[-1] and seals[-1]:
            wrong.append(
                f"line {number} (n {found['n']}) does not follow the one before: lines were taken, put in or moved"
            )
        elif found["n"] != number and not wrong:
            wrong.append(f"line {number} has the number {found['n']}")
        if keyed and found["keyed"] is not True:
            wrong.append(f"line {number} has no key's seal, though earlier ones have")
        keyed = keyed or found["keyed"] is True
        seals.append(found["seal"])
    wrong += _at_the_end(log, seals, keyed=keyed)
    if known is not None and (known.n >= len(seals) or seals[known.n] != known.seal):
        wrong.append(f"line {known.n} is not the one that was noted: the log was written anew, or cut off before it")
    return Verdict(len(lines), seals[-1], wrong)


def _at_the_end(log: AuditLog, seals: Sequence[str], *, keyed: bool) -> list[str]:
    """What the head says of the end."""
    head, wrong = log.head(), []
    if head.n >= len(seals):
        wrong.append(f"the head tells of {head.n} lines, there are {len(seals) - 1}: the end is missing")
    elif seals[head.n] != head.seal:
        wrong.append(f"line {head.n} is not the newest one that the head tells of")
    if log.has_key and not keyed and len(seals) > 1:
        wrong.append("no line is sealed with the key: it was set after the newest one, or the log was written anew")
    return wrong
