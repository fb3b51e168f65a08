"""The JSON Schemas of our topics, exported to `schemas/json/`, and the rule that they only grow.

`python -m schemas.contract` writes them; it refuses a change that is not additive: a field that goes, changes its type
or becomes required. A break is a new topic, `.v2`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.topics import TOPICS, Topic

FOLDER: Final = Path(__file__).parent / "json"


def schema_of(topic: Topic[Any]) -> dict[str, Any]:
    """JSON Schema of a topic's values, with the topic's name as title."""
    return {"title": topic.name, **msgspec.json.schema(topic.type)}


def exported(topic: Topic[Any]) -> Path:
    """Where the schema of a topic lies."""
    return FOLDER / f"{topic.name}.json"


def text_of(schema: Mapping[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def breaks(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What readers or writers of `before` could not live with; empty if `after` only adds."""
    old, new = before.get("$defs", {}), after.get("$defs", {})
    told = [f"{name} is gone" for name in old if name not in new]
    for name in old.keys() & new.keys():
        told += [f"{name}.{what}" for what in _breaks_of_struct(old[name], new[name])]
    if _variants(before) - _variants(after):
        told.append(f"{', '.join(sorted(_variants(before) - _variants(after)))} is no longer accepted")
    return sorted(told)


def _variants(schema: Mapping[str, Any]) -> set[str]:
    choices = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return {choice["$ref"] for choice in choices if "$ref" in choice}


def _breaks_of_struct(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    told = [f"{name} is gone" for name in before if name not in after]
    told += [f"{name} became required" for name in set(new.get("required", ())) - set(old.get("required", ()))]
    told += [
        f"{name} changed from {json.dumps(_meaning(before[name]))} to {json.dumps(_meaning(after[name]))}"
        for name in before.keys() & after.keys()
        if not _accepts_all(_meaning(before[name]), _meaning(after[name]))
    ]
    return told


def _meaning(field: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key not in {"description", "title", "default"}}


def _accepts_all(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether every value that was valid still is: the same, or an enumeration with more members."""
    if "enum" in old and "enum" in new:
        return set(old["enum"]) <= set(new["enum"])
    return dict(old) == dict(new)


def main() -> int:
    """Write every schema that only grew; 1 if one did not."""
    FOLDER.mkdir(exist_ok=True)
    broken = 0
    for topic in TOPICS:
        path, now = exported(topic), schema_of(topic)
        found = breaks(json.loads(path.read_text()), now) if path.exists() else []
        for what in found:
            print(f"{topic.name}: {what}; readers would break: make a new topic with the next version", file=sys.stderr)
        broken += bool(found)
        if not found:
            path.write_text(text_of(now))
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
