"""Who may do what: every route and channel names one scope, every role has some of them, and what is not named is refused.

viewer     looks at the market and at what the models say of it
analyst    also asks: SQL, rows of their own, rules on trial
operator   also keeps it running: metrics, alert rules, deliveries
admin      also changes what scores, and sees the keys
"""

from collections.abc import Mapping
from typing import Final

OPEN: Final = "open"
"""What a route declares that needs nobody's key: probes, the page's file, the documents that explain us."""

VIEWER: Final[Mapping[str, str]] = {
    "market:read": "Symbols, features, bars, trades, quotes, news",
    "signals:read": "Predictions, outcomes, drift, alerts that have fired",
}
ANALYST: Final[Mapping[str, str]] = {
    "models:infer": "Which models serve, and the scores of rows that a client brings",
    "sql:query": "Named queries, and SELECT within limits",
    "alerts:read": "Alert rules, back-tests of rules, deliveries",
}
OPERATOR: Final[Mapping[str, str]] = {
    "metrics:read": "Metrics of this process",
    "alerts:write": "Make, change and end alert rules, endpoints and deliveries",
}
ADMIN: Final[Mapping[str, str]] = {
    "models:write": "Change which models score",
    "access:read": "Which keys there are",
}
SCOPES: Final[Mapping[str, str]] = {**VIEWER, **ANALYST, **OPERATOR, **ADMIN}
KINDS: Final[Mapping[str, str]] = {
    "models:infer": "infer", "sql:query": "sql", "alerts:write": "write", "models:write": "write"
}  # fmt: skip
"""Which rate a scope's requests count towards; `read` where none is named."""
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "viewer": frozenset(VIEWER),
    "analyst": frozenset({**VIEWER, **ANALYST}),
    "operator": frozenset({**VIEWER, **ANALYST, **OPERATOR}),
    "admin": frozenset(SCOPES),
}
