"""The page at `/`: one file that asks nobody else for anything."""

import json
import re
import shutil
import subprocess
from typing import Any

from fastapi.testclient import TestClient

from api.page import policy_of
from tests.api.fakes import world

NODE = shutil.which("node")
HARNESS = """
(() => {
const fs = require("fs"), vm = require("vm"), told = JSON.parse(fs.readFileSync(0, "utf8"));
class Element {
  constructor() { Object.assign(this, { cells: [], rows: [], children: [], className: "", textContent: "", value: "" }); }
  insertRow() { return this.rows[this.rows.push(new Element()) - 1]; }
  insertCell() { return this.cells[this.cells.push(new Element()) - 1]; }
  append(...more) { for (const one of more) this.children.push(typeof one === "string" ? { data: one } : one); }
  setAttribute() {}
  get firstChild() { return this.children[0]; }
  get lastChild() { return this.children.at(-1); }
}
const elements = {}, nothing = () => {};
Object.assign(globalThis, {
  document: { getElementById: id => elements[id] ||= new Element(), createElement: () => new Element() },
  sessionStorage: { getItem: () => null, setItem: nothing, removeItem: nothing },
  location: { hash: "", pathname: "/" }, history: { replaceState: nothing },
  addEventListener: nothing, setInterval: nothing, setTimeout: nothing, Feed: class { open() {} },
});
const { on, paint, symbols } = vm.runInThisContext(told.script + "; ({ on, paint, symbols })");
for (const message of told.messages) on(message);
const began = Date.now();
Date.now = () => began + told.later_ms;
paint();
const cells = elements.rows.rows.map(row => row.cells.map(cell => cell.firstChild ? cell.firstChild.data : cell.textContent));
console.log(JSON.stringify({ cells, bars: [...symbols.values()].map(one => one.bars.length) }));
})();
"""


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    answer = TestClient(world().app()).get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert len(answer.content) < 15_000
    assert re.findall(r"(?:https?:|[\"'(])//", answer.text) == []
    assert re.findall(r'(?:src|href)="(?!/|data:,)', answer.text) == []


def test_the_policy_allows_its_own_script_and_style_and_no_other() -> None:
    policy = TestClient(world().app()).get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


def test_the_policy_names_the_hash_that_a_browser_computes() -> None:
    # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert "script-src 'self' 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy_of(
        "<script>alert(1)</script><style>p{}</style>"
    )


def test_the_page_puts_text_into_the_document_as_text_only() -> None:
    text = TestClient(world().app()).get("/").text
    assert "innerHTML" not in text
    assert "eval(" not in text


def painted(messages: list[dict[str, Any]], later_ms: int = 0) -> dict[str, Any]:
    """What the page's own script makes of messages, run by Node over the few parts of a document that it needs."""
    assert NODE is not None, "Node is missing"
    (script,) = re.findall(r"<script>(.*?)</script>", TestClient(world().app()).get("/").text, re.DOTALL)
    told = json.dumps({"script": script, "messages": messages, "later_ms": later_ms})
    done = subprocess.run([NODE, "-e", HARNESS], check=False, input=told, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def prediction(symbol: str, price: float | None, kind: str = "update") -> dict[str, Any]:
    data = {"price": price, "online": 0.5, "onnx": None, "champion": "online", "ts_ingest": 0}
    return {"type": kind, "channel": "predictions", "symbol": symbol, "data": data}


def test_a_symbol_without_a_price_hides_no_other() -> None:
    told = painted([prediction("A", None), prediction("B", 2.5), prediction("C", 0.0000089), prediction("A", None)])
    assert [row[:4] for row in told["cells"]] == [
        ["A", "–", "0.5000", "–"], ["B", "2.50", "0.5000", "–"], ["C", "0.0000089", "0.5000", "–"],
    ]  # fmt: skip


def test_bars_of_symbols_that_are_not_shown_are_forgotten_too_and_a_snapshot_is_none() -> None:
    bars: list[dict[str, Any]] = [{"type": "update", "channel": "bars", "symbol": f"S{n:03d}"} for n in range(250)]
    assert painted(bars)["bars"] == [1] * 250
    assert painted(bars, later_ms=61_000)["bars"] == [0] * 250
    assert painted([bar | {"type": "snapshot"} for bar in bars])["bars"] == []
