"""The page at `/`: one file that asks nobody else for anything."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.feed.messages import AUTH_TOO_LATE, CLOSE_CODES, KEY_ENDED, UNAUTHENTICATED
from api.page import policy_of
from tests.api.fakes import world

WANTED = "this needs an API key: open the address that `tickwire up` printed, or type one"
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
const elements = {}, nothing = () => {}, store = { key: "tk_kept" };
Object.assign(globalThis, {
  document: { getElementById: id => elements[id] ||= new Element(), createElement: () => new Element() },
  sessionStorage: { getItem: name => store[name], setItem: nothing, removeItem: name => delete store[name] },
  location: { hash: "", pathname: "/" }, history: { replaceState: nothing },
  addEventListener: nothing, setInterval: nothing, setTimeout: nothing, Feed: class { open() {} },
});
const began = told.now_ms ?? Date.now();
Date.now = () => began;
const { on, paint, symbols, feed } = vm.runInThisContext(told.script + "; ({ on, paint, symbols, feed })");
for (const message of told.messages) on(message);
Date.now = () => began + told.later_ms;
paint();
const cells = elements.rows.rows.map(row => row.cells.map(cell => cell.firstChild ? cell.firstChild.data : cell.textContent));
if (told.refused) feed.onrefused(told.refused);
const texts = Object.fromEntries(Object.entries(elements).map(([id, one]) => [id, one.textContent]));
console.log(JSON.stringify({ cells, bars: [...symbols.values()].map(one => one.bars.length), texts, key: store.key ?? null,
  asks: elements.enter.hidden === false }));
})();
"""
CLOSED = """
(() => {
const fs = require("fs"), vm = require("vm"), told = JSON.parse(fs.readFileSync(0, "utf8"));
Object.assign(globalThis, { location: { protocol: "http:", host: "x" }, WebSocket: class {} });
const Feed = vm.runInThisContext(told.feed + "; Feed"), ends = {};
globalThis.setTimeout = again => again();
for (const [code, reason] of told.codes) {
  const opened = [];
  const feed = new Feed({ channels: ["bars"], symbols: ["*"] }, { key: "tk_kept",
    Socket: class { constructor() { opened.push(this); } send(text) { this.said = JSON.parse(text); } close() {} } });
  feed.onrefused = why => ends[reason] = ["refused", why];
  feed.open();
  opened[0].onclose({ code, reason });
  if (opened[1]) { opened[1].onopen(); ends[reason] = ["again", opened[1].said.key]; }
}
console.log(JSON.stringify(ends));
process.exit();
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


def painted(messages: list[dict[str, Any]], later_ms: int = 0, **more: Any) -> dict[str, Any]:
    """What the page's own script makes of messages, run by Node over the few parts of a document that it needs."""
    assert NODE is not None, "Node is missing"
    (script,) = re.findall(r"<script>(.*?)</script>", TestClient(world().app()).get("/").text, re.DOTALL)
    told = json.dumps({"script": script, "messages": messages, "later_ms": later_ms, **more})
    done = subprocess.run([NODE, "-e", HARNESS], check=False, input=told, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def prediction(symbol: str, price: float | None, kind: str = "update") -> dict[str, Any]:
    data = {"price": price, "online": 0.5, "onnx": None, "champion": "online", "ts_event": 0, "ts_ingest": 0}
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


def test_the_lag_counts_from_what_the_venue_stamped_and_not_from_when_we_received_it() -> None:
    told = prediction("A", 1.0)
    told["data"] |= {"ts_event": 1_795_357_800_000_000_000, "ts_ingest": 1_795_357_800_200_000_000}
    found = painted([told], now_ms=1_795_357_800_250)
    assert (found["texts"]["lag"], found["cells"][0][6]) == ("250 ms", "250 ms")


def outcome(horizon_s: int, label: float, void: str = "") -> dict[str, Any]:
    data = {"horizon_ns": horizon_s * 10**9, "label": label, "online": 0.7, "onnx": 0.2, "void": void}
    return {"type": "update", "channel": "outcomes", "symbol": "A", "data": data}


def test_how_often_models_were_right_is_told_for_each_horizon_that_came() -> None:
    assert painted([])["texts"]["hits"] == "–"
    only = [outcome(60, 1.0), outcome(60, 0.0), outcome(60, 1.0), outcome(60, 1.0), outcome(60, 0.0, "gap")]
    assert painted(only)["texts"]["hits"] == "60 s: 75 % / 25 %"
    several = [outcome(300, 0.0), outcome(1, 0.5), *only]
    assert painted(several)["texts"]["hits"] == "1 s: – / –\n60 s: 75 % / 25 %\n300 s: 0 % / 100 %"


@pytest.mark.parametrize(
    ("why", "key"),
    [
        (CLOSE_CODES[UNAUTHENTICATED], None),
        (CLOSE_CODES[KEY_ENDED], None),
        ("forbidden_channel: outcomes", "tk_kept"),
    ],
)
def test_a_key_is_thrown_away_only_where_the_server_says_that_it_is_not_good(why: str, key: str | None) -> None:
    found = painted([], refused=why)
    assert (found["key"], found["asks"]) == (key, True)
    assert found["texts"]["state"] == (why if key else WANTED)


def test_every_other_end_of_a_connection_is_one_to_come_back_from_with_the_same_key() -> None:
    assert NODE is not None, "Node is missing"
    codes = [[code, reason] for code, reason in CLOSE_CODES.items()]
    feed = TestClient(world().app()).get("/static/feed.js").text
    told = json.dumps({"feed": feed, "codes": codes})
    done = subprocess.run([NODE, "-e", CLOSED], check=True, input=told, capture_output=True, text=True, timeout=60)
    assert AUTH_TOO_LATE in CLOSE_CODES
    assert json.loads(done.stdout) == {
        reason: ["refused", reason] if code in (UNAUTHENTICATED, KEY_ENDED) else ["again", "tk_kept"]
        for code, reason in CLOSE_CODES.items()
    }
