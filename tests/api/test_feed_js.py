"""The browser's client makes of any conversation what the Python client makes of it."""

import json
import random
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import msgspec
import pytest

from api.client import _FRAME, Message, Positions, Want

NODE = shutil.which("node")
HARNESS = """
(() => {
const fs = require("fs"), vm = require("vm");
globalThis.location = { protocol: "http:", host: "x" };
globalThis.WebSocket = class {};
const Feed = vm.runInThisContext(fs.readFileSync(process.argv[1], "utf8") + "; Feed");
const conversations = JSON.parse(fs.readFileSync(0, "utf8"));
const told = conversations.map(conversation => {
  const feed = new Feed({ channels: ["bars", "trades"], symbols: ["*"] }), heard = [], said = [];
  feed.socket = { send: text => said.push(JSON.parse(text)) };
  feed.onmessage = message => heard.push([message.channel, message.symbol, message.seq]);
  feed.onmissed = missed => heard.push([missed.channel, missed.symbol, missed.after, missed.why]);
  for (const message of conversation) feed.hear(message);
  return { heard, resume: said.map(one => one.resume || {}) };
});
console.log(JSON.stringify(told));
})();
"""
ANSWERS = """
(() => {
const fs = require("fs"), vm = require("vm");
globalThis.location = { protocol: "http:", host: "x" };
globalThis.WebSocket = class { constructor() { opened.push(this); } send() {} close() {} };
globalThis.setInterval = globalThis.clearInterval = () => 0;
globalThis.setTimeout = again => again();
const opened = [], refused = [], states = [];
const Feed = vm.runInThisContext(fs.readFileSync(process.argv[1], "utf8") + "; Feed");
const feed = new Feed({ channels: ["bars"], symbols: ["*"] });
feed.onrefused = why => refused.push(why);
feed.onstate = state => states.push(state);
feed.open();
opened[0].onmessage({ data: fs.readFileSync(0, "utf8") });
console.log(JSON.stringify({ opened: opened.length, refused, states }));
})();
"""
CHANNELS = ("bars", "trades", "predictions")


def conversation(rng: random.Random) -> list[dict[str, Any]]:
    """Numbers that mostly follow, with everything that can happen to them."""
    told: list[dict[str, Any]] = [{"type": "welcome", "epoch": "log-1"}]
    last = {(channel, symbol): rng.choice([0, 0, 40]) for channel in CHANNELS for symbol in "AB"}
    for _ in range(60):
        stream = channel, symbol = rng.choice(list(last))
        step = rng.choice([1, 1, 1, 1, 2, 3, 0, -1])
        seq = max(0, last[stream] + step)
        one: dict[str, Any] = {"channel": channel, "symbol": symbol, "seq": seq, "data": None}
        kind = rng.choice(["update"] * 8 + ["revise", "snapshot", "gap", "heartbeat", "welcome", "ack", "weather"])
        if kind in ("update", "revise"):
            one |= {"prev": rng.choice([last[stream], last[stream], 3, 0])} if channel == "trades" else {}
            one |= {"conflated": rng.choice([0, max(0, step - 1)])} if channel == "predictions" else {}
        elif kind == "gap":
            one = {"channel": channel, "symbol": symbol, "from": last[stream] + 1, "to": seq, "reason": "slow_client"}
        elif kind == "heartbeat":
            one = {"seqs": {channel: {symbol: seq}}}
        elif kind == "ack":
            one = {"id": 1, "recovered": {channel: {symbol: rng.random() < 0.5, "C": True}}}
        elif kind == "welcome":
            one = {"epoch": rng.choice(["log-1", "log-1", "log-2"])}
        told.append({"type": kind, **one})
        last[stream] = max(seq, last[stream])
    return told


def in_python(messages: list[dict[str, Any]]) -> dict[str, Any]:
    positions, heard, resumed = Positions(), [], []
    for message in _FRAME.decode(msgspec.json.encode(messages)):
        for one in positions.hear(message):
            where = [one.channel, one.symbol]
            heard.append([*where, one.seq] if isinstance(one, Message) else [*where, one.after, one.why])
        if message.type == "welcome":
            resumed.append(positions.resume(Want(CHANNELS))[0])
    return {"heard": heard, "resume": resumed}


def in_node(program: str, given: Any) -> Any:
    assert NODE is not None, "expected node, which runs the browser's client; install Node 20 or later"
    run = subprocess.run(
        [NODE, "-e", program, "--", str(files("api").joinpath("static/feed.js"))], check=True, capture_output=True,
        input=json.dumps(given).encode(),
    )  # fmt: skip
    return json.loads(run.stdout)


def test_both_clients_make_the_same_of_three_hundred_conversations() -> None:
    conversations = [conversation(random.Random(seed)) for seed in range(300)]
    expected = [in_python(each) for each in conversations]
    assert sum(len(one) == 4 for each in expected for one in each["heard"]) > 1_000
    for number, (ours, theirs) in enumerate(zip(expected, in_node(HARNESS, conversations), strict=True)):
        assert theirs == ours, conversations[number]


RATE_LIMITED = {"type": "error", "code": "rate_limited", "message": "too many messages"}


def test_a_subscription_that_is_one_too_many_is_a_lost_connection() -> None:
    assert in_node(ANSWERS, [{**RATE_LIMITED, "id": 1}, {**RATE_LIMITED, "id": 1}]) == {
        "opened": 2, "refused": [], "states": ["closed"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"type": "error", "id": 1, "code": "bad_message", "message": "too long"}, ["bad_message: too long"]),
        (
            {"type": "ack", "id": 1, "rejected": [{"code": "forbidden_channel", "channel": "bars"}]},
            ["forbidden_channel: bars"],
        ),
        ({"type": "ack", "id": 1, "rejected": [{"code": "unknown_symbol", "symbol": "A"}]}, []),
        ({**RATE_LIMITED, "id": 2}, []),
        (RATE_LIMITED, []),
    ],
)
def test_a_subscription_that_is_never_taken_is_told_and_not_tried_again(answer: dict[str, Any], why: list[str]) -> None:
    assert in_node(ANSWERS, [answer]) == {"opened": 1, "refused": why, "states": []}
