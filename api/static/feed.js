// The feed of tickwire for a browser: reconnects with jitter, resumes, notices gaps and silence. No dependencies.
//
//   const feed = new Feed({ channels: ["predictions"], symbols: ["*"], conflate_ms: 200 });
//   feed.onmessage = message => ...;   // snapshots, updates, revisions
//   feed.onmissed = missed => ...;     // { channel, symbol, after, why }: messages that did not come
//   feed.onstate = (state, text) => ...;
//   feed.key = "tk_…";                 // where the server wants one: it is the first thing that is said
//   feed.onrefused = why => ...;       // the key is not, or no longer, good, or not for this; `open` again with another
//   feed.open();
"use strict";

const SUBSCRIPTION = 1;

class Feed {
  constructor(want, { url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/stream`,
    key, silenceMs = 5000, longestMs = 10000, Socket = WebSocket } = {}) {
    Object.assign(this, { want, url, key, silenceMs, longestMs, Socket });
    this.epoch = "";
    this.last = new Map();       // "channel symbol" to the last number that we have
    this.returned = false;       // a stream that we do not know has begun while we were away
    this.whole = new Set();      // channels to which the server listened before we left: it has whatever has begun since then
    this.tries = 0;
    this.waitMs = 0;             // as the server asked for when it said goodbye
    this.closed = false;
    this.onmessage = this.onmissed = this.onstate = this.onrefused = () => {};
  }

  open() {
    const socket = this.socket = new this.Socket(this.url);
    this.heard = Date.now();
    const watchdog = setInterval(() => {
      if (Date.now() - this.heard > this.silenceMs) this.lose(socket, watchdog, "nothing was heard");
    }, Math.min(1000, this.silenceMs / 4));
    socket.onopen = () => {
      if (this.key === undefined) this.onstate("open", "connected");
      else socket.send(JSON.stringify({ op: "auth", key: this.key }));
    };
    socket.onmessage = event => {
      this.heard = Date.now();
      for (const message of JSON.parse(event.data)) {
        const why = this.refusal(message);
        if (why === "rate_limited") return this.lose(socket, watchdog, why);
        if (why) return this.refused(socket, watchdog, why);
        this.hear(message);
      }
    };
    socket.onclose = event => {
      if (event.code === 4001 || event.code === 4003) this.refused(socket, watchdog, event.reason);
      else this.lose(socket, watchdog, event.reason);
    };
  }

  close() { this.closed = true; this.socket.close(); }

  refused(socket, watchdog, why) {
    this.leave(socket, watchdog);
    this.onrefused(why);
  }

  // Why our subscription was not taken, so that nothing would ever come; empty where it was, or for any other message.
  refusal({ type, id, code, message, rejected = [] }) {
    if (id !== SUBSCRIPTION) return "";
    if (type === "error") return code === "rate_limited" ? code : `${code}: ${message}`;
    const refused = rejected.filter(each => each.code === "unknown_channel" || each.code === "forbidden_channel");
    return refused.map(each => `${each.code}: ${each.channel}`).join(", ");
  }

  leave(socket, watchdog) {
    clearInterval(watchdog);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  lose(socket, watchdog, reason) {
    this.leave(socket, watchdog);
    if (this.closed) return;
    const wait = this.waitMs + Math.min(this.longestMs, 500 * 2 ** this.tries++) * (0.5 + Math.random() / 2);
    this.waitMs = 0;
    this.onstate("closed", `disconnected${reason ? ` (${reason})` : ""}, trying again in ${(wait / 1000).toFixed(1)} s`);
    setTimeout(() => this.closed || this.open(), wait);
  }

  hear(message) {
    switch (message.type) {
      case "update": case "revise": this.update(message); break;
      case "snapshot": this.snapshot(message); break;
      case "gap": this.miss(message.channel, message.symbol, message.to, message.reason); break;
      case "heartbeat": this.beat(message); break;
      case "welcome": this.welcome(message); break;
      case "ack": this.acknowledge(message); break;
      case "goodbye": this.waitMs = message.reconnect_after_ms; break;
    }
  }

  update(message) {
    const { channel, symbol, seq, prev, conflated = 0 } = message, key = `${channel} ${symbol}`;
    let last = this.last.get(key);
    if (last !== undefined && seq <= last) return;
    this.last.set(key, seq);
    const follows = prev === undefined ? seq - 1 - conflated : prev;
    // Only the first that the server knows of: others may have come while neither of us listened.
    const begins = last === undefined && this.returned && prev === 0 && seq > 1 && !this.whole.has(channel);
    if (last === undefined) last = this.returned ? 0 : follows;
    if (begins || follows > last || (prev !== undefined && follows !== last)) this.onmissed({ channel, symbol, after: last, why: "gap" });
    this.onmessage(message);
  }

  snapshot(message) {
    const { channel, symbol, seq } = message, key = `${channel} ${symbol}`;
    const last = this.last.get(key) ?? (this.returned ? 0 : seq);
    if (seq > 0) this.last.set(key, seq);
    if (seq > last + 1) this.onmissed({ channel, symbol, after: last, why: "snapshot" });
    this.onmessage(message);
  }

  miss(channel, symbol, to, why) {
    const key = `${channel} ${symbol}`, last = this.last.get(key);
    if (last !== undefined && to <= last) return;
    this.last.set(key, to);
    this.onmissed({ channel, symbol, after: last ?? 0, why });
  }

  beat(message) {
    this.tries = 0;
    for (const [channel, seqs] of Object.entries(message.seqs))
      for (const [symbol, seq] of Object.entries(seqs)) {
        const key = `${channel} ${symbol}`;
        if (seq <= 0) continue;
        if (this.returned || this.last.has(key)) this.miss(channel, symbol, seq, "heartbeat");
        else this.last.set(key, seq);
      }
  }

  // The subscription follows the welcome, which says whether our numbers still mean something.
  welcome(message) {
    if (this.key !== undefined) this.onstate("open", "connected");
    const before = this.epoch;
    this.epoch = message.epoch;
    this.returned = before === message.epoch;
    this.whole.clear();
    if (before !== "" && before !== message.epoch) {
      for (const [key, after] of this.last) {
        const [channel, symbol] = [key.slice(0, key.indexOf(" ")), key.slice(key.indexOf(" ") + 1)];
        this.onmissed({ channel, symbol, after, why: "new_log" });
      }
      this.last.clear();
    }
    this.socket.send(JSON.stringify({ op: "subscribe", id: SUBSCRIPTION, snapshot: true, ...this.want, ...this.resume() }));
  }

  // Who can go on where we were was there when we left.
  acknowledge({ recovered = {} }) {
    for (const [channel, streams] of Object.entries(recovered))
      if (Object.values(streams).every(Boolean)) this.whole.add(channel);
      else this.whole.delete(channel);
  }

  // What does not fit into one message (the server takes 64 KiB) is left out: its numbers will show the gap.
  resume() {
    const resume = {};
    let room = 48000;
    for (const [key, seq] of this.last) {
      const at = key.indexOf(" "), symbol = key.slice(at + 1);
      room -= symbol.length + 24;
      if (room > 0 && seq > 0) (resume[key.slice(0, at)] ??= {})[symbol] = seq;
    }
    return Object.keys(resume).length ? { epoch: this.epoch, resume } : {};
  }
}
