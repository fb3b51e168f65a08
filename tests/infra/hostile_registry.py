"""A server that answers like MLflow, and gives whatever a test wants it to give."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.services.processes import HOST

RUN = "0123456789abcdef0123456789abcdef"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
ENDLESS_CHUNK = b"\x00" * (1 << 16)


@dataclass
class Hostile:
    """What it gives. `listed`: paths and sizes it names; `contents`: by path; `endless`: a path that never ends.

    `drips`: every answer comes a byte a second. `garbage`: every answer is no JSON.
    """

    listed: list[tuple[str, int]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    endless: str = ""
    drips: bool = False
    garbage: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, list[str]]) -> bytes | None:
        """The body; None for what is not there."""
        self.asked.append(path)
        if self.garbage:
            return b"<html>welcome</html>"
        if path.endswith("/registered-models/alias"):
            return _json({"model_version": self._version()})
        if path.endswith("/runs/get"):
            info = {
                "run_id": RUN,
                "run_uuid": RUN,
                "experiment_id": "1",
                "status": "FINISHED",
                "lifecycle_stage": "active",
            }
            uri = f"mlflow-artifacts:/1/{RUN}/artifacts"
            return _json({"run": {"info": {**info, "artifact_uri": uri}, "data": {}}})
        if path.endswith("/logged-models/search"):
            return _json({"models": []})
        if path == FILES and not query["path"][0].endswith("/model"):
            return _json({"files": []})  # a file is no folder
        if path == FILES:
            files = [{"path": name, "is_dir": False, "file_size": size} for name, size in self.listed]
            return _json({"files": files})
        if path.startswith(FILES):
            return self.contents.get(path.rpartition("/artifacts/model/")[2])
        return None

    def _version(self) -> dict[str, Any]:
        tags = [{"key": name, "value": value} for name, value in self.tags.items()]
        return {
            "name": "tickwire",
            "version": "1",
            "run_id": RUN,
            "status": "READY",
            "tags": tags,
            "source": "models:/x",
        }


def _json(told: object) -> bytes:
    return json.dumps(told).encode()


@contextmanager
def serving(hostile: Hostile) -> Iterator[str]:
    """The address at which it answers."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if hostile.endless and parts.path.endswith(hostile.endless):
                self._begin(200, 160)
                while True:
                    self.wfile.write(ENDLESS_CHUNK)
            body = hostile.answer(parts.path, parse_qs(parts.query))
            self._begin(404 if body is None else 200, None if hostile.drips else len(body or b""))
            for each in body or b"" if hostile.drips else ():
                self.wfile.write(bytes([each]))
                time.sleep(1)
            if not hostile.drips:
                self.wfile.write(body or b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.do_GET()

        def _begin(self, status: int, length: int | None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if length is not None and not hostile.endless:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # the client was killed, as it should be

    server = ThreadingHTTPServer((HOST, 0), Door)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
