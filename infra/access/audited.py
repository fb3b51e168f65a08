"""The audit log of this installation, and who is at the keyboard."""

import os
import pwd

from infra.access.audit_log import AuditLog
from infra.clock import WallClock
from infra.settings import Settings


def audit_log(settings: Settings) -> AuditLog:
    """Where everything is recorded."""
    path = settings.data / "access" / "audit.jsonl"
    return AuditLog(path, WallClock().now_ns, settings.api.audit_key.get_secret_value())


def record_command(settings: Settings, what: str, **detail: str) -> None:
    """Record what somebody at this machine is about to do. Raises: `AccessError`: what cannot be recorded is not done."""
    audit_log(settings).record(what, _user(), **detail)


def _user() -> str:
    try:
        return f"user {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"user {os.getuid()}"
