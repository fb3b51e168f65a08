"""`tickwire audit`: whether the audit log is whole."""

import json

from infra.access.audit_check import verify as check
from infra.access.audit_log import Head
from infra.access.audited import audit_log
from infra.settings import Settings
from schemas.errors import InputError


def verify(settings: Settings, head: str, *, as_json: bool) -> int:
    """Say what is wrong with the audit log; 0 where nothing is, else 1."""
    log = audit_log(settings)
    found = check(log, _head(head) if head else None)
    if as_json:
        print(json.dumps({"file": str(log.path), "lines": found.lines, "head": f"{found.lines}:{found.seal}",
                          "sealed_with_key": log.has_key, "wrong": list(found.wrong)}))  # fmt: skip
    else:
        for each in found.wrong:
            print(each)
        print(
            f"{log.path}: {found.lines} lines, {'not whole' if found.wrong else 'whole'}; head {found.lines}:{found.seal}"
        )
    return 1 if found.wrong else 0


def _head(text: str) -> Head:
    number, _, seal = text.partition(":")
    if not (number.isascii() and number.isdecimal()) or len(seal) != 64:
        raise InputError(f"--head: expected what an earlier `tickwire audit verify` printed, N:SEAL; was {text[:80]!r}")
    return Head(int(number), seal)
