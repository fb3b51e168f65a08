"""An engine whose only user has what infra/sql/reader.sql grants: `reader_process.py DATA reader.sql < statements`.

Statements come one a line; a line of JSON answers each: null, or ClickHouse's error. The engine's own access control is that
of a server; what it lacks is a place for users made by SQL, so that grants and constraints come in its configuration.
"""

import json
import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from chdb import _chdb

USERS = """<clickhouse>
  <profiles><default>{settings}<constraints>{constraints}</constraints></default></profiles>
  <users><default><no_password/><networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>default</profile><quota>default</quota>
    <grants>{grants}</grants></default></users>
  <quotas><default/></quotas>
</clickhouse>"""
SETTING = re.compile(r"^ +(\w+) = (\d+)(?: MIN (\d+) MAX (\d+))?( READONLY)?[,;]$", re.MULTILINE)
GRANT = re.compile(r"^(GRANT SELECT ON \S+) TO", re.MULTILINE)


def configured(folder: Path, reader: str) -> Path:
    """The engine's configuration, from the text of reader.sql."""
    found = SETTING.findall(reader)
    settings = "".join(f"<{name}>{value}</{name}>" for name, value, *_ in found)
    constraints = "".join(
        f"<{name}>" + ("<readonly/>" if readonly else f"<min>{low}</min><max>{high}</max>") + f"</{name}>"
        for name, _, low, high, readonly in found
    )
    grants = "".join(f"<query>{escape(grant)}</query>" for grant in GRANT.findall(reader))
    users, config = folder / "reader-users.xml", folder / "reader-config.xml"
    users.write_text(USERS.format(settings=settings, constraints=constraints, grants=grants))
    config.write_text(f"<clickhouse><users_config>{users}</users_config></clickhouse>")
    return config


def main() -> None:
    """Answer every line."""
    folder, reader = Path(sys.argv[1]), Path(sys.argv[2]).read_text()
    connection = _chdb.connect(f"{folder / 'data'}?config-file={configured(folder, reader)}")
    for line in sys.stdin:
        error = None
        try:
            connection.query(line.strip(), "TSV").bytes()
        except RuntimeError as found:
            error = str(found)
        print(json.dumps(error), flush=True)


if __name__ == "__main__":
    main()
